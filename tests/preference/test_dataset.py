"""load_preferences: tokens as every other method has them, in the columns of TRL's trainers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.tokenization import encode_pair, encode_prompt
from det_files.faults import ConfigError
from det_files.preference.dataset import PreferenceData, load_preferences
from tiny import make_preferences


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def write(root: Path, *rows: Any) -> Path:
    for split in ("train", "val"):
        (root / split).mkdir(parents=True, exist_ok=True)
        (root / split / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def load(
    method: str, root: Path, tokenizer: PreTrainedTokenizerBase, **options: Any
) -> PreferenceData:
    sources = [SourceArguments(path=str(root))]
    args = DataArguments(sources=sources, cache_dir=str(root / "cache"), **options)
    return load_preferences(method, args, tokenizer)


PAIR = {"prompt": "the red house", "chosen": "yes it is", "rejected": "no"}


def test_pairs_have_the_tokens_of_ordinary_rows(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    data = load("dpo", write(tmp_path, PAIR, PAIR), tokenizer)
    row = data.train[0]
    prompt = encode_prompt(PAIR["prompt"], data.template)
    assert row["prompt_ids"] == prompt
    for name in ("chosen", "rejected"):
        whole = encode_pair(PAIR["prompt"], PAIR[name], data.template)["input_ids"]
        assert prompt + row[f"{name}_ids"] == whole
    assert data.lengths.tolist() == [len(row["prompt_ids"]) + len(row["chosen_ids"])] * 2


def test_pairs_are_those_that_trl_would_make(
    tmp_path: Path, tiny_model: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root = make_preferences(tmp_path / "data")
    data = load("dpo", root, tokenizer)
    lines = (root / "train" / "rows.jsonl").read_text().splitlines()
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in map(json.loads, lines)
    ]
    config = DPOConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, max_length=None)
    theirs = DPOTrainer(
        str(tiny_model),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    ).train_dataset
    for mine, other in zip(data.train, theirs, strict=True):
        assert mine["prompt_ids"] == other["prompt_ids"]
        for name in ("chosen_ids", "rejected_ids"):
            # TRL's template goes on with a line break behind the token that ends an answer.
            assert other[name][: len(mine[name])] == mine[name]
            assert len(other[name]) - len(mine[name]) <= 1


def test_earlier_answers_of_a_conversation_belong_to_the_prompt(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    def turns(*texts: str) -> list[dict[str, str]]:
        return [
            {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)
        ]

    row = {"chosen": turns("a", "b", "c", "yes"), "rejected": turns("a", "b", "c", "no")}
    data = load("dpo", write(tmp_path, row, row), tokenizer).train[0]
    assert tokenizer.decode(data["prompt_ids"]).count("<|im_start|>assistant") == 2
    assert tokenizer.decode(data["chosen_ids"]) == "yes<|im_end|>"


def test_answers_are_marked(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    single = {"prompt": "the red house", "completion": "perhaps", "label": False}
    paired = load("kto", write(tmp_path / "a", PAIR, PAIR), tokenizer)
    marked = load("kto", write(tmp_path / "b", single, single), tokenizer)
    assert paired.train["label"] == [True, False] * 2
    assert paired.order.rows == len(paired.train) == 4
    texts = [tokenizer.decode(ids) for ids in paired.train["completion_ids"]]
    assert texts == ["yes it is<|im_end|>", "no<|im_end|>"] * 2
    assert marked.train["label"] == [False, False]


def test_prompts_keep_their_reference_byte_by_byte(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    reference = '{"名前": "é\u0301 \\n"}\n  '
    row = {"input": "the red house", "output": reference}
    data = load("grpo", write(tmp_path, row, row), tokenizer)
    assert data.train["reference"] == [reference] * 2
    assert data.train[0]["prompt_ids"] == encode_prompt("the red house", data.template)
    assert data.train[0]["prompt"] == tokenizer.decode(data.train[0]["prompt_ids"])


def test_bad_rows_are_named_with_file_and_line(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    root = write(tmp_path, PAIR, PAIR | {"rejected": "yes it is"}, {"prompt": "x", "chosen": "y"})
    with pytest.raises(ConfigError) as caught:
        load("dpo", root, tokenizer)
    text = str(caught.value)
    assert 'train/a.jsonl, line 2: "chosen" and "rejected" are the same answer' in text
    assert 'train/a.jsonl, line 3: lacks "rejected"' in text


def test_equal_answers_may_be_dropped(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    root = write(tmp_path, PAIR, PAIR | {"rejected": "yes it is"}, PAIR)
    assert len(load("dpo", root, tokenizer, equal_answers="drop").train) == 2


def test_answers_that_are_equal_once_cut(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    row = PAIR | {"chosen": "the red cat", "rejected": "the red dog"}
    root = write(tmp_path, PAIR, row, PAIR)
    with pytest.raises(ConfigError, match=r"line 2: the answers are the same once they are cut"):
        load("dpo", root, tokenizer, max_output_tokens=2)
    dropped = load("dpo", root, tokenizer, max_output_tokens=2, equal_answers="drop")
    assert len(dropped.train) == 2


def test_prompts_leave_room_for_what_is_generated(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, tiny_model: Path
) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(tiny_model)  # 256 positions
    row = {"input": "the red house " * 20, "output": "x"}
    sources = [SourceArguments(path=str(write(tmp_path, row, row)))]
    args = DataArguments(sources=sources, cache_dir=str(tmp_path / "cache"))
    load_preferences("grpo", args, tokenizer, config, reserved=64)
    with pytest.raises(ConfigError, match="longer than the 16 of the model's 256 positions"):
        load_preferences("grpo", args, tokenizer, config, reserved=240)


def test_weights_are_of_answers_not_of_records(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = write(tmp_path / "pairs", *[PAIR] * 4)
    single = {"prompt": "the red house", "completion": "perhaps", "label": False}
    marked = write(tmp_path / "marked", *[single] * 4)
    sources = [
        SourceArguments(path=str(pairs), weight=0.5),
        SourceArguments(path=str(marked), weight=0.5),
    ]
    args = DataArguments(sources=sources, cache_dir=str(tmp_path / "cache"))
    data = load_preferences("kto", args, tokenizer)
    assert len(data.train) == 12
    rows = data.order.order(0, 0)
    # All four marked ones, and as many of the pairs' eight answers (or one more).
    assert sum(row >= 8 for row in rows) == 4
    assert sum(row < 8 for row in rows) in (4, 5)
