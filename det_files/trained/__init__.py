"""A trained model read back: its checkpoint, its weights, its tokenizer and its prompts."""
