"""The quickstart's data: reproducible, strict, and disjoint where it says so."""

import importlib.util
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DATA = Path(__file__).resolve().parent.parent / "data" / "quickstart"
SPLITS = ("train", "val", "test")
PAIRS = list(itertools.combinations(SPLITS, 2))
FIELD = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def make_data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_data", DATA / "make_data.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict[str, str]]]:
    return {
        split: [json.loads(line) for line in (DATA / split / f"{split}.jsonl").open()]
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def objects(rows: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, Any]]]:
    return {split: [json.loads(row["output"]) for row in of] for split, of in rows.items()}


def run(*arguments: object) -> int:
    command = [sys.executable, str(DATA / "make_data.py"), *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE).returncode


def test_the_files_are_what_the_script_writes() -> None:
    assert run("--check") == 0


def test_writing_again_gives_the_same_bytes_and_check_finds_a_difference(tmp_path: Path) -> None:
    assert run("--check", "--directory", tmp_path) == 1
    assert run("--directory", tmp_path) == 0
    for split in SPLITS:
        name = f"{split}/{split}.jsonl"
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
    assert run("--check", "--directory", tmp_path) == 0
    with (tmp_path / "val" / "val.jsonl").open("a") as stream:
        stream.write("\n")
    assert run("--check", "--directory", tmp_path) == 1


def test_counts(rows: dict[str, list[dict[str, str]]]) -> None:
    assert {split: len(of) for split, of in rows.items()} == {
        "train": 1500,
        "val": 150,
        "test": 150,
    }
    inputs = [row["input"] for of in rows.values() for row in of]
    assert len(set(inputs)) == len(inputs)


def test_every_output_has_the_declared_schema(
    objects: dict[str, list[dict[str, Any]]], make_data: ModuleType
) -> None:
    for value in itertools.chain.from_iterable(objects.values()):
        assert list(value) == list(make_data.SCHEMA)
        for key, form in make_data.SCHEMA.items():
            assert re.fullmatch(form, json.dumps(value[key])), (key, value)


def test_name_and_item_stand_in_the_message(rows: dict[str, list[dict[str, str]]]) -> None:
    for row in itertools.chain.from_iterable(rows.values()):
        value = json.loads(row["output"])
        assert value["name"] in row["input"]
        assert value["item"].lower() in row["input"].lower()


@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("key", ["name", "item", "quantity", "time"])
def test_splits_share_no_value(
    objects: dict[str, list[dict[str, Any]]], key: str, left: str, right: str
) -> None:
    values = {split: {value[key] for value in objects[split]} for split in (left, right)}
    assert not values[left] & values[right]


@pytest.mark.parametrize(("left", "right"), PAIRS)
@pytest.mark.parametrize("key", ["name", "item"])
def test_splits_share_no_word_of_a_name_or_an_item(
    objects: dict[str, list[dict[str, Any]]], key: str, left: str, right: str
) -> None:
    words = {
        split: {word for value in objects[split] for word in value[key].split()}
        for split in (left, right)
    }
    assert not words[left] & words[right]


@pytest.mark.parametrize(("left", "right"), [("val", "train"), ("test", "train")])
def test_no_name_or_item_of_an_unseen_split_stands_anywhere_in_train(
    rows: dict[str, list[dict[str, str]]],
    objects: dict[str, list[dict[str, Any]]],
    left: str,
    right: str,
) -> None:
    text = "\n".join(row["input"] for row in rows[right])
    for value in objects[left]:
        for word in f"{value['name']} {value['item']}".split():
            assert not re.search(rf"\b{word}\b", text), word


# What may stand in a field of a sentence, whichever split it is from.
FORMS = {
    "name": r"[a-z]+ [a-z]+",
    "item": r"[a-z]+ [a-z]+",
    "quantity": r"(?:(?:half )?a dozen|[a-z]+ dozen|[a-z0-9-]+)",
    "time": r"(?:[0-9]+(?:[.:][0-9]{2})? [ap]m|(?:[0-9.]+|[a-z]+ o'clock) in the [a-z]+)",
}


def pattern(frame: str) -> re.Pattern[str]:
    """A sentence as a regular expression that is blind to the values in it, and to case."""
    parts = FIELD.split(frame)  # text, field, text, field, …, text
    forms = [FORMS[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)]
    return re.compile("".join(forms), re.IGNORECASE)


@pytest.mark.parametrize("split", SPLITS)
def test_each_message_has_a_sentence_of_its_own_split_and_none_of_another(
    rows: dict[str, list[dict[str, str]]], make_data: ModuleType, split: str
) -> None:
    own = [pattern(frame) for frame in make_data.frames_of(split)]
    other = [pattern(f) for s in SPLITS if s != split for f in make_data.frames_of(s)]
    used = set()
    for row in rows[split]:
        matching = [p.pattern for p in own if p.fullmatch(row["input"])]
        assert matching, row["input"]
        used.update(matching)
        assert not any(p.fullmatch(row["input"]) for p in other), row["input"]
    assert len(used) == len(own)  # none was left out


def test_frames_name_every_field_once(make_data: ModuleType) -> None:
    frames = [frame for split in SPLITS for frame in make_data.frames_of(split)]
    assert len(set(frames)) == len(frames)
    for frame in frames:
        assert sorted(FIELD.findall(frame)) == sorted(make_data.SCHEMA), frame


@pytest.mark.parametrize(
    ("hour", "minute", "noted"),
    [(7, 5, "7:05 am"), (11, 55, "11:55 am"), (12, 0, "12:00 pm"), (20, 30, "8:30 pm")],
)
def test_times_are_noted_in_one_form(
    make_data: ModuleType, hour: int, minute: int, noted: str
) -> None:
    assert make_data.note_time(hour, minute) == noted


def test_times_are_said_in_every_form(make_data: ModuleType) -> None:
    import random

    rng = random.Random(0)
    said = {make_data.say_time(rng, 17, 0) for _ in range(200)}
    figures = {"5.00 pm", "5:00 PM", "5 pm", "5.00 in the evening"}
    assert said == figures | {"five o'clock in the evening"}
    said = {make_data.say_time(rng, 9, 30) for _ in range(200)}
    assert said == {"9.30 am", "9:30 AM", "9.30 in the morning"}


@pytest.mark.parametrize(("number", "word"), [(5, "five"), (40, "forty"), (59, "fifty-nine")])
def test_numbers_in_words(make_data: ModuleType, number: int, word: str) -> None:
    assert make_data.in_words(number) == word


def test_the_whole_takes_less_than_a_megabyte() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*.jsonl")) < 1_000_000
