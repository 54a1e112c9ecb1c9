"""Answer the rows of a file with a trained model, into another file.

    python -m det_files.generate CHECKPOINT INPUT.jsonl --output OUTPUT.jsonl [--resume]
    torchrun --nproc_per_node 2 -m det_files.generate …

CHECKPOINT is a checkpoint's directory, a run's, whose best one is then taken, or the UUID of one
that Determined has. Its prompts are those of training. See docs/generate.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from det_files.faults import exit_on_config_error
from det_files.generation.job import Job, prepare
from det_files.generation.journal import JournalWriter
from det_files.generation.options import parse
from det_files.generation.progress import Progress
from det_files.generation.ranks import Ranks, joined_ranks
from det_files.generation.stopping import Stopped, resume_command, stopped_by_signals
from det_files.local.terminal import Terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse(argv, "python -m det_files.generate", (__doc__ or "").split("\n")[0])
    terminal = Terminal(module="det_files.generate")
    with joined_ranks() as ranks:
        try:
            with stopped_by_signals():
                answer_all(ranks.agree(lambda: prepare(options, ranks)), ranks, terminal)
        except Stopped:
            if ranks.is_first:
                command = resume_command(terminal, sys.argv[1:] if argv is None else argv)
                terminal.note(f"stopped; what was answered is kept. Go on with\n  {command}")
            return 1
    if ranks.is_first:
        terminal.result(str(options.output))
    return 0


def answer_all(job: Job, ranks: Ranks, terminal: Terminal) -> None:
    """Answers what is left of a job, all ranks together, and joins what they have."""
    if job.left:
        engine = ranks.agree(job.load_engine)
        rows = ranks.agree(lambda: job.fit(engine))
        mine = ranks.share(rows, [len(row.prompt) for row in rows])
        expected = len(mine) * job.sampling.num_return_sequences
        ranks.agree(lambda: job.begin(ranks))
        with ranks.agree(lambda: JournalWriter(job.options.output, ranks.rank)) as journal:
            progress = Progress(terminal, expected, ranks.rank, ranks.size)
            job.answer(engine, mine, journal, progress)
        ranks.wait()
        progress.finish()
    if ranks.is_first:
        terminal.note(job.finish().line(job.count))
    ranks.wait()


if __name__ == "__main__":
    exit_on_config_error(main)
