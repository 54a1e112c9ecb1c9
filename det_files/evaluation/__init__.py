"""Evidence that a fine-tuned model is better: greedy answers, exact match, before and after."""
