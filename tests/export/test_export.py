"""`hone export`: the merged model is the tuned one, in a place of its own, whole or not at all."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hone.cli.main import main


@pytest.fixture(scope="module")
def adapter(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the tiny llama that changes its answers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    wrapped = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "k_proj", "down_proj"])
    )
    torch.manual_seed(1)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    wrapped.save_pretrained(folder)
    return folder


def _export(model: Path, adapter: Path, target: Path, *more: str) -> int:
    places = ["--model_name_or_path", str(model), "--adapter_name_or_path", str(adapter), "--export_dir", str(target)]
    tutorial = ["--export_size", "2", "--export_device", "cpu", "--export_legacy_format", "False"]
    return main(["export", *places, *tutorial, *more])


def test_the_merged_folder_answers_as_the_adapter_on_its_base(tiny_model, adapter, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert _export(tiny_model("llama"), adapter, tmp_path / "out") == 0
    ids = torch.tensor([[1, 70, 90, 200]])
    base = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), dtype=torch.float32)
    plain = base(ids).logits.detach().clone()
    tuned = PeftModel.from_pretrained(base, adapter)(ids).logits
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)(ids).logits
    assert (tuned - plain).abs().max() > 1e-2
    torch.testing.assert_close(found, tuned, atol=1e-4, rtol=0)
    said = json.loads((tmp_path / "out" / "fidelity.json").read_text())
    assert said["holds"] and said["same_answers"] == said["prompts"]
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tiny_model("llama") / "tokenizer.json").read_bytes()


def test_two_exports_are_equal_byte_for_byte(tiny_model, adapter, tmp_path):
    for name in ("one", "two"):
        assert _export(tiny_model("llama"), adapter, tmp_path / name, "--export_format", "gguf") == 0
    one, two = (sorted(path for path in (tmp_path / name).iterdir()) for name in ("one", "two"))
    assert "model.gguf" in [path.name for path in one]
    assert [path.name for path in one] == [path.name for path in two]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_gguf_file_read_back_by_transformers_is_the_merged_model(tiny_model, adapter, tmp_path):
    from hone.models.gguf import load_gguf_model

    assert _export(tiny_model("llama"), adapter, tmp_path / "a", "--export_check", "false") == 0
    more = ("--export_format", "gguf", "--export_gguf_type", "f32")
    assert _export(tiny_model("llama"), adapter, tmp_path / "b", *more) == 0
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[1, 70, 90, 200]])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32)(ids).logits
    read = load_gguf_model(tmp_path / "b" / "model.gguf", torch.float32)(ids).logits
    torch.testing.assert_close(read, merged, atol=1e-5, rtol=0)


def test_what_is_there_already_is_not_touched(tiny_model, adapter, tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    assert _export(tiny_model("llama"), adapter, tmp_path) == 2
    assert "EXPORT-DIR" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert _export(tiny_model("llama"), adapter, adapter / "inside") == 2


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    from hone.export.place import drafted

    with pytest.raises(KeyboardInterrupt), drafted(tmp_path / "out", 10) as place:
        (place / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_trained_on_quantised_weights_is_not_merged_into_others(tiny_model, adapter, tmp_path, capsys):
    import shutil

    from hone.rundir import RunCard, write_card

    shutil.copytree(adapter, tmp_path / "adapter")
    write_card(tmp_path / "adapter", RunCard(base_bits=4))
    assert _export(tiny_model("llama"), tmp_path / "adapter", tmp_path / "out") == 4
    assert "EXPORT-QUANTIZED" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_vendors_chat_template_that_differs_from_training_gives_way(tiny_model, adapter, tmp_path):
    from transformers import AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.message import Conversation, Message, Text
    from hone.dialogue.template import load_template

    assert _export(tiny_model("llama"), adapter, tmp_path / "out", "--template", "alpaca") == 0
    found = AutoTokenizer.from_pretrained(tmp_path / "out")
    talk = [{"role": "user", "content": "hello"}]
    ids = found.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    encoder = Encoder(load_template("alpaca"), found)
    assert ids == encoder.prompt(Conversation((Message("user", (Text("hello"),)),)))
    assert json.loads((tmp_path / "out" / "fidelity.json").read_text())["prompt_ids_equal"] is True


def test_the_gguf_file_prompts_as_training_did_too(tiny_model, adapter, tmp_path):
    import gguf

    from hone.dialogue.compile.jinja import compile_jinja
    from hone.dialogue.template import load_template

    more = ("--export_format", "gguf", "--template", "alpaca")
    assert _export(tiny_model("llama"), adapter, tmp_path / "out", *more) == 0
    field = gguf.GGUFReader(tmp_path / "out" / "model.gguf").get_field("tokenizer.chat_template")
    assert field is not None and field.contents() == compile_jinja(load_template("alpaca"))


def test_a_folder_that_prompts_otherwise_than_training_is_found_out(tiny_model, adapter, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hone.dialogue.encoder import Encoder
    from hone.dialogue.message import Conversation, Message, Text
    from hone.dialogue.template import load_template
    from hone.errors import ModelError
    from hone.export import fidelity
    from hone.runs.exported import compare_folder, questions

    assert _export(tiny_model("llama"), adapter, tmp_path / "out", "--template", "alpaca") == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    encoder = Encoder(load_template("qwen"), AutoTokenizer.from_pretrained(tmp_path / "out"))
    asked = [Conversation((Message("user", (Text(talk[0]["content"]),)),)) for talk in questions(2)]
    witness = fidelity.ask(model, [encoder.prompt(one) for one in asked], encoder.stop_ids)
    found = compare_folder(tmp_path / "out", witness, encoder, "float32", with_template=True)
    assert found.mean_kl < 1e-6 and not found.prompt_ids_equal and not found.holds
    with pytest.raises(ModelError, match="other ids than in training"):
        fidelity.report(tmp_path, found)


@pytest.mark.parametrize(("cost", "missed", "holds"), [(9e-4, None, True), (2e-3, 1e-3, True), (2e-2, 1e-3, False)])
def test_an_aim_that_is_missed_is_said(cost: float, missed: float | None, holds: bool, tmp_path: Path) -> None:
    from hone.errors import ModelError
    from hone.export import fidelity

    bound = fidelity.BOUNDS["q8_0"]
    found = fidelity.Fidelity("model.gguf", "q8_0", 6, 60, cost, cost, 1.0, 6, 16, True, bound)
    with contextlib.nullcontext() if holds else pytest.raises(ModelError, match="nothing was kept"):
        fidelity.report(tmp_path, found)
    written = json.loads((tmp_path / fidelity.FILE).read_text())
    assert (written["missed_aim"], written["holds"]) == (missed, holds)
    assert ("a mean of 1e-03 was aimed at and is missed" in str(found)) is (missed is not None)
