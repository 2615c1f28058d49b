"""Whether and how torchrun is called, as lists of arguments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hone.cli.launch import torchrun, visible_accelerators, wait_for, wants_launch

WORDS = ["train.yaml", "run_name=two words", "--default_system", "You are, well, a poet"]


def options(command):
    end = command.index("-m", 3)
    return dict(zip(command[3:end:2], command[4:end:2], strict=True))


def test_the_command_is_a_list_in_which_spaces_survive():
    command = torchrun(WORDS, {}, 2)
    assert command[:3] == [sys.executable, "-m", "hone.cli.torchrun"]
    assert command[command.index("-m", 3) :] == ["-m", "hone", "train", *WORDS]


def test_the_defaults_are_one_machine_and_a_free_port():
    found = options(torchrun(WORDS, {}, 4))
    port = found.pop("--master-port")
    assert 1024 < int(port) < 65536
    assert found == {"--nproc-per-node": "4", "--nnodes": "1", "--node-rank": "0", "--master-addr": "127.0.0.1"}


def test_the_environment_names_machines_and_ports():
    environment = {
        "NNODES": "2",
        "NODE_RANK": "1",
        "NPROC_PER_NODE": "3",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
    }
    assert options(torchrun(WORDS, environment, 8)) == {
        "--nproc-per-node": "3",
        "--nnodes": "2",
        "--node-rank": "1",
        "--master-addr": "10.0.0.1",
        "--master-port": "29500",
    }


def test_a_rendezvous_makes_the_launch_elastic():
    environment = {
        "RDZV_ID": "job7",
        "MIN_NNODES": "1",
        "MAX_NNODES": "3",
        "MAX_RESTARTS": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
    }
    assert options(torchrun(WORDS, environment, 8)) == {
        "--nproc-per-node": "8",
        "--nnodes": "1:3",
        "--rdzv-id": "job7",
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": "10.0.0.1:29500",
        "--max-restarts": "2",
    }


@pytest.mark.parametrize(
    ("environment", "present", "count"),
    [
        ({}, 0, 0),
        ({}, 4, 4),
        ({}, None, 0),
        ({"CUDA_VISIBLE_DEVICES": "0"}, 4, 1),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 4, 2),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 0, 0),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None, 2),
        ({"CUDA_VISIBLE_DEVICES": ""}, 4, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 4, 0),
        ({"ASCEND_RT_VISIBLE_DEVICES": "0,1,2"}, 8, 3),
    ],
)
def test_accelerators_are_those_that_exist_and_may_be_seen(environment, present, count):
    assert visible_accelerators(environment, present) == count


@pytest.mark.parametrize(
    ("environment", "count", "launch"),
    [
        ({}, 0, False),
        ({}, 1, False),
        ({}, 2, True),
        ({"FORCE_TORCHRUN": "1"}, 0, True),
        ({"FORCE_TORCHRUN": "0"}, 1, False),
        ({"LOCAL_RANK": "0"}, 2, False),
        ({"FORCE_TORCHRUN": "1", "TORCHELASTIC_RUN_ID": "none"}, 0, False),
    ],
)
def test_torchrun_is_used_for_several_devices_or_when_forced(environment, count, launch):
    assert wants_launch(environment, count) is launch


def child(script):
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)


def test_the_exit_code_of_the_child_is_ours():
    assert wait_for(child("raise SystemExit(5)")) == 5
    assert wait_for(child("import os; os.kill(os.getpid(), 9)")) == 137


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_and_the_child_has_time_to_save(number):
    process = child(
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (time.sleep(0.4), sys.exit(43)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )

    before = signal.getsignal(number)

    def interrupt():
        process.stdout.readline()
        while signal.getsignal(number) == before:  # a signal before this would end the tests themselves
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    assert wait_for(process) == 43
