"""Rows of directories and datasets: what is read, and what is said of what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.sources import Splits, read_splits, split_off
from det_files.faults import ConfigError

GOOD = '{"input": "q", "output": "a"}'


def lay_out(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files below a directory; every text ends with a line break."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return root


def read(root: Path, seed: int = 1, columns: dict[str, str] | None = None, **more: Any) -> Splits:
    source = SourceArguments(path=str(root), columns=columns or {})
    return read_splits(DataArguments(sources=[source], **more), seed)


def message(root: Path, **more: Any) -> str:
    with pytest.raises(ConfigError) as error:
        read(root, **more)
    assert str(error.value).startswith("ConfigError: hyperparameters.data_arguments.sources[0]")
    return str(error.value)


def jsonl(rows: int, start: int = 0) -> str:
    pairs = ({"input": f"q{i}", "output": f"a{i}"} for i in range(start, start + rows))
    return "\n".join(map(json.dumps, pairs))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"input": "q", ', "no JSON: Expecting property name"),
        (b'["q", "a"]', "expected an object, got a list"),
        (b'{"output": "a"}', 'lacks "input"'),
        (b'{"imput": "q", "output": "a"}', 'lacks "input"; did you mean "imput"?'),
        (b'{"input": null, "output": "a"}', 'lacks "input"'),
        (b'{"input": "q"}', 'lacks "output"'),
        (b'{"input": 3, "output": "a"}', '"input" is a int, expected a string'),
        (b'{"input": "q", "output": ["a"]}', '"output" is a list, expected a string'),
        (b'{"input": "\xe9", "output": "a"}', "not UTF-8 (byte 12)"),
        (b'{"input": "\\ud83d", "output": "a"}', '"input" holds half a character (\\ud83d)'),
        (b'{"text": "t"}', "plain text and input/output rows cannot be mixed"),
    ],
)
def test_the_first_bad_line_is_named_and_the_others_are_counted(
    line: bytes, problem: str, tmp_path: Path
) -> None:
    good = GOOD.encode()
    lay_out(
        tmp_path,
        {"train/a.jsonl": good, "train/b.jsonl": b"\n".join([good, b"", line, good, line, line])},
    )
    text = message(tmp_path)
    assert f"{tmp_path}/train/b.jsonl, line 3: {problem}" in text
    assert text.endswith("(2 more bad lines)")


def test_rows_of_all_files_in_order_blank_lines_and_bom_passed_over(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "train/b.jsonl": jsonl(1, 2),
            "train/a.jsonl": b"\xef\xbb\xbf" + jsonl(2).replace("\n", "\n \n").encode(),
            "val/v.jsonl": '{"input": "日本語 😀", "output": "é", "more": 1}',
            "test/t.jsonl": '{"input": "q"}\n{"input": "q", "output": "a"}',
        },
    )
    splits = read(tmp_path)
    assert [row["input"] for row in splits.train] == ["q0", "q1", "q2"]
    assert splits.val == [{"input": "日本語 😀", "output": "é"}]
    assert splits.test == [{"input": "q"}, {"input": "q", "output": "a"}]
    assert not splits.val_from_train


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"train/notes.md": "x"}, "train has no *.jsonl and no *.txt"),
        ({"train/a.jsonl": GOOD, "train/b.txt": "x"}, "train has both *.jsonl and *.txt"),
        ({"test/a.jsonl": GOOD, "readme": ""}, "has no train/ (it has: readme, test)"),
        ({"training/a.jsonl": GOOD}, "has training/ but no train/: rename it"),
        (
            {"train/a.jsonl": GOOD, "validation/a.jsonl": GOOD},
            "has validation/ but no val/: rename it",
        ),
        ({"train/a.jsonl": ""}, "has no rows in its train split"),
        ({"train/a.jsonl": GOOD}, "no val split and one row in train"),
        ({"train/a.txt": b"\xe9t\xe9"}, "a.txt: not UTF-8 (byte 1)"),
    ],
)
def test_what_a_directory_lacks_is_said(
    files: dict[str, str | bytes], problem: str, tmp_path: Path
) -> None:
    assert problem in message(lay_out(tmp_path, files))


def test_a_directory_that_is_not_there_has_a_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    text = message(tmp_path / "quickstrat")
    assert 'quickstrat is no directory; did you mean "quickstart"?' in text
    assert "is no directory" in message(tmp_path / "no" / "where")


def test_columns_are_mapped(tmp_path: Path) -> None:
    rows = '{"q": "x", "a": "y", "input": "z"}\n' * 2
    lay_out(tmp_path, {"train/a.jsonl": rows, "val/a.jsonl": rows})
    splits = read(tmp_path, columns={"input": "q", "output": "a"})
    assert splits.train[0] == {"input": "x", "output": "y"}
    assert 'lacks "aa"' in message(tmp_path, columns={"input": "q", "output": "aa"})
    assert read(tmp_path, columns={"text": "a"}).train[0] == {"text": "y"}


def test_text_files_are_documents(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/b.txt": "two", "train/a.txt": "one\nline", "val/a.txt": "v"})
    assert read(tmp_path).train == [{"text": "one\nline\n"}, {"text": "two\n"}]


def test_validation_rows_are_a_seeded_disjoint_share_of_train(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/a.jsonl": jsonl(200)})
    splits = read(tmp_path, validation_split_percentage=10)
    train, val = ([row["input"] for row in rows] for rows in (splits.train, splits.val))
    assert splits.val_from_train
    assert len(val) == 20
    assert sorted(train + val) == sorted(f"q{i}" for i in range(200))
    assert read(tmp_path, validation_split_percentage=10) == splits
    assert read(tmp_path, seed=2, validation_split_percentage=10).val != splits.val


@pytest.mark.parametrize(("rows", "percentage", "taken"), [(2, 50, 1), (10, 0.1, 1), (3, 50, 2)])
def test_a_share_leaves_a_row_on_both_sides(rows: int, percentage: float, taken: int) -> None:
    made = [{"input": str(i)} for i in range(rows)]
    rest, val = split_off(made, percentage, 0)
    assert (len(rest), len(val)) == (rows - taken, taken)


@pytest.mark.parametrize("with_val", [True, False])
def test_sample_limits_take_the_first_rows(with_val: bool, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"train/a.jsonl": jsonl(40)}
    lay_out(tmp_path, files | ({"val/a.jsonl": jsonl(20, 100)} if with_val else {}))
    whole = read(tmp_path, validation_split_percentage=50)
    cut = read(tmp_path, validation_split_percentage=50, max_train_samples=3, max_eval_samples=2)
    assert (cut.train, cut.val) == (whole.train[:3], whole.val[:2])


# The datasets library itself, on a local directory instead of a hub id.

MATH = [
    {"role_1": "x", "topic;": "Algebra", "message_1": f"1+{i}?", "message_2": f"{1 + i}"}
    for i in range(20)
]
MATH_COLUMNS = {"input": "message_1", "output": "message_2"}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library's own offline mode, and a cache of the test's own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def read_hub(name: Path | str, columns: dict[str, str], config: str | None = None) -> Splits:
    source = SourceArguments(dataset_name=str(name), dataset_config=config, columns=columns)
    return read_splits(DataArguments(sources=[source]), 1)


def math_dataset(root: Path, *splits: str) -> Path:
    text = "\n".join(map(json.dumps, MATH))
    return lay_out(root / "math", {f"{split}.jsonl": text for split in splits})


@pytest.mark.usefixtures("offline")
def test_a_dataset_of_the_library_with_mapped_columns(tmp_path: Path) -> None:
    splits = read_hub(math_dataset(tmp_path, "train"), MATH_COLUMNS)
    assert splits.val_from_train
    assert (len(splits.train), len(splits.val)) == (19, 1)
    assert splits.train[0] == {"input": "1+0?", "output": "1"}


@pytest.mark.usefixtures("offline")
def test_splits_of_the_library(tmp_path: Path) -> None:
    splits = read_hub(math_dataset(tmp_path, "train", "validation", "test"), MATH_COLUMNS)
    assert not splits.val_from_train
    assert [len(rows) for rows in (splits.train, splits.val, splits.test)] == [20, 20, 20]


@pytest.mark.usefixtures("offline")
def test_faults_of_a_dataset_of_the_library(tmp_path: Path) -> None:
    root = math_dataset(tmp_path, "train")
    with pytest.raises(ConfigError) as error:
        read_hub(root, {})
    assert 'train, row 1: lacks "input"' in str(error.value)
    assert "its columns are role_1, topic;, message_1, message_2" in str(error.value)
    only_test = math_dataset(tmp_path / "other", "test")
    with pytest.raises(ConfigError, match=r"has no train split \(it has: test\)"):
        read_hub(only_test, MATH_COLUMNS)


@pytest.mark.usefixtures("offline")
def test_an_unreachable_hub_says_the_way_out() -> None:
    with pytest.raises(ConfigError) as error:
        read_hub("camel-ai/math", MATH_COLUMNS)
    text = str(error.value)
    assert text.startswith("ConfigError: hyperparameters.data_arguments.sources[0].dataset_name")
    assert "camel-ai/math could not be loaded" in text
    assert "download it once with HF_HOME" in text
