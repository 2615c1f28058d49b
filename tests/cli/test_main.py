"""The command as users meet it: exit codes, messages, and what it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hone.cli.main import VERBS, main

HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "numpy", "matplotlib", "rich")


def run(*words, env=None, cwd=None):
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(env or {})}
    command = [sys.executable, "-m", "hone", *words]
    return subprocess.run(command, capture_output=True, cwd=cwd, env=environment, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["version"], ["help"], ["train", "-h"], ["schema"], ["check", "bad.yaml"]]
)
def test_nothing_heavy_is_imported(words, tmp_path):
    (tmp_path / "bad.yaml").write_text("learing_rate: 1\nmodel_name_or_path: m\ndo_train: true\ndataset: a\n")
    script = (
        "import sys; from hone.cli.main import main; code = main(sys.argv[1:])\n"
        f"print('heavy', [name for name in {HEAVY!r} if name in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == f"heavy [] {2 if 'bad.yaml' in words else 0}"


@pytest.mark.parametrize("words", [["version"], ["--help"]])
def test_the_lightest_verbs_do_not_even_read_yaml(words):
    script = "import sys; from hone.cli.main import main; main(sys.argv[1:]); print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_no_words_print_the_usage_and_fail(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(name in captured.err for name in VERBS)


def test_an_unknown_verb_prints_the_usage_and_the_nearest_verb(capsys):
    assert main(["trian"]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == "error[CLI-VERB] trian: no such verb: did you mean train?"
    assert "usage:" in captured.err


def test_help_is_asked_for_and_well(capsys):
    assert main(["help"]) == 0
    assert "usage: hone VERB" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if not verb.target])
def test_a_verb_not_built_yet_says_so(verb, capsys):
    assert main([verb, "--model_name_or_path", "m"]) == 2
    assert capsys.readouterr().err == f"error[CLI-LATER] hone {verb}: this verb is not built yet\n"


def test_every_verb_explains_itself(capsys):
    for verb in VERBS:
        assert main([verb, "-h"]) == 0
        assert VERBS[verb].summary in capsys.readouterr().out


def test_python_m_hone_is_hone():
    done = run("version")
    assert (done.returncode, done.stdout.decode()) == (0, f"hone {__import__('hone').__version__}\n")


def test_faults_of_a_recipe_are_lines_and_exit_code_2(tmp_path):
    (tmp_path / "bad.yaml").write_text("learing_rate: 1\nlora_rank: 0\ndo_train: true\n", encoding="utf-8")
    done = run("check", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        "error[CFG-UNKNOWN] learing_rate: bad.yaml:1: did you mean learning_rate?",
        "error[CFG-VALUE] lora_rank: bad.yaml:2: must be >= 1, not 0",
        "error[CFG-MISSING] model_name_or_path: give a folder, a GGUF file or the name of a model",
        "error[CFG-MISSING] dataset: training needs a data set",
    ]


def test_debug_shows_the_traceback_and_only_debug(tmp_path):
    assert b"Traceback" in run("check", "absent.yaml", "--debug", cwd=tmp_path).stderr
    assert b"Traceback" in run("--debug", "check", "absent.yaml", cwd=tmp_path).stderr
    assert b"Traceback" not in run("check", "absent.yaml", cwd=tmp_path).stderr


def test_the_recipes_own_debug_key_is_left_to_the_recipe(capsys):
    words = "check train --model_name_or_path m --do_train --dataset a --debug underflow_overflow --json"
    assert main(words.split()) == 0
    assert json.loads(capsys.readouterr().out)["debug"] == ["underflow_overflow"]


def test_a_plain_locale_survives_chinese_words_and_paths(tmp_path):
    folder = tmp_path / "数据"
    folder.mkdir()
    (folder / "训练.yaml").write_text("model_name_or_path: 模型😀\nlora_rnk: 1\n", encoding="utf-8")
    environment = {
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    done = run("check", "数据/训练.yaml", env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert "lora_rnk: 数据/训练.yaml:2: did you mean lora_rank?" in done.stderr.decode("utf-8")
    done = run("check", "数据/训练.yaml", "lora_rnk=", env=environment | {"ALLOW_EXTRA_ARGS": "1"}, cwd=tmp_path)
    assert "模型😀" in done.stdout.decode("utf-8")


def test_secrets_are_masked_on_the_terminal(capsys):
    assert main(["check", "chat", "model_name_or_path=m", "hf_hub_token=hf_abcdef123"]) == 0
    captured = capsys.readouterr()
    assert "hf_abcdef123" not in captured.out + captured.err
    assert "hf_hub_token: '********'" in captured.out


def test_check_guesses_the_verb_from_the_keys(capsys):
    assert main(["check", "model_name_or_path=m", "export_dir=x"]) == 0
    assert "export_dir: x" in capsys.readouterr().out
    assert main(["check", "model_name_or_path=m", "--do_train"]) == 2
    assert "dataset" in capsys.readouterr().err


def test_docs_writes_the_reference(tmp_path, capsys):
    assert main(["docs", str(tmp_path / "recipe.md")]) == 0
    assert (tmp_path / "recipe.md").read_text(encoding="utf-8").startswith("# Recipe reference")
    assert main(["docs"]) == 2
    assert main(["docs", str(tmp_path / "no" / "folder.md")]) == 6
    assert "error[MACHINE] No such file or directory" in capsys.readouterr().err


def test_env_tells_versions(capsys):
    from hone.cli.environment import describe

    told = describe()
    assert {"hone", "python", "torch", "transformers", "devices"} <= set(told)


def test_all_names_of_the_command_are_one(tmp_path):
    scripts = Path(sys.executable).parent
    for name in ("hone", "llamafactory-cli", "lmf"):
        if not (scripts / name).exists():
            pytest.skip("the package is not installed beside this Python")
        done = subprocess.run([scripts / name, "version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("hone ")


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_waiting_threads_give_way_unless_the_user_has_said_how_they_wait(given, monkeypatch, capsys):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["version"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == (given.get("GOMP_SPINCOUNT") if given else "30000")


def test_the_help_of_a_verb_lists_the_words_of_its_own(capsys):
    for verb, shown in {"quickstart": "--author", "data": "preview RECIPE", "template": "compare NAME"}.items():
        assert main([verb, "-h"]) == 0
        assert shown in capsys.readouterr().out
