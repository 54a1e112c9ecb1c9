"""A stand-in for a Determined master and its agents, for the real harness to live against."""
