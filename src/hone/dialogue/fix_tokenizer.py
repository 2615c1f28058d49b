"""The one place where a tokenizer is changed: end and padding tokens, the card's stop words, and its chat template."""

from __future__ import annotations

from typing import Any

from hone.dialogue.compile.jinja import compile_jinja, jinja_refusal
from hone.dialogue.derived import Derived
from hone.dialogue.template import Template

FALLBACK_EOS = "<|endoftext|>"


def fix_tokenizer(tokenizer: Any, template: Template) -> tuple[str, ...]:
    """Give the tokenizer what the template needs, in place. Returns the words new to its vocabulary, by id.

    A card that replaces the end token makes its first stop word that token; a missing one becomes `<|endoftext|>`; a
    missing padding token becomes the end token; the remaining stop words are made special, in the order of the card.
    New words enlarge the vocabulary, and so must the model's embedding: the caller says so. A tokenizer without a chat
    template gets the card's own, so that other programs write what was trained; the vendor's is kept unless the card
    says to replace it.
    """
    size = len(tokenizer)
    stops = list(template.stop)
    if template.replace_eos and stops:
        _become(tokenizer, eos_token=stops.pop(0))
    if tokenizer.eos_token is None:
        _become(tokenizer, eos_token=FALLBACK_EOS)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    plain = [word for word in stops if word not in tokenizer.all_special_tokens]
    if plain:
        tokenizer.add_special_tokens({"extra_special_tokens": plain}, replace_extra_special_tokens=False)
    _give_chat_template(tokenizer, template)
    new = sorted((number, word) for word, number in tokenizer.get_vocab().items() if number >= size)
    return tuple(word for _, word in new)


def _become(tokenizer: Any, *, eos_token: str) -> None:
    tokenizer.add_special_tokens({"eos_token": eos_token})


def _give_chat_template(tokenizer: Any, template: Template) -> None:
    if isinstance(template, Derived) or jinja_refusal(template) is not None:
        return
    if template.replace_jinja or not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = compile_jinja(template)
