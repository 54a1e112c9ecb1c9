"""Questions: pairs and conversations of all sources, with the prompts of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import Adapters, changed
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.evaluation.questions import (
    AskedRow,
    answerable_rows,
    make_questions,
    questions_to,
    read_test_rows,
)
from det_files.faults import ConfigError
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.pair import Pair

PAIR = {"input": "one", "output": "two"}
TURNS = [
    {"role": role, "content": text}
    for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
]


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def source(root: Path, *rows: Any, test: bool = True, **more: Any) -> SourceArguments:
    for split in ("train", "test") if test else ("train",):
        (root / split).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / split / "a.jsonl").write_text(text)
    return SourceArguments(path=str(root), **more)


def test_the_last_turn_of_a_conversation_is_asked_for(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    args = DataArguments(
        sources=[
            source(tmp_path / "a", PAIR, input_format="Q: __input__", output_format="=__output__"),
            source(tmp_path / "b", {"messages": TURNS}, output_format="=__output__"),
        ]
    )
    rows = read_test_rows(args)
    assert [(row.shown, row.answer) for row in rows] == [("one", "two"), ("c", "d")]
    pair, conversation = make_questions(rows, args, tokenizer)
    assert tokenizer.decode(pair.prompt) == (
        "<|im_start|>user\nQ: one<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(conversation.prompt) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (pair.reference, conversation.reference) == ("=two", "d")
    assert conversation.reference_tokens == 1


def test_sources_of_one_name_keep_their_formats(adapters: Adapters, tmp_path: Path) -> None:
    formats = [
        {"input_format": f"{name}: __input__", "output_format": f"{name}=__output__"}
        for name in "ab"
    ]
    for name in "ab":
        source(tmp_path / name / "math", PAIR, PAIR)
    sources = [
        {"path": str(tmp_path / name / "math"), **said}
        for name, said in zip("ab", formats, strict=True)
    ]
    run = changed(adapters("lora"), tmp_path / "run", data_arguments={"sources": sources})
    pair = Pair(open_checkpoint(run))
    questions = questions_to(pair, answerable_rows(pair, 3))
    assert [pair.tokenizer.decode(q.prompt).split("\n")[1] for q in questions] == [
        "a: one<|im_end|>",
        "a: one<|im_end|>",
        "b: one<|im_end|>",
    ]
    assert [question.reference for question in questions] == ["a=two", "a=two", "b=two"]


def test_marked_answers_have_nothing_to_be_compared_with(
    adapters: Adapters, tmp_path: Path
) -> None:
    run = changed(adapters("lora"), tmp_path / "kto", preference_arguments={"method": "kto"})
    with pytest.raises(ConfigError, match=f"{run}: kto learns from marked answers"):
        answerable_rows(Pair(open_checkpoint(run)))


def test_a_prompt_without_tokens_is_laid_to_its_source(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """An encoder may be given nothing; a decoder has at least what opens a text."""
    empty = source(tmp_path, PAIR, {"input": "", "output": "two"})
    args = DataArguments(sources=[empty], chat_template="none")
    assert all(q.prompt for q in make_questions(read_test_rows(args), args, tokenizer))
    with pytest.raises(ConfigError, match=r"sources: .*line 2: the prompt has no tokens"):
        make_questions(read_test_rows(args), args, tokenizer, separate=True)


def test_a_limit_is_over_all_sources(tmp_path: Path) -> None:
    sources = [source(tmp_path / name, PAIR, PAIR) for name in "ab"]
    args = DataArguments(sources=sources)
    assert len(read_test_rows(args)) == 4
    rows = read_test_rows(args, 3)
    assert [row.source.label for row in rows] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": "one"}, "test rows lack their output, the first of them .*line 1"),
        ({"messages": TURNS[:1]}, "test rows lack their output"),
        ({"text": "one"}, "test rows lack their output"),
    ],
)
def test_rows_without_an_answer_are_refused(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_test_rows(DataArguments(sources=[source(tmp_path, row)]))


def test_no_test_split_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the test split has no rows"):
        read_test_rows(DataArguments(sources=[source(tmp_path, PAIR, test=False)]))


def test_rows_that_the_template_refuses_are_all_named(adapters: Adapters) -> None:
    pair = Pair(open_checkpoint(adapters("lora")))
    pair.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    (source,) = pair.data.settled_sources()
    user, system = TURNS[0], {"role": "system", "content": "be short"}
    rows = [
        AskedRow({"messages": messages}, f"line {number}", source)
        for number, messages in enumerate(([user], [system, user], [user], [system, user]), 1)
    ]
    with pytest.raises(ConfigError) as caught:
        questions_to(pair, rows)
    named = [str(fault) for fault in caught.value.faults]
    assert [line.split(": ")[:2] for line in named] == [
        ["hyperparameters.data_arguments.chat_template", place] for place in ("line 2", "line 4")
    ]


def test_a_pair_is_asked_with_its_own_runs_formats_and_nothing_is_cut(adapters: Adapters) -> None:
    formatted = adapters(
        "lora",
        "cutting",
        data_arguments__input_format="say: __input__",
        data_arguments__max_input_tokens=12,
    )
    pair = Pair(open_checkpoint(formatted))
    elsewhere = SourceArguments(path="another run's", input_format="not this: __input__")
    text = "the red cat " * 9
    (question,) = questions_to(pair, [AskedRow({"input": text}, "line 1", elsewhere)])
    assert f"say: {text}" in pair.tokenizer.decode(question.prompt)
    assert question.reference is None
