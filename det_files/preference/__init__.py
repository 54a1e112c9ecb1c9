"""Learning from preferences and rewards: TRL's trainers, with our data, order and recovery."""
