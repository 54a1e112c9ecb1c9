"""A generation: what is asked for, all of it checked, and what of it is still to be answered."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.data.arguments import DataArguments
from det_files.data.sources import Split
from det_files.faults import ConfigError, Faults
from det_files.generation.answers import Answer
from det_files.generation.engine import Engine, TransformersEngine, length_when_cut
from det_files.generation.input_rows import (
    InputRow,
    fit_prompts,
    open_input,
    open_split,
    read_rows,
    with_prompts,
)
from det_files.generation.journal import (
    Journal,
    JournalWriter,
    begin_journal,
    check_request,
    find_output_faults,
)
from det_files.generation.options import CUT, OWN_FIELDS, VLLM, find_option_faults, request_of
from det_files.generation.progress import Progress, Totals
from det_files.generation.ranks import Ranks
from det_files.generation.sampling import Sampling, sampling_of
from det_files.models import SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint, as_from_here, open_checkpoint
from det_files.trained.locating import locate
from det_files.trained.model import answering_data
from det_files.trained.prompts import Prompts, choose_source
from det_files.trained.tokenizer import tokenizer_of


@dataclass(frozen=True)
class Job:
    """Rows to answer with a checkpoint's model.

    Attributes:
        count: rows in all.
        left: those that have no answers yet, in order, with whole prompts.
        request: what the journal is of; see `request_of`.
    """

    options: argparse.Namespace
    checkpoint: TrainedCheckpoint
    request: Mapping[str, Any]
    count: int
    left: list[InputRow]

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        return sampling_of(self.options)

    def load_engine(self) -> Engine:
        """The model, ready to answer.

        Raises:
            ConfigError: it cannot be loaded.
        """
        options = self.options
        if options.engine == VLLM:
            from det_files.generation.vllm_engine import VllmEngine

            return VllmEngine(self.checkpoint, options.model, options.dtype)
        return TransformersEngine(self.checkpoint, options.model, options.dtype)

    def fit(self, engine: Engine) -> list[InputRow]:
        """The rows that are left, with prompts that the model has room for.

        Raises:
            ConfigError: some have longer ones, which are not to be cut.
        """
        options = self.options
        wanted = options.max_new_tokens
        cut_to = length_when_cut(engine, wanted) if options.too_long == CUT else None
        return fit_prompts(self.left, engine.longest_prompt, cut_to)

    def begin(self, ranks: Ranks) -> None:
        """Begins or reopens the journal: the first rank does, for all.

        Raises:
            ConfigError: see `begin_journal`.
        """
        if ranks.is_first:
            begin_journal(self.options.output, self.request)

    def answer(
        self, engine: Engine, rows: list[InputRow], journal: JournalWriter, progress: Progress
    ) -> None:
        """Answers rows, each answer into the journal as it ends."""
        by_number = {row.number: row for row in rows}
        prompts = [row.prompt for row in rows]
        batch_size = self.options.batch_size
        for answer in engine.answers(prompts, list(by_number), self.sampling, batch_size):
            journal.write(self._record(by_number[answer.number], answer))
            progress.add(answer)

    def _record(self, row: InputRow, answer: Answer) -> dict[str, Any]:
        """A line of the output: the row's own fields, and what was made of it."""
        several = {"sequence": answer.sequence} if self.sampling.num_return_sequences > 1 else {}
        return {
            "row": row.number,
            **row.fields,
            **several,
            self.options.answer_field: answer.text,
            "num_generated_tokens": answer.num_generated_tokens,
            "finish_reason": answer.finish_reason,
            "prompt_cut": row.cut,
        }

    def finish(self) -> Totals:
        """Makes the output of what all ranks have answered."""
        journal = Journal(self.options.output, self.sampling.num_return_sequences)
        found = len(journal.finished_rows())
        if found != self.count:
            raise RuntimeError(f"the journal has answers to {found} of {self.count} rows")
        totals = Totals.of(journal.records())
        journal.publish()
        return totals


def prepare(options: argparse.Namespace, ranks: Ranks) -> Job:
    """Checks all that was asked for; nothing is written, and no weights are read.

    Raises:
        ConfigError: every fault at once.
    """
    faults = Faults()
    find_option_faults(options, faults)
    find_output_faults(options.output, options.resume, faults)
    checkpoint = splits = rows = None
    try:
        checkpoint = open_checkpoint(locate(options.checkpoint))
        splits = _open_splits(options, checkpoint)
        rows = _read(options, checkpoint, splits)
    except ConfigError as error:
        faults.extend(error)
    if checkpoint and options.engine == VLLM:
        from det_files.generation.vllm_engine import find_vllm_faults

        find_vllm_faults(checkpoint, options.model, ranks.size, faults)
    faults.raise_if_any()
    assert checkpoint is not None and splits is not None and rows is not None
    facts = {"CHECKPOINT": _identity(checkpoint.path), "INPUT": _content(splits)}
    request = request_of(options, **facts)
    check_request(options.output, request)
    finished = Journal(options.output, options.num_return_sequences).finished_rows()
    left = [row for row in rows if row.number not in finished]
    return Job(options, checkpoint, request, len(rows), left)


def _open_splits(options: argparse.Namespace, checkpoint: TrainedCheckpoint) -> list[Split]:
    data = answering_data(checkpoint)
    source = choose_source(data, options.source)
    if options.input is not None:
        return open_input(options.input, source)
    return open_split(_from_here(data, checkpoint), options.split or "test", options.source)


def _from_here(data: DataArguments, checkpoint: TrainedCheckpoint) -> DataArguments:
    """The data arguments with paths of sources that hold here, too."""
    sources = [
        dataclasses.replace(source, path=as_from_here(source.path, checkpoint.path))
        for source in data.sources
    ]
    return dataclasses.replace(data, sources=sources)


def _read(
    options: argparse.Namespace, checkpoint: TrainedCheckpoint, splits: list[Split]
) -> list[InputRow]:
    """The rows with their prompts."""
    rows = read_rows(splits, options.limit, {*OWN_FIELDS, options.answer_field})
    tokenizer = tokenizer_of(checkpoint)
    separate = checkpoint.kind == SEQ2SEQ
    prompts = Prompts(answering_data(checkpoint), tokenizer, separate, options.source)
    return with_prompts(rows, prompts)


def _content(splits: Iterable[Split]) -> str:
    """What tells an input from any other."""
    return _short([split.fingerprint(None) for split in splits])


def _identity(checkpoint: Path) -> str:
    """What tells a checkpoint from any other: its manifest, or names, sizes and times."""
    manifest = checkpoint / "manifest.json"
    if manifest.is_file():
        return _short(manifest.read_text(encoding="utf-8"))
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return _short(facts)


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
