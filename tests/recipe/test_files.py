"""Recipe files: encodings, duplicates, tags, alias bombs; the fault says where."""

from __future__ import annotations

import resource

import pytest

from hone.errors import RecipeError
from hone.recipe.file import read_file
from hone.recipe.values import Plain


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def put(content, name="train.yaml"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return put


def values(name):
    return {entry.name: entry.value for entry in read_file(name)[0]}


def fault(name):
    with pytest.raises(RecipeError) as caught:
        read_file(name)
    (found,) = caught.value.faults
    return str(found)


def test_every_entry_knows_its_line(write):
    entries, faults = read_file(write("# first\nstage: sft\n\nlora_rank: 8\n"))
    assert [(entry.name, entry.where) for entry in entries] == [
        ("stage", "train.yaml:2"),
        ("lora_rank", "train.yaml:4"),
    ]
    assert faults == []


def test_bom_and_crlf_are_read_over(write):
    assert values(write(b"\xef\xbb\xbfstage: sft\r\nlora_rank: 8\r\n")) == {"stage": "sft", "lora_rank": "8"}


def test_json_with_bom_tabs_and_crlf(write):
    name = write(b'\xef\xbb\xbf{\r\n\t"stage": "sft",\r\n\t"lora_rank": 8\r\n}', "train.json")
    assert values(name) == {"stage": "sft", "lora_rank": 8}


def test_gbk_is_named_with_its_offset(write):
    content = "stage: sft\noutput_dir: 数据\n".encode("gbk")
    assert "train.yaml:2: byte 23: it looks like GBK; save it as UTF-8" in fault(write(content))


def test_utf_16_is_named(write):
    assert "UTF-16" in fault(write("stage: sft".encode("utf-16")))


def test_a_tab_is_named_with_line_and_column(write):
    assert fault(write("stage: sft\n\tlora_rank: 8\n")).startswith("error[CFG-YAML] a tab: train.yaml:2:1")


def test_a_control_character_is_named(write):
    assert "train.yaml:2" in fault(write("stage: sft\nrun_name: a\x07b\n"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.yaml", "lora_rank: 8\nstage: sft\nlora_rank: 16\n"),
        ("train.json", '{\n"lora_rank": 8,\n"lora_rank": 16}'),
    ],
)
def test_a_duplicate_names_both_lines(write, name, content):
    _, faults = read_file(write(content, name))
    second = 3
    first = 1 if name.endswith("yaml") else 2
    assert [str(each) for each in faults] == [
        f"error[CFG-DUPLICATE] lora_rank: {name}:{second}: already given in line {first}; keep one"
    ]


def test_a_nested_duplicate_is_a_fault(write):
    assert "CFG-DUPLICATE" in fault(write("lr_scheduler_kwargs:\n  a: 1\n  a: 2\n"))
    assert "CFG-JSON" in fault(write('{"lr_scheduler_kwargs": {"a": 1, "a": 2}}', "train.json"))


def test_an_alias_bomb_ends_early_and_small(write):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "CFG-ALIAS" in fault(write("\n".join(levels)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_an_alias_of_itself_is_refused(write):
    assert "error[CFG-" in fault(write("dataset: &a [*a]\n"))


@pytest.mark.parametrize("text", ["<<: &a {<<: *a}\n", "<<: &a [*a]\n", "a: {<<: {b: 1}}\n", "<<: x\n"])
def test_a_merge_that_leads_nowhere_is_refused(write, text):
    assert "error[CFG-" in fault(write(text))


def test_a_long_file_is_refused_early(write):
    assert "too large a recipe" in fault(write("[" + "a," * 100_000 + "]"))


def test_ordinary_aliases_and_merges_work(write):
    name = write("base: &base {lora_rank: 8, stage: pt}\n<<: *base\nstage: sft\n")
    assert values(name) == {"base": {"lora_rank": "8", "stage": "pt"}, "lora_rank": "8", "stage": "sft"}


@pytest.mark.parametrize(
    "tag", ['!!python/object/apply:os.system ["touch canary"]', "!!python/name:os.system", "!mine x"]
)
def test_a_tag_makes_no_object(write, tag, tmp_path):
    assert "CFG-TAG" in fault(write(f"stage: {tag}\n"))
    assert not (tmp_path / "canary").exists()


def test_a_quoted_word_differs_from_a_plain_one(write):
    found = values(write("a: no\nb: 'no'\n"))
    assert isinstance(found["a"], Plain)
    assert not isinstance(found["b"], Plain)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "a: " * 5000, "- a\n- b\n", "just words", "a: 1\n---\nb: 2\n", "a: [1\n", "? [a]\n: 1\n"]
)
def test_what_is_no_recipe_is_a_fault_with_its_line(write, content):
    assert "train.yaml:" in fault(write(content))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": NaN}', '{"a": 1', '{"a": 1} x', "{" * 100_000, '{"a":' * 40_000, "{a: 1}"]
)
def test_what_is_no_json_recipe_is_a_fault(write, content):
    assert "error[CFG-JSON]" in fault(write(content, "train.json"))


def test_an_empty_file_is_an_empty_recipe(write):
    assert read_file(write("# nothing\n")) == ([], [])


def test_a_missing_or_huge_file_is_named(write, tmp_path):
    assert fault("absent.yaml") == "error[CFG-FILE] no such file: absent.yaml: check the path"
    assert "too large" in fault(write(b"#" * 300_000))
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in fault("folder.yaml")
