"""How a model is tuned: all of it, or what peft adds to it."""
