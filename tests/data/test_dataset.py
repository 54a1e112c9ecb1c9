"""load_data: from sources to datasets and the order of training."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import TrainingData, load_data, split_off
from det_files.data.reading import read_data_arguments
from det_files.faults import ConfigError, Faults

ROOT = Path(__file__).resolve().parents[2]


def load(
    path: Path, tokenizer: PreTrainedTokenizerBase, config: Any = None, seed: int = 42, **more: Any
) -> TrainingData:
    args = DataArguments(sources=[SourceArguments(path=str(path))], **more)
    return load_data(args, tokenizer, config, seed)


def mixture(tokenizer: PreTrainedTokenizerBase, config: Any = None, **mapping: Any) -> TrainingData:
    faults = Faults()
    args = read_data_arguments("hyperparameters.data_arguments", mapping, faults)
    faults.raise_if_any()
    return load_data(args, tokenizer, config)


def write(root: Path, split: str, rows: list[Any], name: str = "a.jsonl") -> Path:
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / split / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def pairs(word: str, count: int) -> list[dict[str, str]]:
    return [{"input": f"{word} {i}", "output": f"{word}"} for i in range(count)]


def answers(data: TrainingData, tokenizer: PreTrainedTokenizerBase, split: str) -> list[str]:
    return [
        tokenizer.decode(example["labels"][example["labels"] != -100]).split("<")[0]
        for example in getattr(data, split)
    ]


def questions(data: TrainingData, tokenizer: PreTrainedTokenizerBase, split: str) -> list[str]:
    texts = (tokenizer.decode(example["input_ids"]) for example in getattr(data, split))
    return [text.split("user\n")[1].split("<|im_end|>")[0] for text in texts]


def test_splits_become_datasets_of_examples(
    tiny_data: Path, tiny_model: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    data = load(tiny_data, tokenizer, AutoConfig.from_pretrained(tiny_model))
    assert (len(data.train), len(data.val)) == (40, 11)
    first = json.loads((tiny_data / "val" / "rows.jsonl").read_text().splitlines()[0])
    labels = data.val[0]["labels"]
    assert tokenizer.decode(labels[labels != -100]) == first["output"] + "<|im_end|>"
    assert data.template.chat
    assert data.order.rows == 40
    assert sorted(data.order.order(1, 0).tolist()) == list(range(40))


def test_the_models_positions_are_heeded(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    lengths = sorted(load(tiny_data, tokenizer).train.lengths.tolist())
    middle = lengths[20]
    config = AutoConfig.for_model("gpt2", n_positions=middle)  # it has another name for them
    with pytest.raises(ConfigError, match=f"longer than the model's {middle} pos") as error:
        load(tiny_data, tokenizer, config)
    assert len(error.value.faults) == 2  # of train and of val
    cut = load(tiny_data, tokenizer, config, too_long="cut")
    assert cut.train.lengths.max() == middle
    dropped = load(tiny_data, tokenizer, config, too_long="drop")
    assert sorted(dropped.train.lengths.tolist()) == [n for n in lengths if n <= middle]


def test_positions_of_virtual_tokens_are_left_free(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    config = AutoConfig.for_model("gpt2", n_positions=80)
    args = DataArguments(sources=[SourceArguments(path=str(tiny_data))], too_long="cut")
    longest = int(load_data(args, tokenizer).train.lengths.max())
    assert (
        load_data(args, tokenizer, config, reserved=(80 - longest, 0)).train.lengths.max()
        == longest
    )
    cut = load_data(args, tokenizer, config, reserved=(81 - longest, 0))
    assert cut.train.lengths.max() == longest - 1
    args = DataArguments(sources=args.sources)
    with pytest.raises(ConfigError, match="longer than the 20 of the model's 80 positions that vi"):
        load_data(args, tokenizer, config, reserved=(60, 0))
    with pytest.raises(ConfigError, match=r"none of the model's 80 positions .* \(90 reserved\)"):
        load_data(args, tokenizer, config, reserved=(90, 0))


def test_each_side_of_an_encoder_decoder_has_its_own_positions(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    config = AutoConfig.for_model("bart", max_position_embeddings=200)
    args = DataArguments(sources=[SourceArguments(path=str(tiny_data))], too_long="cut")

    def longest(**reserved: int) -> tuple[int, int]:
        rows = list(load_data(args, tokenizer, config, **reserved).train)
        learned = [int((row["labels"] != -100).sum()) for row in rows]
        return max(len(row["labels"]) - n for row, n in zip(rows, learned, strict=True)), max(
            learned
        )

    source, target = longest()
    assert longest(reserved=(201 - source, 0)) == (source - 1, target)
    assert longest(reserved=(0, 201 - target)) == (source, target - 1)


def test_a_row_fits_a_block_where_rows_are_packed_in_blocks(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    lengths = sorted(load(tiny_data, tokenizer).train.lengths.tolist())
    block = lengths[20]
    with pytest.raises(ConfigError, match=rf"longer than a block of {block} tokens \(block_size\)"):
        load(tiny_data, tokenizer, packing="blocks", block_size=block)
    for packing in (False, True):  # a layout; rows are bound by the model alone
        data = load(tiny_data, tokenizer, packing=packing, block_size=block)
        assert sorted(data.train.lengths.tolist()) == lengths
    cut = load(tiny_data, tokenizer, packing="blocks", block_size=block, too_long="cut")
    assert cut.train.lengths.max() == block


@pytest.mark.parametrize(
    ("val", "fault"),
    [
        ("", "the val split has no rows"),
        ('{"text": ""}', "the val split has no rows"),
    ],
)
def test_a_split_without_anything_to_learn_is_refused(
    val: str, fault: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    for split, text in (("train", '{"text": "one two three"}'), ("val", val)):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.jsonl").write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=fault):
        load(tmp_path, tokenizer)


def test_a_split_that_was_dropped_altogether_says_so(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    config = AutoConfig.for_model("gpt2", n_positions=4)
    with pytest.raises(ConfigError) as error:
        load(tiny_data, tokenizer, config, too_long="drop")
    text = str(error.value)
    assert f"the train split has no rows ({tiny_data}); 40 were dropped" in text


def test_text_is_blocks_no_longer_than_the_model(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.txt").write_text("one two three four " * 30)
    config = AutoConfig.for_model("gpt2", n_positions=20)
    with pytest.raises(ConfigError, match="blocks of 50 tokens are longer than the model's 20 "):
        load(tmp_path, tokenizer, config, block_size=50)
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, tokenizer, config, block_size=50, too_long="cut")
    assert "are made shorter" in caplog.text
    assert data.train.lengths.max() == 20
    assert load(tmp_path, tokenizer, config, block_size=16).train.lengths.max() == 16


# Val where the source has none.


def test_validation_rows_are_a_seeded_disjoint_share_of_train(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    write(tmp_path, "train", pairs("cat", 200))
    whole = load(tmp_path, tokenizer, validation_split_percentage=10)
    train, val = (questions(whole, tokenizer, split) for split in ("train", "val"))
    assert len(val) == 20
    assert sorted(train + val) == sorted(f"cat {i}" for i in range(200))
    again = load(tmp_path, tokenizer, validation_split_percentage=10)
    assert questions(again, tokenizer, "val") == val
    other = load(tmp_path, tokenizer, seed=2, validation_split_percentage=10)
    assert questions(other, tokenizer, "val") != val
    limits = {"max_train_samples": 3, "max_eval_samples": 2}
    first = load(tmp_path, tokenizer, validation_split_percentage=10, **limits)
    assert questions(first, tokenizer, "train") == train[:3]
    assert questions(first, tokenizer, "val") == val[:2]


@pytest.mark.parametrize(("rows", "percentage", "taken"), [(2, 50, 1), (10, 0.1, 1), (3, 50, 2)])
def test_a_share_leaves_a_row_on_both_sides(rows: int, percentage: float, taken: int) -> None:
    rest, val = split_off(rows, percentage, 0)
    assert (len(rest), len(val)) == (rows - taken, taken)
    assert sorted([*rest.tolist(), *val.tolist()]) == list(range(rows))


def test_one_row_is_nothing_to_validate_on(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    write(tmp_path, "train", pairs("cat", 1))
    with pytest.raises(ConfigError, match="no val split and one row in train"):
        load(tmp_path, tokenizer)
    write(tmp_path, "train", [])
    with pytest.raises(ConfigError, match="no val split and no row in train"):
        load(tmp_path, tokenizer)


def test_limits_take_the_first_rows(tiny_data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = load(tiny_data, tokenizer)
    cut = load(tiny_data, tokenizer, max_train_samples=3, max_eval_samples=2)
    for split, count in (("train", 3), ("val", 2)):
        assert questions(cut, tokenizer, split) == questions(whole, tokenizer, split)[:count]


# Several sources.


@pytest.fixture
def two(tmp_path: Path) -> list[dict[str, Any]]:
    """Sources of 30 and 90 training rows; the second has no val split."""
    write(write(tmp_path / "cats", "train", pairs("cat", 30)), "val", pairs("cat", 4))
    write(tmp_path / "dogs", "train", pairs("dog", 90))
    return [{"path": str(tmp_path / name)} for name in ("cats", "dogs")]


def test_sources_stand_one_behind_the_other_and_weights_order_them(
    two: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> None:
    plain = mixture(tokenizer, sources=two, validation_split_percentage=20)
    assert plain.train.sizes == [30, 72]
    assert plain.val.sizes == [4, 18]
    assert plain.order.rows == 102
    weights = {"cats": 1, "dogs": 1}
    weighted = mixture(tokenizer, sources=two, mixture_weights=weights)
    found = answers(weighted, tokenizer, "train")
    drawn = [found[i] for i in weighted.order.order(3, 0)]
    assert abs(drawn.count("cat") - drawn.count("dog")) <= 1
    assert weighted.order.rows == 60
    longer = mixture(
        tokenizer, sources=two, mixture_weights=weights, mixture_stopping="all_exhausted"
    )
    assert longer.order.rows == 2 * longer.train.sizes[1]


def test_a_source_of_weight_0_is_evaluated_and_not_trained_on(
    two: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> None:
    for weights in ({"cats": 0, "dogs": 1}, {"cats": 1, "dogs": 0}):
        data = mixture(tokenizer, sources=two, mixture_weights=weights)
        left_out = next(name for name, weight in weights.items() if not weight)[:3]
        assert left_out not in answers(data, tokenizer, "train")
        assert set(answers(data, tokenizer, "val")) == {"cat", "dog"}
        assert data.order.rows == len(data.train)


def test_each_source_has_its_own_columns_formats_and_limits(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [{"q": "one two three", "a": "four five"}] * 5
    for split in ("train", "val"):
        write(tmp_path / "x", split, rows)
        write(tmp_path / "y", split, pairs("cat", 5))
    first = {
        "path": str(tmp_path / "x"),
        "columns": {"input": "q", "output": "a"},
        "input_format": "Q: __input__",
        "max_output_tokens": 1,
        "max_train_samples": 2,
    }
    second = {"path": str(tmp_path / "y"), "output_format": "A: __output__", "max_eval_samples": 1}
    data = mixture(tokenizer, sources=[first, second], max_train_samples=4, max_eval_samples=3)
    assert data.train.sizes == [2, 4]
    assert data.val.sizes == [3, 1]
    assert questions(data, tokenizer, "train")[1:3] == ["Q: one two three", "cat 0"]
    assert answers(data, tokenizer, "train")[2] == "A: cat"
    assert len(answers(data, tokenizer, "train")[0]) < len("four five")


def test_the_faults_of_all_sources_and_splits_come_at_once(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    write(write(tmp_path / "a", "train", [{}, *pairs("a", 2)]), "val", [{}])
    write(tmp_path / "b", "val", pairs("b", 2))
    sources = [{"path": str(tmp_path / name)} for name in ("a", "b", "c")]
    with pytest.raises(ConfigError) as error:
        mixture(tokenizer, sources=sources)
    found = [str(fault).partition("data_arguments.")[2] for fault in error.value.faults]
    assert [text.split(":")[0] for text in found] == [
        "sources[0]",
        "sources[0]",
        "sources[1].path",
        "sources[2].path",
    ]
    assert "train/a.jsonl, line 1" in found[0]
    assert "val/a.jsonl, line 1" in found[1]


@pytest.mark.usefixtures("offline")
def test_of_a_stream_no_more_is_read_than_is_used(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root = tmp_path / "streamed"
    root.mkdir()
    (root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs("cat", 50)))
    source = {"dataset_name": str(root), "max_train_samples": 10}
    data = mixture(tokenizer, sources=[source | {"streaming": True}], max_eval_samples=1)
    assert (data.train.sizes, data.val.sizes) == ([9], [1])  # val is split off the ten
    whole = mixture(tokenizer, sources=[source], validation_split_percentage=10)
    assert (whole.train.sizes, whole.val.sizes) == ([10], [5])


# Through the cache.

RANK = """
import sys
from transformers import AutoTokenizer
from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import load_data

path, cache, model = sys.argv[1:]
args = DataArguments(sources=[SourceArguments(path=path)], cache_dir=cache)
data = load_data(args, AutoTokenizer.from_pretrained(model))
print(len(data.train), int(data.train.lengths.sum()), data.train[7]["input_ids"].tolist())
"""


def test_ranks_load_the_same_without_speaking_to_each_other(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = [str(tiny_data), str(tmp_path / "cache"), str(tiny_model)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = {rank.communicate(timeout=120)[0] for rank in ranks}
    assert len(outputs) == 1
    assert outputs.pop().startswith("40 ")
    kept = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(kept) == 2  # train and val


def test_a_second_load_reads_no_row(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from det_files.data.sources import FileSplit

    first = load(tiny_data, tokenizer)

    def refuse(self: FileSplit) -> Any:
        raise AssertionError("rows are read again")

    monkeypatch.setattr(FileSplit, "records", refuse)
    again = load(tiny_data, tokenizer, seed=5)
    assert again.train[3]["labels"].tolist() == first.train[3]["labels"].tolist()
