"""Data on its way to the trainer.

    sources            rows {"input": str, "output": str} or {"text": str}, by split
       ↓ templates     (prompt, answer) as text, markers of the chat template included
       ↓ tokenization  {"input_ids": [S], "labels": [S]}, -100 where nothing is learned
       ↓ collator      {"input_ids", "attention_mask", "labels"}: each [B, S of the longest]

B batch, S sequence.
"""
