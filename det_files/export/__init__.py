"""Taking a trained model out of a checkpoint: whole, merged, as an adapter, or as GGUF."""
