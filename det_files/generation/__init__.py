"""Answers of a language model to many prompts: batches whose rows come and go, and streams."""
