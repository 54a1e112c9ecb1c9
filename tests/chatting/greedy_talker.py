"""A talker of two tiny random models, which answer greedily and without a cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from det_files.chatting.conversation import Turn
from det_files.chatting.fitting import TooLong, without_oldest
from det_files.chatting.talker import CannotAnswer
from det_files.trained.model import BASE, TUNED
from tiny import make_model


class GreedyTalker:
    """`room` is what a prompt may have, `tokens` what an answer has unless it ends before."""

    keeps_history = True
    takes_turns = True

    def __init__(self, directory: Path, room: int = 200, tokens: int = 12) -> None:
        self._models: dict[str, Any] = {}
        for seed, which in enumerate((BASE, TUNED), 1):
            path = make_model(directory / which, seed=seed)
            model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(8 if parameter.dim() == 2 else 1)
            self._models[which] = model
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._room, self._tokens = room, tokens
        self.read: list[list[Turn]] = []  # what each answer was given to

    def fit(self, messages: Sequence[Turn]) -> tuple[list[Turn], int]:
        try:
            return without_oldest(messages, lambda m: len(self._prompt(m)), self._room)
        except TooLong as error:
            raise CannotAnswer(str(error)) from error

    def stream(self, messages: Sequence[Turn], which: str) -> Iterator[str]:
        self.read.append(list(messages))
        ids = self._prompt(messages)
        for _ in range(self._tokens):
            with torch.no_grad():
                logits = self._models[which](torch.tensor([ids])).logits
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] == self._tokenizer.eos_token_id:
                return
            yield self._tokenizer.decode(ids[-1:]).encode("ascii", "replace").decode()

    def _prompt(self, messages: Sequence[Turn]) -> list[int]:
        found = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True
        )
        return list(found["input_ids"])


if __name__ == "__main__":
    from det_files.chatting.console import Console
    from det_files.chatting.conversation import Conversation

    sys.exit(
        Console(GreedyTalker(Path(sys.argv[1]), tokens=int(sys.argv[2])), Conversation()).run()
    )
