"""Virtual tokens: how many of a model's positions they take from an example."""

from __future__ import annotations

from det_files.models import SEQ2SEQ
from det_files.tuning.adapters import read_config
from det_files.tuning.arguments import BEFORE_ROWS, TuningArguments


def virtual_tokens(args: TuningArguments) -> int:
    """How many stand before every row; 0 for methods without.

    Raises:
        ConfigError: `adapter` names none.
    """
    if args.method not in BEFORE_ROWS:
        return 0
    if args.adapter is None:
        return args.num_virtual_tokens
    return int(getattr(read_config(args.adapter), "num_virtual_tokens", None) or 0)


def reserved_positions(args: TuningArguments, kind: str) -> tuple[int, int]:
    """Positions that they take of the model (or encoder), and of a decoder: see `load_data`.

    In an encoder-decoder, prompts stand before what the encoder reads, and prefixes are keys and
    values of the decoder's past.
    """
    of_target = kind == SEQ2SEQ and args.method == "prefix"
    count = virtual_tokens(args)
    return (0, count) if of_target else (count, 0)
