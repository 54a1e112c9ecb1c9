"""Chat with a trained model, in a terminal, by a script, or on a page.

    python -m det_files.chat CHECKPOINT [--system TEXT] [--model tuned|base] [--max-new-tokens N]
        [--temperature T] [--top-p P] [--web [--host HOST] [--port N]]

CHECKPOINT is a checkpoint's directory, a run's, whose best checkpoint is then taken, or the UUID of
a checkpoint of Determined.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from det_files.chatting.console import Console
from det_files.chatting.conversation import Conversation
from det_files.chatting.options import find_faults, parse
from det_files.chatting.web import serve
from det_files.faults import ConfigError, Fault, exit_on_config_error
from det_files.generation.sampling import sampling_of
from det_files.trained.checkpoint import TrainedCheckpoint, open_checkpoint
from det_files.trained.locating import locate

if TYPE_CHECKING:
    from det_files.chatting.trained_talker import TrainedTalker


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse(argv)
    find_faults(options)
    with redirect_stdout(sys.stderr):  # stdout holds answers alone, and libraries write to it
        checkpoint = open_checkpoint(locate(options.checkpoint))
        talker = load_talker(checkpoint, options)
    about = f"{checkpoint.path} ({checkpoint.method})"
    if options.web:
        return serve(talker, options.system, options.host, options.port, about)
    return Console(talker, Conversation(options.system), options.model, about).run()


def load_talker(checkpoint: TrainedCheckpoint, options: argparse.Namespace) -> TrainedTalker:
    """The models of a checkpoint, ready to answer.

    Raises:
        ConfigError: they cannot be had; they read no system prompt, and one is given.
    """
    from det_files.chatting.trained_talker import TrainedTalker
    from det_files.trained.model import load_trained

    talker = TrainedTalker(
        load_trained(checkpoint, options.dtype), sampling_of(options), options.dtype
    )
    if options.system and not talker.keeps_history:
        reason = "the model was trained on single prompts, and reads no system prompt"
        raise ConfigError(Fault("--system", reason))
    return talker


if __name__ == "__main__":
    exit_on_config_error(main)
