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
        """All that stands before the answer; for chat, up to the assistant's header included."""
        text = self.input_format.replace(INPUT_PLACEHOLDER, input_text)
        return _render_chat(self.tokenizer, text) if self.chat else text

    def render_answer(self, output_text: str) -> str:
        """The answer itself, without its end token."""
        return self.output_format.replace(OUTPUT_PLACEHOLDER, output_text)


def _render_chat(tokenizer: PreTrainedTokenizerBase, user: str) -> str:
    messages = [{"role": "user", "content": user}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that the chat template puts right behind an assistant's answer."""
    answer = "__answer__"
    conversation = [{"role": "user", "content": "x"}, {"role": "assistant", "content": answer}]
    text = str(tokenizer.apply_chat_template(conversation, tokenize=False))
    _, found, behind = text.rpartition(answer)
    if not found or not text.startswith(_render_chat(tokenizer, "x")):
        raise ConfigError(
            Fault(
                f"{SECTION}.chat_template",
                "the tokenizer's chat template does not render an answer behind its generation "
                'prompt; use chat_template: "none" with input_format and output_format',
            )
        )
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    ids = tokenizer(behind.strip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in special else int(tokenizer.eos_token_id)
