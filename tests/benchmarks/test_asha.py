"""Simulated searches over known curves."""

from benchmarks.asha import simulate, simulations

SEARCHER = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 16,
    "max_time": 64,
    "time_metric": "batches",
}


def test_trials_that_get_better_one_after_the_other_cost_the_most() -> None:
    better = [{4: 30.0 - n, 16: 20.0 - n, 64: 10.0 - n / 4} for n in range(16)]
    assert simulate(SEARCHER, better, 1).share == 1.0  # each is the best so far, and goes on
    worse = better[::-1]
    outcome = simulate(SEARCHER, worse, 1)
    # The first of each bracket goes to its end; the others stop at 4 (eleven) and at 16 (three).
    assert outcome.share == (2 * 64 + 11 * 4 + 3 * 16) / (16 * 64)
    assert (outcome.regret, outcome.stopped) == (0.0, 14)


def test_a_late_bloomer_is_lost_and_told() -> None:
    curves = [{4: 1.0 + n, 16: 1.0 + n, 64: 1.0 + n} for n in range(15)] + [
        {4: 99.0, 16: 99.0, 64: 0.5}
    ]
    outcome = simulate(SEARCHER, curves, 1)
    assert outcome.regret == 1.0  # 1.0 is twice 0.5
    shares = [o.share for o in simulations(SEARCHER, curves, 2, 20)]
    assert len(set(shares)) > 3 and all(0 < share < 1 for share in shares)
