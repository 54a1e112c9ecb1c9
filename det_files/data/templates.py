"""Templates: a row as the prompt that the model sees and the answer that it is to give.

The same `render_prompt` serves training and generation, so that both see the same prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from det_files.data.arguments import INPUT_PLACEHOLDER, OUTPUT_PLACEHOLDER, DataArguments
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECTION = "hyperparameters.data_arguments"


@dataclass(frozen=True)
class Template:
    """How rows become text: two formats, and the tokenizer's chat template or none.

    `end_token_id` ends an answer: the chat template's end-of-turn token, else end-of-text.
    """

    input_format: str
    output_format: str
    tokenizer: PreTrainedTokenizerBase
    chat: bool
    end_token_id: int

    @classmethod
    def of(cls, args: DataArguments, tokenizer: PreTrainedTokenizerBase) -> Template:
        """The template that the arguments and the tokenizer make together.

        Raises:
            ConfigError: the chat template cannot be split into a prompt and an answer.
        """
        chat = args.chat_template == "auto" and bool(tokenizer.chat_template)
        end = _end_of_turn(tokenizer) if chat else tokenizer.eos_token_id
        return cls(args.input_format, args.output_format, tokenizer, chat, end)

    def render_prompt(self, input_text: str) -> str:
        """All that stands before the answer; for chat, the assistant's header included."""
        text = self.input_format.replace(INPUT_PLACEHOLDER, input_text)
        return _conversation(self.tokenizer, text)[0] if self.chat else text

    def render_answer(self, output_text: str) -> str:
        """The answer itself, without its end token."""
        return self.output_format.replace(OUTPUT_PLACEHOLDER, output_text)


# Stands for the answer while a conversation is rendered; no template changes it.
_ANSWER = "__answer__"


def _conversation(tokenizer: PreTrainedTokenizerBase, user: str) -> tuple[str, str]:
    """(text before the answer, text behind it) of a turn, as the chat template renders it.

    The prompt is what stands before an answer, not the template's own generation prompt: Qwen3's,
    for one, puts an empty thought between the two, which training must see as generation will.
    """
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": _ANSWER}]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    before, _, behind = text.rpartition(_ANSWER)
    return before, behind


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that the chat template puts right behind an assistant's answer."""
    before, behind = _conversation(tokenizer, "x")
    if not before:
        raise ConfigError(
            Fault(
                f"{SECTION}.chat_template",
                "the tokenizer's chat template does not render an assistant's answer; use "
                'chat_template: "none" with input_format and output_format',
            )
        )
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    ids = tokenizer(behind.strip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in special else int(tokenizer.eos_token_id)
