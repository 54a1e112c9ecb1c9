"""Templates: a row as the prompt that the model sees and the answer that it is to give.

The same rendering serves training and generation, so that both see the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.data.arguments import (
    INPUT_PLACEHOLDER,
    OUTPUT_PLACEHOLDER,
    SECTION,
    DataArguments,
    SourceArguments,
)
from det_files.data.conversations import ASSISTANT, Message
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WHERE = f"{SECTION}.chat_template"
# Chat templates may write today's date (strftime_now): a run that is resumed tomorrow, and the
# token cache, would have other tokens. A macro of the same name comes first, which knows one day
# only: the one that Llama 3's template takes where it cannot ask. transformers passes no functions.
_DAY = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%Y": "2024", "%y": "24"}
_DAY |= {"%a": "Fri", "%A": "Friday", "%H": "00", "%M": "00", "%S": "00"}
_REPLACED = "".join(f"|replace('{code}','{text}')" for code, text in _DAY.items())
_ONE_DAY = f"{{%- macro strftime_now(format) -%}}{{{{ format{_REPLACED} }}}}{{%- endmacro -%}}"


class NotRendered(Exception):
    """A chat template does not take a conversation; its text says why."""


@dataclass(frozen=True)
class Template:
    """How rows become text: two formats, and a chat template (None: plain text).

    `end_token_id` ends an answer: the chat template's end-of-turn token, else end-of-text.
    `separate` says that prompt and answer are two sequences: an encoder's and a decoder's.
    """

    input_format: str
    output_format: str
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    end_token_id: int
    separate: bool = False

    @property
    def chat(self) -> bool:
        """Whether a chat template stands around the rows."""
        return self.chat_template is not None

    @classmethod
    def of(
        cls,
        args: DataArguments,
        tokenizer: PreTrainedTokenizerBase,
        source: SourceArguments | None = None,
        separate: bool = False,
    ) -> Template:
        """The template that the arguments and the tokenizer make together.

        `source` has formats of its own, where it has any. Around `separate` sequences there is no
        chat template.

        Raises:
            ConfigError: the chat template cannot be read, or not be split into a prompt and an
                answer.
        """
        chat_template = None if separate else _chat_template(args.chat_template, tokenizer)
        if tokenizer.eos_token_id is None:
            raise ConfigError(Fault(SECTION, "the tokenizer has no token that ends a text"))
        end = int(tokenizer.eos_token_id)
        if chat_template is not None:
            end = _end_of_turn(tokenizer, chat_template, args.chat_template)
        formats = [
            (source and getattr(source, name)) or getattr(args, name)
            for name in ("input_format", "output_format")
        ]
        return cls(formats[0], formats[1], tokenizer, chat_template, end, separate)

    def render_prompt(self, input_text: str) -> str:
        """All that stands before the answer; for chat, the assistant's header included.

        Raises:
            NotRendered: see `render_around_answers`.
        """
        text = self.input_format.replace(INPUT_PLACEHOLDER, input_text)
        if not self.chat:
            return text
        turns = [{"role": "user", "content": text}, {"role": ASSISTANT, "content": ""}]
        return self.render_around_answers(turns)[0]

    def render_answer(self, output_text: str) -> str:
        """The answer itself, without its end token."""
        return self.output_format.replace(OUTPUT_PLACEHOLDER, output_text)

    def render_around_answers(self, messages: Sequence[Message]) -> list[str]:
        """The texts before, between and behind the assistant's n turns: n + 1 of them.

        The conversation is rendered once and as a whole, because templates treat turns by their
        place: Qwen3's, for one, puts an empty thought before the last answer, and no other.

        Raises:
            NotRendered: the template refuses the roles, or does not render each answer once.
        """
        assert self.chat_template is not None
        return _around_answers(self.tokenizer, self.chat_template, messages)


def _chat_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The text of the chat template that an argument names."""
    if name == "none" or (name == "auto" and not tokenizer.chat_template):
        return None
    try:
        if name == "auto":
            return str(tokenizer.get_chat_template())
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(Fault(_WHERE, f"{name}: {reason}")) from error
    except ValueError as error:  # several templates and no default among them
        raise ConfigError(Fault(_WHERE, str(error))) from error


def _around_answers(
    tokenizer: PreTrainedTokenizerBase, chat_template: str, messages: Sequence[Message]
) -> list[str]:
    from jinja2 import TemplateError

    # Stands for an answer while the conversation is rendered; no template changes it.
    mark = "__answer_"
    while any(mark in message["content"] for message in messages):
        mark = f"_{mark}"
    marks: list[str] = []
    turns = []
    for message in messages:
        if message["role"] == ASSISTANT:
            marks.append(f"{mark}{len(marks)}__")
            turns.append({"role": ASSISTANT, "content": marks[-1]})
        else:
            turns.append(message)
    if "strftime_now" in chat_template:
        chat_template = _ONE_DAY + chat_template
    try:
        text = str(
            tokenizer.apply_chat_template(turns, chat_template=chat_template, tokenize=False)
        )
    except (TemplateError, TypeError, ValueError) as error:
        line = getattr(error, "lineno", None)  # of the template, where its syntax is wrong
        at = f"line {line}: " if line else ""
        raise NotRendered(f"the chat template refuses it: {at}{error}") from error
    around = []
    for number, answer in enumerate(marks, 1):
        before, found, text = text.partition(answer)
        if not found:
            raise NotRendered(
                f"the chat template does not render an assistant's answer (turn {number})"
            )
        around.append(before)
    around.append(text)
    if any(mark in part for part in around):
        raise NotRendered("the chat template renders an assistant's turn more than once")
    return around


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, chat_template: str, name: str) -> int:
    """The id of the token that the chat template puts right behind an assistant's answer."""
    turns = [{"role": "user", "content": "x"}, {"role": ASSISTANT, "content": ""}]
    try:
        _, behind = _around_answers(tokenizer, chat_template, turns)
    except NotRendered as error:
        if name != "auto":
            raise ConfigError(Fault(_WHERE, f"{name}: {error}")) from error
        way_out = "name a .jinja file of yours, or for pairs none, with input_format"
        raise ConfigError(Fault(_WHERE, f"the tokenizer's own: {error}; {way_out}")) from error
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    ids = tokenizer(behind.strip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in special else int(tokenizer.eos_token_id)
