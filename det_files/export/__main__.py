"""Take a trained model out of a checkpoint.

    python -m det_files.export CHECKPOINT --to merged|adapter|hf|gguf --output DIR
        [--dtype bfloat16] [--max-shard-size 5GB] [--check] [--push REPO_ID]

CHECKPOINT is a checkpoint's directory, or a run's, whose best checkpoint is then taken.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from det_files.durable import written_aside
from det_files.export.forms import FORMS, find_form_faults, find_range_fault
from det_files.export.output import find_output_faults
from det_files.faults import Faults, exit_on_config_error
from det_files.models import DTYPES
from det_files.trained.checkpoint import TrainedCheckpoint, open_checkpoint

SHARD_SIZE = "5GB"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse(argv)
    checkpoint = open_checkpoint(options.checkpoint)
    find_faults(options, checkpoint)
    dtype = options.dtype or checkpoint.model.dtype
    with written_aside(options.output) as directory:
        write(checkpoint, options, dtype, directory)
        if options.check and not check(checkpoint, options.to, dtype, directory):
            sys.exit(1)  # through written_aside, which then leaves nothing
    print(options.output)
    if options.push:
        from det_files.export.hub import push

        print(push(options.output, options.push))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m det_files.export", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="or a run's directory")
    parser.add_argument("--to", choices=FORMS, required=True)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="absent or empty")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; default: the run's")
    parser.add_argument("--max-shard-size", default=SHARD_SIZE, metavar="SIZE", help="of one file")
    parser.add_argument("--check", action="store_true", help="compare logits with the checkpoint's")
    parser.add_argument("--push", metavar="REPO_ID", help="upload it; the token is HF_TOKEN's")
    return parser.parse_args(argv)


def find_faults(options: argparse.Namespace, checkpoint: TrainedCheckpoint) -> None:
    """Raises a ConfigError with all that forbids this export, before anything is written."""
    faults = Faults()
    find_form_faults(checkpoint, options.to, faults)
    if options.to == "gguf" and not faults.found:
        from det_files.export.gguf import find_gguf_faults

        find_gguf_faults(checkpoint, faults)
    find_output_faults(options.output, checkpoint.path, faults)
    find_size_faults(options, faults)
    if options.to == "adapter" and options.dtype is not None:
        faults.add("--dtype", "an adapter is copied as it was trained: leave it out")
    elif reason := find_range_fault(checkpoint, options.dtype):
        faults.add("--dtype", reason)
    if options.push:
        from det_files.export.hub import find_push_faults

        find_push_faults(options.push, faults)
    faults.raise_if_any()


def find_size_faults(options: argparse.Namespace, faults: Faults) -> None:
    size = options.max_shard_size
    if not re.fullmatch(r"[1-9]\d*[KMGT]B", size, re.IGNORECASE):
        faults.add("--max-shard-size", f'expected a size such as "5GB" or "500MB", got {size!r}')
    elif options.to in ("adapter", "gguf") and size != SHARD_SIZE:
        faults.add("--max-shard-size", f"has no effect with --to {options.to}, which is one file")


def write(
    checkpoint: TrainedCheckpoint, options: argparse.Namespace, dtype: str, directory: Path
) -> None:
    """Writes the form asked for and its card."""
    from det_files.export.card import CARD_FILE, render_card
    from det_files.export.gguf import export_gguf
    from det_files.export.merging import export_adapter, export_merged
    from det_files.export.whole_model import export_whole

    print(f"exporting {checkpoint.path} ({checkpoint.method}) as {options.to}", flush=True)
    if options.to == "hf":
        export_whole(checkpoint, directory, dtype, options.max_shard_size)
    elif options.to == "merged":
        export_merged(checkpoint, directory, dtype, options.max_shard_size)
    elif options.to == "gguf":
        export_gguf(checkpoint, directory, dtype)
    else:
        export_adapter(checkpoint, directory)
    card = render_card(checkpoint, options.to, dtype, options.output.name)
    (directory / CARD_FILE).write_text(card, encoding="utf-8")


def check(checkpoint: TrainedCheckpoint, form: str, dtype: str, directory: Path) -> bool:
    """Prints how far the export is from the checkpoint; returns whether it is within tolerance."""
    from det_files.export.check import compare_logits

    difference = compare_logits(checkpoint, directory, form, dtype)
    print(difference if difference.is_small else f"{difference}: nothing was written", flush=True)
    return difference.is_small


if __name__ == "__main__":
    exit_on_config_error(main)
