"""Everything that knows about Determined: the trial, the core context, and the callback over it."""
