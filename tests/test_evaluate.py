"""The command that scores models and files of answers, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import Adapters, changed

from det_files.evaluate import main
from det_files.evaluation.questions import read_split
from det_files.faults import ConfigError
from det_files.generation.decoding import generate_answers
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, TUNED, load_trained

SHORT = ["--max-new-tokens", "6"]
GOLD = """S the red cat sees
A 1 2|||Adj|||blue|||REQUIRED|||-NONE-|||0

S two dogs
"""


def read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_adapter_is_scored_against_its_base_and_each_number_can_be_traced(
    adapters: Adapters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, output = adapters("lora"), tmp_path / "out"
    assert main([str(checkpoint), *SHORT, "--output", str(output)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["base", "tuned", "difference"]
    assert shown[-1] == str(output / "evaluation.json")
    found = read_json(output / "evaluation.json")
    assert (found["checkpoint"], found["rows"], found["method"]) == (str(checkpoint), 5, "lora")
    assert found["settings"]["max_new_tokens"] == 6
    assert "torch" in found["versions"]

    # The answers are those of the two models to the prompts of training.
    trained = load_trained(open_checkpoint(checkpoint))
    rows = read_split(trained.data, "test")
    prompts = [trained.prompts().tokens(row.row) for row in rows]
    for name in (BASE, TUNED):
        records = read_lines(output / found["predictions"][name])
        with trained.answering_as(name) as model:
            answers = generate_answers(model, trained.tokenizer, prompts, max_new_tokens=6)
        assert [record["answer"] for record in records] == answers
        assert [record["output"] for record in records] == [row.answer for row in rows]
        mean = sum(record["scores"]["rouge1"] for record in records) / 5
        assert found["scores"]["rouge1"][name]["value"] == pytest.approx(mean, abs=1e-4)
    scores = found["scores"]["rouge1"]
    difference = scores["tuned"]["value"] - scores["base"]["value"]
    assert scores["difference"]["value"] == pytest.approx(difference)
    assert 0 < scores["difference"]["p_value"] <= 1

    # The files that were written give the same scores again.
    again = tmp_path / "again.json"
    files = [str(output / found["predictions"][name]) for name in (BASE, TUNED)]
    argv = ["--predictions", files[0], "--predictions2", files[1], "--output", str(again)]
    assert main(argv) == 0
    rescored = read_json(again)["scores"]["rouge1"]
    assert rescored["difference"] == scores["difference"]


def test_two_checkpoints_are_compared(
    adapters: Adapters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = adapters("lora"), adapters("ia3")
    argv = [str(first), "--compare", str(second), "--metrics", "tokens,length", "--limit", "2"]
    assert main([*argv, *SHORT, "--output", str(tmp_path / "e.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["other", "tuned", "difference"]
    found = read_json(tmp_path / "e.json")
    assert found["other"]["checkpoint"] == str(second)
    assert list(found["scores"]) == ["answer_tokens", "cut_off", "answer_characters"]
    scores = found["scores"]["answer_characters"]
    assert scores["other"]["rows"] == 2
    gained = scores["tuned"]["value"] - scores["other"]["value"]
    assert gained != 0 and scores["difference"]["value"] == pytest.approx(gained)
    assert set(found["predictions"]) == {"tuned", "other"}


def test_what_two_checkpoints_cannot_be_asked_is_told_of_both(
    adapters: Adapters, tiny_data: Path, tmp_path: Path
) -> None:
    refusing = changed(adapters("lora"), tmp_path / "refusing")
    (refusing / "chat_template.jinja").write_text("{{ raise_exception('not today') }}")
    sources = [
        {"path": str(tiny_data), "name": name, "input_format": f"{name} __input__"} for name in "yz"
    ]
    formatted = changed(
        adapters("lora"), tmp_path / "formatted", data_arguments={"sources": sources}
    )
    with pytest.raises(ConfigError) as caught:
        main([str(refusing), "--compare", str(formatted), "--limit", "1"])
    first, second = (str(fault) for fault in caught.value.faults)
    assert first.startswith(f"{formatted}: hyperparameters.data_arguments.sources: have formats")
    assert second.startswith(f"{refusing}: hyperparameters.data_arguments.chat_template: ")
    assert "not today" in second


def test_texts_have_the_perplexity_of_each_model(
    adapters: Adapters, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "the red cat"}\n{"text": "two small dogs and a tree"}\n')
    output = tmp_path / "e.json"
    argv = [str(adapters("lora")), "--perplexity-text", str(texts), "--metrics", "perplexity"]
    assert main([*argv, "--output", str(output)]) == 0
    found = read_json(output)
    assert (found["rows"], found["texts"], found["predictions"]) == (0, 2, {})
    by_model = found["scores"]["perplexity"]
    assert by_model["base"]["value"] != by_model["tuned"]["value"] > 1
    assert "bits_per_byte" in capsys.readouterr().out


def test_sources_of_gold_corrections_are_asked(adapters: Adapters, tmp_path: Path) -> None:
    gold, output = tmp_path / "gold.m2", tmp_path / "out"
    gold.write_text(GOLD)
    argv = [str(adapters("lora")), "--model", "tuned", "--m2", str(gold), *SHORT]
    assert main([*argv, "--output", str(output)]) == 0
    found = read_json(output / "evaluation.json")
    assert list(found["scores"])[:3] == ["m2_precision", "m2_recall", "m2_f0.5"]
    asked = [record["input"] for record in read_lines(output / "predictions.tuned.jsonl")]
    assert asked == ["the red cat sees", "two dogs"]


def test_plain_lines_are_scored_against_gold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold, lines = tmp_path / "gold.m2", tmp_path / "system.txt"
    gold.write_text(GOLD)
    lines.write_text("the blue cat sees\ntwo dogs\n")
    assert main(["--predictions", str(lines), "--m2", str(gold)]) == 0
    shown = capsys.readouterr().out
    assert "m2_f0.5 (%)" in shown
    assert "100.0 [100.0, 100.0]" in shown


def test_paths_that_are_one_file_name_keep_their_answers_apart(tmp_path: Path) -> None:
    for place in ("a/b_c", "a/b/c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "p.jsonl").write_text(json.dumps({"answer": place}) + "\n")
    first, second = (str(tmp_path / place / "p.jsonl") for place in ("a/b_c", "a/b/c"))
    argv = ["--predictions", first, "--predictions2", second, "--metrics", "length"]
    assert main([*argv, "--output", str(tmp_path / "out")]) == 0
    written = read_json(tmp_path / "out" / "evaluation.json")["predictions"].values()
    answers = [read_lines(tmp_path / "out" / name)[0]["answer"] for name in written]
    assert answers == ["a/b_c", "a/b/c"]


def test_files_of_one_name_keep_their_answers_apart(tmp_path: Path) -> None:
    """One is text and one is JSON: their own names differ by a suffix alone."""
    lines, records = tmp_path / "system", tmp_path / "system.jsonl"
    lines.write_text("first\n")
    records.write_text('{"answer": "second"}\n')
    output = tmp_path / "out"
    argv = ["--predictions", str(lines), "--predictions2", str(records), "--metrics", "length"]
    assert main([*argv, "--output", str(output)]) == 0
    written = read_json(output / "evaluation.json")["predictions"].values()
    assert [read_lines(output / name)[0]["answer"] for name in written] == ["first", "second"]


def test_a_whole_model_and_its_base_take_turns(
    zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "e.json"
    argv = [str(zero_checkpoints["scattered"]), "--metrics", "tokens", "--limit", "1"]
    assert main([*argv, *SHORT, "--output", str(output)]) == 0
    assert set(read_json(output)["seconds"]) == {"base", "tuned"}


def test_all_faults_come_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    gold, output = tmp_path / "gold.m2", tmp_path / "out"
    gold.write_text("S a b\nA 1 9|||X|||c|||REQUIRED|||-NONE-|||0\n")
    argv = [str(tmp_path / "absent"), "--m2", str(gold), "--metrics", "blue,rouge", "--limit", "0"]
    with pytest.raises(ConfigError) as caught:
        main([*argv, "--output", str(output), "--predictions2", "x.jsonl", "--tasks", "y"])
    text = str(caught.value)
    for part in (
        f"{tmp_path / 'absent'}: no such directory",
        "gold.m2:2: offsets 1 9 are not within the sentence's 2 tokens",
        '--metrics: no metric is called "blue"; did you mean "bleu"?',
        "--limit: expected at least 1, got 0",
        "--predictions2: has no effect without --predictions",
        "--tasks: has no effect without --engine lm-eval",
    ):
        assert part in text
    assert not output.exists()


def test_faults_end_the_command_with_2(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"answer": "a"}\n{"answr": "b"}\n')
    command = [sys.executable, "-m", "det_files.evaluate", "--predictions", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2
    assert f'{file}, line 2: lacks "answer"; did you mean "answr"?' in done.stderr
    assert "Traceback" not in done.stderr
