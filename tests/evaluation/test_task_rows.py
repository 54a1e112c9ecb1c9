"""Rows and texts of tasks: prompts and references are training's, wherever the rows come from."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import TrainingData, load_data
from det_files.evaluation.questions import make_questions, read_split
from det_files.evaluation.task_rows import TaskRows, in_turn, load_rows
from det_files.evaluation.task_scores import load_tasks
from det_files.evaluation.task_texts import TaskTexts, load_texts
from det_files.evaluation.tasks import TaskArguments
from det_files.faults import ConfigError
from det_files.models import ModelArguments, load_model

FORMAT = "Say it: __input__"
TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "the red cat"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "a blue dog sees"},
]


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


class Run:
    """A run's data, and the rows of its tasks."""

    def __init__(self, tokenizer: Any, *sources: SourceArguments, **more: Any) -> None:
        self.args = DataArguments(sources=list(sources), **more)
        self.tokenizer = tokenizer
        self.data: TrainingData = load_data(self.args, tokenizer)

    def rows(self, **task: Any) -> TaskRows:
        arguments = TaskArguments(**({"metrics": ["exact_match"]} | task))
        return load_rows("t", arguments, self.args, self.data, self.tokenizer)


def shown(rows: TaskRows) -> list[tuple[list[int], str | None]]:
    return [(p, row.reference) for p, row in zip(rows.prompts, rows.rows, strict=True)]


@pytest.mark.parametrize("template", ["auto", "none"])
def test_rows_of_val_are_asked_as_those_that_are_read(
    tiny_data: Path, tokenizer: Any, template: str
) -> None:
    source = SourceArguments(path=str(tiny_data), input_format=FORMAT)
    run = Run(tokenizer, source, chat_template=template, max_input_tokens=8)
    read = make_questions(read_split(run.args, "val"), run.args, tokenizer)
    assert shown(run.rows()) == [(question.prompt, question.reference) for question in read]
    assert shown(run.rows(max_samples=4)) == shown(run.rows())[:4]
    test = make_questions(read_split(run.args, "test"), run.args, tokenizer)
    of_file = run.rows(path=str(tiny_data / "test" / "rows.jsonl"))
    assert shown(of_file) == shown(run.rows(split="test"))
    assert shown(of_file) == [(question.prompt, question.reference) for question in test]


def test_val_that_is_taken_from_train_is_what_training_leaves_out(
    tmp_path: Path, tokenizer: Any
) -> None:
    rows = [{"input": f"cat {i}", "output": f"dog {i}"} for i in range(20)]
    write(tmp_path / "train" / "rows.jsonl", *rows)
    run = Run(tokenizer, SourceArguments(path=str(tmp_path)), validation_split_percentage=20)
    found = {row.reference for row in run.rows().rows}
    trained = {tokenizer.decode(run.data.train[i]["input_ids"]) for i in range(16)}
    assert len(found) == 4
    assert not any(f"{reference}<" in text for reference in found for text in trained)


def test_a_conversation_is_asked_for_its_last_answer(tmp_path: Path, tokenizer: Any) -> None:
    for split in ("train", "val"):
        write(tmp_path / split / "rows.jsonl", {"messages": TURNS})
    ((prompt, reference),) = shown(Run(tokenizer, SourceArguments(path=str(tmp_path))).rows())
    assert reference == "a blue dog sees"
    text = tokenizer.apply_chat_template(TURNS[:3], tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(prompt) == text


def test_sources_take_turns(tmp_path: Path, tokenizer: Any) -> None:
    for name in ("one", "two"):
        for split in ("train", "val", "test"):
            rows = [{"input": "cat", "output": f"{name} {i}"} for i in range(3)]
            write(tmp_path / name / split / "rows.jsonl", *rows)
    sources = [SourceArguments(path=str(tmp_path / name)) for name in ("one", "two")]
    run = Run(tokenizer, *sources)
    for split in ("val", "test"):
        found = run.rows(split=split, max_samples=3).rows
        assert [row.reference for row in found] == ["one 0", "two 0", "one 1"]
        found = run.rows(split=split, max_samples=2, source="two").rows
        assert [row.reference for row in found] == ["two 0", "two 1"]
    assert in_turn([[1, 2, 3], [], [4]], None) == [1, 4, 2, 3]


def test_sources_without_a_test_split_are_left_out(tmp_path: Path, tokenizer: Any) -> None:
    for name, splits in (("one", ("train", "val")), ("two", ("train", "val", "test"))):
        for split in splits:
            write(tmp_path / name / split / "rows.jsonl", {"input": "cat", "output": f"{name} 0"})
    sources = [SourceArguments(path=str(tmp_path / name)) for name in ("one", "two")]
    run = Run(tokenizer, *sources)
    assert [row.reference for row in run.rows(split="test").rows] == ["two 0"]
    with pytest.raises(ConfigError, match="there is no test split with rows: one"):
        run.rows(split="test", source="one")


def test_prompts_without_room_for_an_answer_are_counted(
    tiny_data: Path, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, tokenizer = load_model(ModelArguments(str(tiny_model), dtype="float32"))
    run = Run(tokenizer, SourceArguments(path=str(tiny_data)))
    long = "the red cat " * model.config.max_position_embeddings
    file = write(
        tmp_path / "rows.jsonl", *({"input": text, "output": "a"} for text in ("cat", long))
    )
    task = TaskArguments(["exact_match"], path=str(file))
    load_tasks({"t": task}, run.args, run.data, tokenizer, model)
    assert "eval_tasks.t: 1 of 2 prompts leave no room" in caplog.text


def test_sentences_of_an_m2_file_are_asked(tiny_data: Path, tmp_path: Path, tokenizer: Any) -> None:
    gold = tmp_path / "gold.m2"
    gold.write_text("S a cat\n\nS dog sees\nA 0 0|||M|||the|||REQUIRED|||-NONE-|||0\n")
    run = Run(tokenizer, SourceArguments(path=str(tiny_data)), input_format=FORMAT)
    rows = run.rows(metrics=["m2"], m2=str(gold))
    assert [sentence.source for sentence in rows.gold] == ["a cat", "dog sees"]
    assert ["Say it: a cat<" in tokenizer.decode(prompt) for prompt in rows.prompts] == [
        True,
        False,
    ]


def test_all_that_tasks_lack_is_said_before_training(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_model(ModelArguments(str(tiny_model), dtype="float32"))
    rows = write(tmp_path / "rows.jsonl", {"input": "a", "output": "3"}, {"input": "b"})
    (tmp_path / "text.txt").write_text("the cat")
    gold = tmp_path / "gold.m2"
    gold.write_text("S a\nA x\n")
    run = Run(tokenizer, SourceArguments(path=str(tiny_data)))
    wrong = {
        "number": TaskArguments(["final_answer"]),
        "reference": TaskArguments(["exact_match"], path=str(rows)),
        "absent": TaskArguments(["exact_match"], path=str(tmp_path / "none.jsonl")),
        "text": TaskArguments(["exact_match"], path=str(tmp_path / "text.txt")),
        "pairs": TaskArguments(["perplexity"]),
        "gold": TaskArguments(["m2"], m2=str(gold)),
    }
    with pytest.raises(ConfigError) as raised:
        load_tasks(wrong, run.args, run.data, tokenizer, model)
    text = str(raised.value)
    for part in (
        "eval_tasks.number: row 0 of",
        f"eval_tasks.reference: {rows}, line 2: exact_match needs a reference",
        f"eval_tasks.absent: {tmp_path / 'none.jsonl'}: is no file of",
        f"eval_tasks.text: {tmp_path / 'text.txt'}: plain text asks nothing",
        "eval_tasks.pairs: ",
        f"eval_tasks.gold: {gold}:2: an edit has 6 fields",
    ):
        assert part in text


def test_so_many_windows_of_texts_are_read(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(ModelArguments(str(tiny_model), dtype="float32"))
    words = "the red cat sees a small dog " * 200  # more than the model's 256 positions
    file = write(tmp_path / "texts.jsonl", *({"text": text} for text in ("a cat", words, "a dog")))
    args = DataArguments(sources=[SourceArguments(path="x")])

    def load(windows: int | None) -> TaskTexts:
        task = TaskArguments(["perplexity"], path=str(file), max_samples=windows)
        return load_texts("t", task, args, tokenizer, model)

    whole, cut = load(None), load(3)
    assert whole.sizes[1] == (len(words), len(words))
    assert [len(texts.documents) for texts in (whole, cut)] == [3, 2]
    assert sum(map(len, cut.batches)) == 3
    # The second document's first window, and half of another.
    assert len(cut.documents[1]) == 256 + 128
    covered = tokenizer.decode(cut.documents[1][1:])
    assert words.startswith(covered) and cut.sizes[1] == (len(covered), len(covered))
