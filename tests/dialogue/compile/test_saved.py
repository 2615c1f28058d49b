"""The chat template saved with a tokenizer that had none: other programs get the ids that Hone trains and asks with."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from speaking import CALLS, TOOL, answer, common, result, results, system, talk, user

from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
from hone.dialogue.encoder import Encoder
from hone.dialogue.fix_tokenizer import fix_tokenizer
from hone.dialogue.message import Conversation, Thought
from hone.dialogue.slots import literals
from hone.dialogue.template import Template, load_template, template_names
from hone.dialogue.tools import dialect, llama3

NAMES = [name for name in template_names() if jinja_refusal(load_template(name)) is None]
WORD = re.compile(r"<[^<>\n {}]+>|\[/?[A-Z_]+\]")
TALKS = [
    talk(user("q"), answer("a")),
    talk(system("Be brief."), user("你好"), answer("好\n\n"), user(" r "), answer("b"), user("s"), answer("c")),
    talk(user("q"), answer(Thought("hm"), "a"), user("r"), answer(Thought("so"), "b")),
]
WITH_TOOLS = [
    talk(user("q"), answer(CALLS[0]), result("3"), answer("three"), tools=(TOOL,)),
    talk(system("s"), user("q"), answer(Thought("hm"), "I look", CALLS[1]), result("猫"), answer("so"), tools=(TOOL,)),
]
PARALLEL = talk(user("q"), answer(*CALLS), results("1", "2", "3"), answer("so"), tools=(TOOL,))


def tokenizer_of_bytes(template: Template) -> Any:
    """Every byte is a token, so that only control words matter; those of the card are tokens of their own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<BOS>", "<EOS>"])
    slots = (template.prefix, template.system, template.user, template.assistant, template.call, template.result)
    told = dialect(template.tools).describe([TOOL]) if template.tools else ()
    written = (*dialect(template.calls).write(CALLS[:1]), *told)
    texts = [text for slot in slots for text in literals(slot)] + [run.text for run in written if run.own]
    words = {word for text in (*texts, *template.words.thought, template.words.results) for word in WORD.findall(text)}
    backend.add_tokens([AddedToken(word, special=False, normalized=False) for word in sorted(words)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<BOS>", eos_token="<EOS>")


def talks_of(template: Template) -> list[Conversation]:
    return [*TALKS, *WITH_TOOLS, *([] if template.calls == "glm4" else [PARALLEL])]


def differing(encoder: Encoder, tokenizer: Any, said: Conversation, **options: Any) -> str:
    """What other programs ask with and read as a whole, against what Hone does; empty where both are equal."""
    asked = Conversation(said.messages[:-1], said.tools)
    source, target = encoder.answer(said)
    for ours, talked, asks in ((encoder.prompt(asked), asked, True), ([*source, *target], said, False)):
        tools = [dict(tool) for tool in said.tools] or None
        given = {"add_generation_prompt": asks, "tokenize": False, "date_string": "02 Jan 2026", **options}
        text = tokenizer.apply_chat_template(common(talked), tools=tools, **given)
        theirs = tokenizer.encode(text, add_special_tokens=False)
        if ours != theirs:
            return f"{tokenizer.decode(ours)!r} is not {text!r}"
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_chat_template_gives_the_ids_of_the_encoder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setattr(llama3, "today", lambda: datetime.date(2026, 1, 2))
    template = load_template(name)
    tokenizer = tokenizer_of_bytes(template)
    fix_tokenizer(tokenizer, template)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == compile_jinja(template)
    ways: list[dict[str, Any]] = [{}]
    if template.thinking is not None:
        ways = [{"enable_thinking": enable} for enable in (True, False, None)]
    for way in ways:
        encoder = Encoder(template.with_options(**way), tokenizer)
        assert [bad for said in talks_of(template) if (bad := differing(encoder, loaded, said, **way))] == []


def test_the_options_of_a_run_are_in_the_saved_template(chatml_tokenizer: Any) -> None:
    template = load_template("qwen3").with_options(enable_thinking=False, default_system="Be kind.")
    tokenizer = tokenizer_of_bytes(template)
    fix_tokenizer(tokenizer, template)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False, add_generation_prompt=True)
    assert "Be kind." in text and text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_vendors_chat_template_is_kept_unless_the_card_replaces_it() -> None:
    vendors = "{{ messages[0].content }}"
    for name, kept in (("qwen3", True), ("chatml", False)):
        tokenizer = tokenizer_of_bytes(load_template(name))
        tokenizer.chat_template = vendors
        fix_tokenizer(tokenizer, load_template(name))
        assert (tokenizer.chat_template == vendors) is kept


def test_a_card_that_places_tokens_by_id_saves_no_chat_template() -> None:
    tokenizer = tokenizer_of_bytes(load_template("qwen"))
    fix_tokenizer(tokenizer, load_template("chatglm3"))
    assert tokenizer.chat_template is None
