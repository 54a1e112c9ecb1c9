"""TokenTrainer: evaluation does not depend on how rows are batched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.collator import PaddingCollator
from det_files.data.dataset import load_data
from det_files.losses import IGNORED
from det_files.training import TokenTrainer


def test_evaluation_is_over_tokens_whatever_the_batch(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    source = SourceArguments(path=str(tiny_data))
    rows = load_data(DataArguments(sources=[source]), tokenizer).val
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    def evaluate(batch: int) -> dict[str, float]:
        args = TrainingArguments(
            str(tmp_path),
            per_device_eval_batch_size=batch,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        collator = PaddingCollator(int(tokenizer.pad_token_id))
        return TokenTrainer(model, args, collator, eval_dataset=rows).evaluate()

    total, tokens = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
            count = int((labels[:, 1:] != IGNORED).sum())
            total += model(input_ids=ids, labels=labels).loss.item() * count
            tokens += count
    # 11 rows: 4 leave a last batch of 3; transformers' mean of batch means would differ by batch.
    for metrics in map(evaluate, (1, 4, 11)):
        assert metrics["eval_loss"] == pytest.approx(total / tokens, rel=1e-5)
        assert 0 <= metrics["eval_token_accuracy"] <= 1
        assert metrics["eval_perplexity"] == pytest.approx(
            torch.tensor(total / tokens).exp().item(), rel=1e-4
        )
