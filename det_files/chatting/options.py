"""The command line of a chat, and all that is wrong with it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from det_files.chatting.web import find_page_faults
from det_files.data.rows import half_character
from det_files.faults import Faults
from det_files.generation.sampling import add_sampling_flags, flag, sampling_of
from det_files.models import DTYPES
from det_files.trained.model import MODELS, TUNED

HOST, PORT = "127.0.0.1", 7860


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m det_files.chat", description="Chats with a trained model."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="or a run's directory, or a UUID")
    parser.add_argument("--system", metavar="TEXT", help="system prompt; default: the template's")
    parser.add_argument("--model", choices=MODELS, default=TUNED, help="who answers first")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; default: the run's")
    parser.add_argument("--web", action="store_true", help="a page with both models")
    parser.add_argument("--host", default=HOST, help="of the page (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=PORT, help="of the page; 0: a free one (default: %(default)s)"
    )
    add_sampling_flags(parser)
    return parser.parse_args(argv)


def find_faults(options: argparse.Namespace) -> None:
    """Raises a ConfigError with all that is wrong with the command line, before a model is read."""
    faults = Faults()
    sampling_of(options).find_faults(faults)
    for name in ("num_beams", "num_return_sequences"):
        if getattr(options, name) != 1:
            faults.add(flag(name), "a chat streams one answer: leave it out")
    if broken := half_character(options.system or ""):
        faults.add("--system", f"is not UTF-8 text: {broken}")
    if not 0 <= options.port < 2**16:
        faults.add("--port", f"expected 0 to 65535, got {options.port}")
    if options.web:
        find_page_faults(options.host, options.port, faults)
        if options.model != TUNED:
            faults.add("--model", "has no effect with --web, where both models answer")
    else:
        for name, default in (("host", HOST), ("port", PORT)):
            if getattr(options, name) != default:
                faults.add(f"--{name}", "has no effect without --web")
    faults.raise_if_any()
