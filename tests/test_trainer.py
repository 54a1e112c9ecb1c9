"""TokenTrainer: sums over tokens, whatever the layout of a batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, TrainingArguments

from det_files.attention import isolate_rows
from det_files.data.collator import PackingCollator, PaddingCollator
from det_files.data.layout import Layout
from det_files.data.mixture import MixtureOrder
from det_files.data.packing import Blocks
from det_files.data.tokenization import IGNORED, Example
from det_files.trainer import TokenTrainer

COLLATORS = {
    "padded": PaddingCollator(0),
    "packed": PackingCollator(0),
    "filled up": PackingCollator(0, multiple=8),
}


class Rows(Dataset[Example]):
    """Rows of 4 to `longest` tokens; about half of each is learned."""

    def __init__(self, count: int, longest: int = 40) -> None:
        generator = torch.Generator().manual_seed(0)
        self.lengths = torch.randint(4, longest + 1, (count,), generator=generator).numpy()
        self._rows = [torch.randint(4, 300, (int(n),), generator=generator) for n in self.lengths]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        labels = self._rows[index].clone()
        labels[: len(labels) // 2] = IGNORED
        return {"input_ids": self._rows[index], "labels": labels}


def layout(collator: PaddingCollator | PackingCollator, blocks: bool, rows: Rows) -> Layout:
    order = MixtureOrder([len(rows)], None)
    if not blocks:
        return Layout(rows, rows, order, rows.lengths, rows.lengths, collator)
    packed = Blocks(rows, order, 64, seed=1)
    return Layout(packed, packed, packed, packed.lengths, packed.lengths, collator)


def trainer(
    tiny_model: Path,
    directory: Path,
    collator: str = "padded",
    blocks: bool = False,
    rows: Rows | None = None,
    **arguments: Any,
) -> TokenTrainer:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.config.use_cache = False
    assert isolate_rows(model)
    args = TrainingArguments(
        str(directory),
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        **arguments,
    )
    found = layout(COLLATORS[collator], blocks, rows or Rows(40))
    return TokenTrainer(model, args, layout=found)


@pytest.mark.parametrize("collator", COLLATORS)
@pytest.mark.parametrize("blocks", [False, True])
def test_evaluation_is_over_tokens_whatever_the_batch(
    tiny_model: Path, tmp_path: Path, collator: str, blocks: bool
) -> None:
    rows = Rows(11)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for row in (rows[i] for i in range(len(rows))):
            ids, labels = row["input_ids"][None], row["labels"][None]
            count = int((labels[:, 1:] != IGNORED).sum())
            total += model(input_ids=ids, labels=labels).loss.item() * count
            tokens += count
    # 11 rows: 4 leave a last batch of 3; transformers' mean of batch means would differ by batch.
    for batch in (1, 4, 11):
        made = trainer(
            tiny_model, tmp_path, collator, blocks, rows, per_device_eval_batch_size=batch
        )
        metrics = made.evaluate()
        assert metrics["eval_loss"] == pytest.approx(total / tokens, rel=1e-5)
        assert 0 <= metrics["eval_token_accuracy"] <= 1
        assert metrics["eval_perplexity"] == pytest.approx(np.exp(total / tokens), rel=1e-4)


def curve(made: TokenTrainer) -> list[float]:
    made.train()
    return [row["loss"] for row in made.state.log_history if "loss" in row]


@pytest.mark.parametrize("blocks", [False, True])
def test_packed_and_padded_batches_give_one_curve(
    tiny_model: Path, tmp_path: Path, blocks: bool
) -> None:
    options = {"max_steps": 12, "per_device_train_batch_size": 3, "learning_rate": 1e-2}
    curves = {
        collator: curve(trainer(tiny_model, tmp_path, collator, blocks, Rows(12), **options))
        for collator in COLLATORS
    }
    assert sum(curves["padded"][-4:]) < sum(curves["padded"][:4]) * 0.98
    for collator in ("packed", "filled up"):
        assert curves[collator] == pytest.approx(curves["padded"], rel=1e-5)


def test_tokens_are_counted_without_padding(tiny_model: Path, tmp_path: Path) -> None:
    rows = Rows(8)
    for collator in COLLATORS:
        made = trainer(
            tiny_model, tmp_path, collator, rows=rows, max_steps=1, per_device_train_batch_size=8
        )
        made.train()
        logged = next(row for row in made.state.log_history if "loss" in row)
        # Both rates are over the same seconds.
        learned = sum(int((rows[i]["labels"][1:] != IGNORED).sum()) for i in range(8))
        share = logged["supervised_tokens_per_second"] / logged["tokens_per_second"]
        assert share == pytest.approx(learned / rows.lengths.sum())


def test_padded_evaluation_takes_rows_of_similar_lengths_together(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = Rows(40)
    made = trainer(tiny_model, tmp_path, rows=rows, per_device_eval_batch_size=4)
    sampler = made._get_eval_sampler(made.eval_dataset)
    assert rows.lengths[list(sampler)].tolist() == sorted(rows.lengths.tolist(), reverse=True)
    packed = trainer(tiny_model, tmp_path, "packed", rows=rows)
    assert list(packed._get_eval_sampler(packed.eval_dataset)) == list(range(40))


PEAK = """
import resource, sys, torch
sys.path[:0] = ["tests"]
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
import test_trainer
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=128_000, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=2, use_cache=False, tie_word_embeddings=True))
model.save_pretrained(sys.argv[1])
made = test_trainer.trainer(Path(sys.argv[1]), Path(sys.argv[1]), "packed",
                             rows=test_trainer.Rows(2000, 8), per_device_eval_batch_size=32)
made.evaluate(torch.utils.data.Subset(made.eval_dataset, range(2)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made.evaluate()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_evaluating_2000_rows_of_a_large_vocabulary_adds_little_memory(tmp_path: Path) -> None:
    """About 6,000 supervised positions: their logits would be 3 GB."""
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 200
