"""Data on its way to the trainer.

    files, hub      records with their places, one at a time
       ↓ rows           {"input", "output"}, {"messages"} or {"text"}; sources: by split
       ↓ templates      what stands around the answers, markers of the chat template included
       ↓ encoding       tokens [S] and which are learned [S], many rows at once
       ↓ token_cache    the same on disk, memory-mapped
       ↓ examples       {"input_ids": [S], "labels": [S]}, -100 where nothing is learned
       ↓ mixture        which row comes when
       ↓ packing        rows in blocks of a fixed number of tokens, where that is asked for
       ↓ sampler        whole global batches, dealt to ranks and micro-batches by length
       ↓ collator       {"input_ids", "attention_mask", "labels"}: each [B, S of the longest];
                        or rows end to end: {"input_ids", "position_ids", "labels"}: each [1, T]

B batch, S sequence, T tokens of all rows. `layout` chooses among the last three.
"""
