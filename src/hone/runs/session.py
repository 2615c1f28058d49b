"""A recipe becomes a session: tokenizer, template, model, adapters and engine put together, ready to answer."""

from __future__ import annotations

from hone.engines.answering import QUEUE, SLOTS
from hone.engines.session import Session
from hone.models.fingerprint import base_fingerprint
from hone.models.source import find_source
from hone.models.tokenizer import load_tokenizer
from hone.models.vocabulary import add_words
from hone.recipe import Recipe
from hone.runs.engines import check_engine, open_engine
from hone.runs.seeing import seeing
from hone.runs.template import choose_encoder, find_card
from hone.runs.voices import Voices, first_card, named_adapters, without_adapters


def open_session(recipe: Recipe, *, slots: int = SLOTS, queue: int = QUEUE, by_name: bool = False) -> Session:
    """Load what the recipe names. Everything cheap is checked first; raises ModelError, RecipeError, MachineError.

    `slots` requests are answered at once, and `queue` more may wait. `by_name`: whoever asks may choose among adapters
    given as `name=folder`, and load more.
    """
    named = named_adapters(recipe) if by_name else {}
    recipe = without_adapters(recipe) if named else recipe
    check_engine(recipe)
    folder = find_source(recipe.model).path
    tokenizer = load_tokenizer(recipe.model)
    add_words(tokenizer, recipe.model)
    encoder = choose_encoder(
        recipe.model,
        recipe.data,
        tokenizer,
        card=find_card(recipe.model) or first_card(named),
        given=recipe.given,
        base=base_fingerprint(folder),
    )
    encoder = seeing(recipe, encoder, needed=False)
    engine = open_engine(recipe, tokenizer, slots=slots, queue=queue, named=len(named))
    session = Session(engine, encoder, load=Voices(recipe, engine, encoder).load if by_name else None)
    for name, place in named.items():
        session.load_adapter(name, place)
    return session
