"""Prompts as training made them: the template is the checkpoint's, and is never said again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.conversations import Message
from det_files.data.encoding import token_ids
from det_files.data.rows import Row, is_text
from det_files.data.split_tokens import encoder_of
from det_files.data.templates import Template
from det_files.faults import ConfigError, Fault, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Prompts:
    """Makes token ids of rows and conversations, with what stands around them in training.

    Nothing is cut: `max_input_tokens` bounded what was learned from, and what may be asked is
    bounded by the model's context alone.

    Attributes:
        template: the formats and the chat template of the source.
    """

    def __init__(
        self,
        data: DataArguments,
        tokenizer: PreTrainedTokenizerBase,
        separate: bool = False,
        source: str | None = None,
    ) -> None:
        """`separate` is of encoder-decoders; `source` names the one whose formats are taken.

        Raises:
            ConfigError: see `choose_source`; the chat template cannot be used.
        """
        chosen = dataclasses.replace(choose_source(data, source), max_input_tokens=None)
        self.template = Template.of(data, tokenizer, chosen, separate)
        self._encoder = encoder_of(chosen, self.template)
        self._tokenizer = tokenizer

    @property
    def takes_conversations(self) -> bool:
        """Whether a chat template renders them; else each prompt is a question of its own."""
        return self.template.chat

    def tokens(self, row: Row) -> list[int]:
        """The tokens [S] from which an answer to a row is generated.

        A conversation is answered behind its last turn that is not an answer; a plain text is
        continued.

        Raises:
            NotRendered: the chat template does not take the row.
        """
        if is_text(row):
            return token_ids(self._tokenizer, [row["text"]], add_special_tokens=True)[0]
        return self._encoder.prompt(row)

    def conversation(self, messages: Sequence[Message]) -> list[int]:
        """The tokens [S] of messages, with the header of the answer that is to follow.

        Raises:
            NotRendered: the chat template does not take them, or there is none.
        """
        return self.tokens({"messages": list(messages)})


def choose_source(data: DataArguments, name: str | None) -> SourceArguments:
    """The source of that name, or the one that speaks for all: their formats are the same.

    Raises:
        ConfigError: there is none of that name; or none is named, and formats differ.
    """
    sources = data.settled_sources()
    if not sources:  # written by hand, or by a test: the section's own formats
        return SourceArguments(input_format=data.input_format, output_format=data.output_format)
    labels = [source.label for source in sources]
    if name is not None:
        if name not in labels:
            reason = f"the run has no source {name!r}{did_you_mean(name, labels)}"
            raise ConfigError(Fault("--source", f"{reason}; it has {', '.join(labels)}"))
        return sources[labels.index(name)]
    if len({(source.input_format, source.output_format) for source in sources}) > 1:
        reason = f"the run's sources have formats of their own: name one of {', '.join(labels)}"
        raise ConfigError(Fault("--source", reason))
    return sources[0]
