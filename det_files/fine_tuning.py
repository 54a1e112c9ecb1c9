"""fine_tune: a trial from its arguments to its last checkpoint, in the order of things."""

from det_files.args import RunArgs
from det_files.autotune.memory_limit import out_of_memory_is_a_result
from det_files.autotune.reporting import dsat_reporting_context, with_results_in
from det_files.cluster.context import open_core
from det_files.data.dataset import load_data
from det_files.models import load_model
from det_files.oom_backoff import OomBackoff
from det_files.training import build_trainer
from det_files.training_arguments import make_training_arguments
from det_files.tuning.methods import apply_tuning
from det_files.tuning.virtual_tokens import reserved_positions


def fine_tune(kind: str) -> None:
    """Trains a model of that kind: causal or seq2seq.

    Raises:
        ConfigError: with every fault that was found; nothing was started.
    """
    args = RunArgs.from_cluster_or_cli(kind=kind)
    with open_core(args) as core, out_of_memory_is_a_result(args, core.context):
        backoff = OomBackoff(with_results_in(args, core.trial_dir), core.context)
        args = backoff.args
        # TrainingArguments come before the model: they hold the DeepSpeed configuration by which
        # ZeRO-3 partitions weights while they are loaded.
        training_args = make_training_arguments(
            args.training, args.deepspeed, core.output_dir, core.on_cpu, kind
        )
        model, tokenizer = load_model(args.model, args.load_dtype, training_args.seed, kind)
        data = load_data(
            args.data,
            tokenizer,
            model.config,
            training_args.seed,
            reserved=reserved_positions(args.tuning, kind),
        )
        core.agree_on("data", data.fingerprint())  # hosts tokenize at their own pace
        model = apply_tuning(
            model, args.tuning, tokenizer, training_args.seed, args.float32_adapters
        )
        trainer = build_trainer(args, training_args, model, tokenizer, data, core)
        with dsat_reporting_context(core.context, args.deepspeed), backoff.watching(trainer):
            trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
