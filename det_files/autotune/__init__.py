"""Tuning of the DeepSpeed configuration: what an autotuning run reports."""
