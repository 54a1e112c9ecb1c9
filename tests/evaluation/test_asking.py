"""What models are asked: rows of a split, of a file and of gold corrections, and texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from export_checkpoints import Adapters, as_checkpoint, seq2seq_adapters

from det_files.evaluation.arguments import parse
from det_files.evaluation.asking import Asked, read_asked
from det_files.experiment import parse_yaml, to_yaml
from det_files.faults import ConfigError, Faults
from tiny import make_data, make_model


def asked(*argv: str | Path) -> Asked:
    return read_asked(parse([str(part) for part in argv], ""), Faults())


def inputs(found: Asked) -> list[str]:
    return [row.shown for row in found.rows]


def test_rows_are_the_test_split_or_what_is_named(adapters: Adapters, tmp_path: Path) -> None:
    checkpoint = adapters("lora")
    found = asked(checkpoint)
    assert len(found.rows) == 5
    assert found.metrics == ["exact_match", "rouge", "bleu", "chrf", "tokens"]
    assert len(asked(checkpoint, "--split", "val", "--limit", "7").rows) == 7
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input": "2 + 2", "output": "#### 4"}\n{"input": "1", "output": "#### 1"}\n')
    found = asked(checkpoint, "--data", file)
    assert inputs(found) == ["2 + 2", "1"]
    assert found.answer_metrics == ["final_answer", "tokens"]


def test_paths_hold_from_anywhere(
    adapters: Adapters, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's sources may be relative to where it was started."""
    run = tmp_path / "runs/tiny/1"
    checkpoint = run / "trials/1/checkpoints/best"
    shutil.copytree(adapters("lora"), checkpoint)
    (checkpoint / "manifest.json").unlink()
    shutil.copytree(tiny_data, tmp_path / "data")
    said = parse_yaml((checkpoint / "run_args.yaml").read_text(), "run")
    said["data_arguments"]["sources"] = [{"path": "data"}, {"path": "data", "name": "more"}]
    (checkpoint / "run_args.yaml").write_text(to_yaml(said))
    (run / "summary.json").write_text(json.dumps({"directory": str(tmp_path)}))
    monkeypatch.chdir(run)
    assert len(asked(checkpoint).rows) == 10
    found = asked(checkpoint, "--source", "more")
    assert [row.source.label for row in found.rows] == ["more"] * 5
    with pytest.raises(ConfigError, match="has no source 'mora'; did you mean \"more\""):
        asked(checkpoint, "--source", "mora")


def test_gold_gives_rows_unless_others_are_named(adapters: Adapters, tmp_path: Path) -> None:
    gold, rows = tmp_path / "gold.m2", tmp_path / "rows.jsonl"
    gold.write_text("S a b\n\nS c d\n")
    found = asked(adapters("lora"), "--m2", gold)
    assert inputs(found) == ["a b", "c d"]
    assert found.rows[1].place == f"{gold}, line 3"
    assert found.metrics == ["m2", "tokens"]
    rows.write_text('{"input": "fix: a b"}\n')
    with pytest.raises(ConfigError, match="--m2: has 2 sentences, but there are 1 answers"):
        asked(adapters("lora"), "--m2", gold, "--data", rows)
    found = asked(adapters("lora"), "--m2", gold, "--data", rows, "--limit", "1")
    assert inputs(found) == ["fix: a b"]


def test_plain_texts_have_a_perplexity_and_no_answers(adapters: Adapters, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "one two"}\n{"text": "three"}\n')
    found = asked(adapters("lora"), "--data", texts)
    assert (found.rows, found.texts) == ([], ["one two", "three"])
    assert found.metrics == ["perplexity"]
    whole = tmp_path / "book.txt"
    whole.write_text("line one\nline two\n")
    found = asked(adapters("lora"), "--perplexity-text", whole, "--limit", "1")
    assert found.texts == ["line one\nline two\n"]
    assert found.metrics[-1] == "perplexity"
    assert len(found.rows) == 1
    with pytest.raises(ConfigError, match="plain text is not answered: bleu"):
        asked(adapters("lora"), "--data", texts, "--metrics", "bleu,perplexity")
    with pytest.raises(ConfigError, match='expected a row of "text"'):
        other = tmp_path / "rows.jsonl"
        other.write_text('{"input": "a", "output": "b"}\n')
        asked(adapters("lora"), "--perplexity-text", other)


def test_rows_without_what_a_metric_needs_are_named(adapters: Adapters, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"input": "a", "output": "b"}\n{"input": "c"}\n')
    assert asked(adapters("lora"), "--data", file).metrics == ["length", "tokens"]
    with pytest.raises(ConfigError) as caught:
        asked(adapters("lora"), "--data", file, "--metrics", "bleu,final_answer,perplexity")
    text = str(caught.value)
    assert f"{file}, line 2: bleu needs a reference" in text
    assert f"{file}, line 1: final_answer needs a number" in text
    assert "--perplexity-text: perplexity needs a file of texts" in text


def test_rows_to_answer_and_texts_to_read_are_not_mixed(
    adapters: Adapters, tiny_data: Path, tmp_path: Path
) -> None:
    """In either order: inputs would pass for texts, or texts for questions."""
    checkpoint = tmp_path / "mixed"
    shutil.copytree(adapters("lora"), checkpoint)
    (checkpoint / "manifest.json").unlink()
    for split in ("train", "test"):
        (tmp_path / "texts" / split).mkdir(parents=True)
        (tmp_path / "texts" / split / "a.jsonl").write_text('{"text": "one"}\n')
    sources = [{"path": str(path)} for path in (tiny_data, tmp_path / "texts")]
    said = parse_yaml((checkpoint / "run_args.yaml").read_text(), "run")
    for ordered in (sources, sources[::-1]):
        said["data_arguments"]["sources"] = ordered
        (checkpoint / "run_args.yaml").write_text(to_yaml(said))
        with pytest.raises(ConfigError, match=r"a.jsonl, line 1 is plain text, and .* is not"):
            asked(checkpoint)
    assert asked(checkpoint, "--source", "texts").texts == ["one"]


def test_a_reward_model_is_refused_before_another_is_loaded(
    adapters: Adapters, tmp_path: Path
) -> None:
    reward = as_checkpoint(
        make_model(tmp_path / "reward"), preference_arguments={"method": "reward"}
    )
    with pytest.raises(ConfigError, match=f"{reward}: is a reward model"):
        asked(adapters("lora"), "--compare", reward)


def test_a_base_model_that_lies_nowhere_is_told_before_another_answers(
    adapters: Adapters, tiny_data: Path, tmp_path: Path
) -> None:
    whole = as_checkpoint(
        make_model(tmp_path / "whole"),
        model_arguments={"config_name_or_path": str(tmp_path / "whole"), "dtype": "float32"},
        data_arguments={"sources": [{"path": str(tiny_data)}]},
    )
    reason = "random weights, which lie nowhere: there is no base model"
    for more in ([], ["--compare", adapters("lora"), "--model", "base"]):
        with pytest.raises(ConfigError, match=reason):
            asked(whole, *more)
    assert len(asked(whole, "--model", "tuned").rows) == 5
    assert len(asked(adapters("lora"), "--compare", whole).rows) == 5


def test_an_encoder_decoder_has_no_perplexity(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    trial = seq2seq_adapters(tmp_path / "runs", make_model(tmp_path / "t5", "t5"), data)
    texts = tmp_path / "texts.txt"
    texts.write_text("one")
    with pytest.raises(ConfigError, match="encoder-decoder, which has no perplexity"):
        asked(trial("lora"), "--perplexity-text", texts)


def test_two_bad_checkpoints_and_a_bad_file_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(tmp_path / "a", "--compare", tmp_path / "b", "--perplexity-text", tmp_path / "c.txt")
    assert [fault.path for fault in caught.value.faults] == [
        str(tmp_path / name) for name in ("a", "b", "c.txt")
    ]
