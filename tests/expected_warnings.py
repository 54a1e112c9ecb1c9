"""What validation warns of in experiment files: a warm-up that is searched over."""

from __future__ import annotations

_WARMUP = (
    "hyperparameters.training_arguments.warmup_steps: 0 to {longest} may be longer than the first "
    "rung ({rung} batches), which then judges trials by their warm-up"
)
# The name of an experiment → its warnings; all others have none.
WARNINGS = {
    "smollm2_135m_asha": [_WARMUP.format(longest=8, rung=4)],
    "swallow_7b_asha": [_WARMUP.format(longest=10, rung=6)],
    "swallow_7b_asha_0.37": [_WARMUP.format(longest=10, rung=6)],
}
