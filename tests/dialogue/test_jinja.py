"""Chat templates from strangers: what they may print, and what they may not."""

from __future__ import annotations

import time

import pytest

from hone.dialogue.jinja import LARGEST_TEMPLATE, LEARNED, compile_template
from hone.errors import ModelError

TALK = {"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": True}

ESCAPES = [
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ ().__class__.__mro__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%s'|format(1) }}",
    "{{ messages.__class__ }}",
    "{{ [messages]|map('attr', '__class__')|list }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ dict.__subclasses__() }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ counted__.__self__ }}",
    "{{ self.__init__ }}",
    "{{ messages.append(1) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
]
BOMBS = [
    "{{ 'a' * 10000000000 }}",
    "{{ [1] * 10000000000 }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 'x'|center(999999999) }}",
    "{{ 'x'.zfill(999999999) }}",
    "{{ range(10000000000)|list }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{% set n = namespace(s=['a']) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s|replace('a', 'aa') %}{% endfor %}",
    "{% set s = 'a' * 16000000 %}{{ s ~ s }}",
    "{% set s = 'a' * 16000000 %}{{ [s, s, s] }}",
    "{% set s = 'a' * 16000000 %}{{ [s, s, s]|join }}",
    "{% set s = 'a' * 16000000 %}{{ s.join([s, s]) }}",
    "{% set s = 'a' * 16000000 %}{{ [s, s, s]|tojson }}",
    "{% set s = 'a' * 16000000 %}{{ s }}{{ s }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_leads_out_of_the_sandbox(source: str) -> None:
    with pytest.raises(ModelError) as caught:
        compile_template(source)(TALK)
    assert caught.value.faults[0].code == "TEMPLATE-JINJA" and caught.value.exit_code == 4


@pytest.mark.parametrize("source", BOMBS)
def test_work_and_output_are_bounded(source: str) -> None:
    began = time.process_time()
    with pytest.raises(ModelError, match="TEMPLATE-JINJA"):
        compile_template(source)(TALK)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ x", "{% for %}", "x" * (LARGEST_TEMPLATE + 1), "{{ x.y.z }}", "{{ 1 / 0 }}"]
)
def test_broken_templates_are_refused_in_one_line(source: str) -> None:
    with pytest.raises(ModelError, match="chat_template"):
        compile_template(source)(TALK)


def test_a_template_may_refuse_with_its_own_words() -> None:
    with pytest.raises(ModelError, match="no tools here"):
        compile_template("{{ raise_exception('no tools here') }}")({})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "{% for m in messages %}{{ loop.index }}{{ loop.last }}{{ m.role }}{{ m['content']|trim }}{% endfor %}",
            "1Trueuserhi",
        ),
        ("{{ messages|tojson }}", '[{"role": "user", "content": "hi"}]'),
        ("{{ {'a': '<é>'}|tojson(indent=2) }}", '{\n  "a": "<é>"\n}'),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{{ 'a,b'.split(',')[-1] ~ 2 * 3 }}{{ 7 % 4 }}", "b63"),
        ("{% set n = namespace(x=1) %}{% for m in messages %}{% set n.x = n.x + 1 %}{% endfor %}{{ n.x }}", "2"),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
        ("{% generation %}x{% endgeneration %}", f"{LEARNED[0]}x{LEARNED[1]}"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "1"),
    ],
)
def test_what_chat_templates_use_works(source: str, text: str) -> None:
    assert compile_template(source)(TALK) == text
