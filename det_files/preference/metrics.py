"""The names of what validations report, by method: TRL's own, which its documentation explains."""

from __future__ import annotations

from det_files.preference.arguments import PreferenceArguments

_PAIR = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins")
_LOGPS = ("logps/chosen", "logps/rejected")
_NAMES: dict[str, tuple[str, ...]] = {
    "dpo": (*_PAIR, *_LOGPS, "mean_token_accuracy", "entropy"),
    "orpo": (*_PAIR, *_LOGPS, "nll_loss", "log_odds_ratio", "log_odds_chosen"),
    "kto": ("rewards/chosen", "rewards/rejected", "rewards/margins", *_LOGPS, "kl", "entropy"),
    "reward": ("accuracy", "margin", "mean_reward", "min_reward", "max_reward"),
    "grpo": ("reward", "reward_std", "completions/mean_length", "completions/clipped_ratio"),
}

_GROWING = {
    *(f"eval_{name}" for name in ("rewards/accuracies", "rewards/margins", "rewards/chosen")),
    *("eval_mean_token_accuracy", "eval_accuracy", "eval_margin", "eval_reward"),
}


def grows(metric: str) -> bool:
    """Whether a metric is higher for a better model, of those of which that can be said."""
    return metric in _GROWING or (metric.startswith("eval_rewards/") and metric.endswith("/mean"))


def validation_metrics(preference: PreferenceArguments) -> list[str]:
    """Names that the validations of these arguments carry, "eval_loss" first."""
    names = [*_NAMES[preference.method]]
    for reward in preference.rewards:
        names += [f"rewards/{reward}/mean", f"rewards/{reward}/std"]
    return ["eval_loss", *(f"eval_{name}" for name in names)]
