"""An export loaded back: the chat template that goes with it, and whether it still is the tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hone.dialogue.message import Conversation, Message, Text
from hone.log import say, warn
from hone.recipe import Recipe

if TYPE_CHECKING:
    from hone.dialogue.encoder import Encoder
    from hone.export.fidelity import Fidelity, Witness

Said = list[dict[str, str]]
TALKS: tuple[Said, ...] = (
    [{"role": "user", "content": "Who are you?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " 你好 "}],
    [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n"}, {"role": "user", "content": "c"},
    ],
)  # fmt: skip
"""What two chat templates are compared on."""
ASKED = 6
"""Questions whose answers are compared."""


def chat_template(encoder: Encoder, tokenizer: Any, vendor: Any) -> tuple[Any, bool]:
    """The chat template of the export, and whether it writes what training wrote. The vendor's stays where it does;
    otherwise the card's own takes its place, unless Jinja cannot say that one."""
    from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
    from hone.dialogue.derived import Derived

    if isinstance(encoder.template, Derived):
        return vendor, bool(vendor)
    if vendor and all(rendered(tokenizer, vendor, talk) == encoder.prompt(_conversation(talk)) for talk in TALKS):
        return vendor, True
    reason = jinja_refusal(encoder.template)
    if reason is not None:
        if vendor:
            warn(f"the vendor's chat template stays though training wrote otherwise, as Jinja cannot say it: {reason}")
        return vendor, False
    say(f"the chat template is written from the card {encoder.template.name}, as training wrote")
    return compile_jinja(encoder.template), True


def rendered(tokenizer: Any, template: Any, talk: Said) -> list[int] | None:
    """The ids that other programs make of a conversation; None where the template fails."""
    try:
        options = {"chat_template": template, "add_generation_prompt": True, "return_dict": False}
        return [int(one) for one in tokenizer.apply_chat_template(talk, **options)]
    except Exception:  # a template may fail in any way
        return None


def _conversation(talk: Said) -> Conversation:
    system = talk[0]["content"] if talk[0]["role"] == "system" else None
    turns = talk[1:] if system is not None else talk
    messages = tuple(Message(one["role"], (Text(one["content"]),)) for one in turns)  # type: ignore[arg-type]
    return Conversation((Message("system", (Text(system),)), *messages) if system is not None else messages)


def begins(encoder: Encoder) -> bool:
    """Whether prompts begin with the tokenizer's token for that, as training wrote them."""
    begin = getattr(encoder.tokenizer, "bos_token_id", None)
    return begin is not None and encoder.prompt(_conversation(TALKS[0]))[0] == begin


def check_judge(recipe: Recipe) -> None:
    """Say before anything is loaded that a GGUF file that is to be compared cannot be. Raises MachineError."""
    from hone.export import llamacpp

    if recipe.export.export_check and recipe.export.export_format in ("gguf", "ollama"):
        llamacpp.need("export_check")


def witness_of(recipe: Recipe, model: Any, encoder: Encoder) -> Witness | None:
    """What the tuned model says, where the export is to be compared."""
    from hone.export import llamacpp
    from hone.export.fidelity import SMALL, ask

    small = sum(weight.numel() for weight in model.parameters()) < SMALL
    if not (small if recipe.export.export_check is None else recipe.export.export_check):
        return None
    if recipe.export.export_format != "safetensors" and not llamacpp.is_here():
        warn(f"the GGUF file is not compared with the tuned model, as llama.cpp is not here: {llamacpp.INSTALL}")
        return None
    return ask(model, [encoder.prompt(_conversation(talk)) for talk in questions(ASKED)], encoder.stop_ids)


def questions(count: int) -> list[Said]:
    """The first of the questions that exports are asked."""
    from hone.export.fidelity import QUESTIONS

    return [[{"role": "user", "content": text}] for text in QUESTIONS[:count]]


def compare_folder(place: Path, witness: Witness, encoder: Encoder, form: str, *, with_template: bool) -> Fidelity:
    """A Hugging Face folder, model and tokenizer loaded back."""
    import torch
    from transformers import AutoTokenizer

    from hone.export.fidelity import compare_model
    from hone.models.load import auto_class
    from hone.models.preflight import read_config
    from hone.models.silence import quiet

    with quiet():
        model = auto_class(read_config(place)).from_pretrained(
            str(place), dtype=getattr(torch, form), local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    found = []
    for talk, prompt in zip(questions(len(witness.prompts)), witness.prompts, strict=True):
        text = tokenizer.decode(prompt, clean_up_tokenization_spaces=False)
        plain = tokenizer.encode(text, add_special_tokens=False)
        found.append(rendered(tokenizer, None, talk) if with_template else plain)
    same = found == [list(prompt) for prompt in witness.prompts]
    return compare_model(witness, model.eval(), name="model.safetensors", form=form, same_ids=same)


def compare_gguf(
    path: Path, witness: Witness, encoder: Encoder, form: str, *, tokenizer: Any, rows: int, with_template: bool
) -> Fidelity:
    """A GGUF file in llama.cpp: its weights, its tokenizer and its chat template. `rows`: of the embeddings."""
    from hone.export import llamacpp
    from hone.export.fidelity import ANSWER, filled, judged

    longest = max(len(prompt) for prompt in witness.prompts) + ANSWER
    talks = questions(len(witness.prompts))
    answers, odds, found = [], [], []
    with llamacpp.loaded(path, rows=rows, context=longest + 8) as judge:
        for talk, prompt, answer in zip(talks, witness.prompts, witness.answers, strict=True):
            answers.append(judge.answer(prompt, ANSWER, encoder.stop_ids))
            odds.append(judge.odds(prompt, answer, encoder.stop_ids[0]))
            text = tokenizer.decode(prompt, clean_up_tokenization_spaces=False)
            found.append(judge.ids(judge.prompt(talk), begin=True) if with_template else judge.ids(text))
    same = found == [list(prompt) for prompt in witness.prompts]
    places = [(number, place) for number, rows_ in enumerate(odds) for place in range(len(rows_))]
    return judged(
        witness, answers, places, lambda n, p: filled(odds[n][p], witness.odds[n][p]), name=path.name, form=form,
        same_ids=same,
    )  # fmt: skip
