"""Saved conversations are rows of training."""

import json
from pathlib import Path

import pytest

from det_files.chatting.conversation import Conversation
from det_files.chatting.saving import CannotSave, save
from det_files.data.arguments import SourceArguments
from det_files.data.sources import open_source


@pytest.fixture
def conversation() -> Conversation:
    made = Conversation("höflich")
    for question, answer, stopped in (("eins", "zwei\nzeilen", False), ("drei", "vi", True)):
        made.ask(question)
        made.answer(answer, stopped)
    return made


def rows_of(file: Path) -> list[dict[str, object]]:
    """What training reads of the file."""
    source = SourceArguments(path=str(file))
    return [dict(row) for _, row, _ in open_source(source, 0)["train"].rows(None)]


def test_training_reads_what_was_saved(conversation: Conversation, tmp_path: Path) -> None:
    said = save(conversation, str(tmp_path / "my chat.jsonl"))
    assert said == f"saved to {tmp_path}/my chat.jsonl; 1 of its answers stopped early"
    roles = ["system", "user", "assistant", "user", "assistant"]
    texts = ["höflich", "eins", "zwei\nzeilen", "drei", "vi"]
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
    assert rows_of(tmp_path / "my chat.jsonl") == [{"messages": messages}]
    (written,) = map(json.loads, (tmp_path / "my chat.jsonl").read_text().splitlines())
    assert written["messages"][-1]["stopped"] is True


def test_a_model_of_single_prompts_gets_pairs(conversation: Conversation, tmp_path: Path) -> None:
    save(conversation, str(tmp_path / "rows.jsonl"), as_pairs=True)
    assert rows_of(tmp_path / "rows.jsonl") == [
        {"input": "eins", "output": "zwei\nzeilen"},
        {"input": "drei", "output": "vi"},
    ]


def test_a_file_is_replaced_or_added_to_only_where_that_is_said(
    conversation: Conversation, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "no line break behind it"}]}')
    before = file.read_text()
    with pytest.raises(CannotSave, match="exists: say /save --append FILE or /save --overwrite"):
        save(conversation, str(file))
    assert file.read_text() == before
    save(conversation, f"--append {file}")
    assert file.read_text().startswith(f"{before}\n") and file.read_text().count("\n") == 2
    save(conversation, f"--overwrite {file}")
    assert [len(row["messages"]) for row in rows_of(file)] == [5]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("chat.txt", "ends in .jsonl"),
        ("no/where/chat.jsonl", "No such file or directory"),
        ("a\0b.jsonl", "null"),
    ],
)
def test_what_cannot_be_written_is_said(
    conversation: Conversation, tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(CannotSave, match=why):
        save(conversation, str(tmp_path / name))
    with pytest.raises(CannotSave, match="no answer yet"):
        save(Conversation(), str(tmp_path / "chat.jsonl"))
    assert not list(tmp_path.iterdir())


def test_the_home_of_a_user_who_is_not_here(conversation: Conversation) -> None:
    with pytest.raises(CannotSave, match=r"^~no-such-user/chat.jsonl: .*home"):
        save(conversation, "--append ~no-such-user/chat.jsonl")
