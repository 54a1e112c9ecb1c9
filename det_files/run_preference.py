"""Learns from preferences or rewards: an entrypoint of a trial, as run_clm.py.

python -m determined.launch.deepspeed python -m det_files.run_preference
torchrun --nproc_per_node 2 -m det_files.run_preference --experiment experiments/my_dpo.yaml
"""

from det_files.args import RunArgs
from det_files.autotune.reporting import dsat_reporting_context, with_results_in
from det_files.cluster.context import open_core
from det_files.faults import exit_on_config_error
from det_files.models import CAUSAL, PREFERENCE, REWARD, load_model
from det_files.oom_backoff import OomBackoff
from det_files.preference.building import build_preference_trainer
from det_files.preference.dataset import load_preferences
from det_files.preference.training_arguments import make_preference_arguments
from det_files.tuning.methods import apply_tuning


def main() -> None:
    args = RunArgs.from_cluster_or_cli(kind=PREFERENCE)
    assert args.preference is not None
    method = args.preference.method
    with open_core(args) as core:
        backoff = OomBackoff(with_results_in(args, core.trial_dir), core.context)
        args = backoff.args
        # Before the model, as in fine_tuning.py.
        training_args = make_preference_arguments(args, core.output_dir, core.on_cpu)
        kind = REWARD if method == "reward" else CAUSAL
        model, tokenizer = load_model(args.model, args.load_dtype, training_args.seed, kind)
        reserved = training_args.max_completion_length or 0 if method == "grpo" else 0
        data = load_preferences(
            method, args.data, tokenizer, model.config, training_args.seed, reserved
        )
        core.agree_on("data", data.fingerprint())
        model = apply_tuning(
            model, args.tuning, tokenizer, training_args.seed, args.float32_adapters
        )
        trainer = build_preference_trainer(args, training_args, model, tokenizer, data, core)
        with dsat_reporting_context(core.context, args.deepspeed), backoff.watching(trainer):
            trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)


if __name__ == "__main__":
    exit_on_config_error(main)
