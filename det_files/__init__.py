"""Fine-tuning of Hugging Face language models on Determined, from one experiment file."""

__version__ = "0.1.0"
