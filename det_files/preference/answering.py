"""What a comparison asks a model of that has learned from preferences."""

from __future__ import annotations

import dataclasses

from det_files.args import RunArgs
from det_files.data.arguments import DataArguments
from det_files.faults import ConfigError, Fault
from det_files.models import CAUSAL
from det_files.preference.arguments import SECTION


def as_answering(args: RunArgs) -> RunArgs:
    """The arguments of the same model and data as of one that is fine-tuned on answers.

    Arguments of other entrypoints are returned as they are.

    Raises:
        ConfigError: a reward model answers nothing; answers that are marked have no right one.
    """
    if args.preference is None:
        return args
    method = args.preference.method
    if method in ("reward", "kto"):
        why = "scores answers and gives none" if method == "reward" else "has no right answers"
        raise ConfigError(
            Fault(f"{SECTION}.method", f"{method} {why}: there is nothing to compare")
        )
    facts = dataclasses.replace(args.facts, kind=CAUSAL)
    data = answered_data(args.data, method)
    return dataclasses.replace(args, facts=facts, data=data, preference=None)


def answered_data(data: DataArguments, method: str) -> DataArguments:
    """The data arguments with which a method's rows are questions: a pair's prompt is one.

    Its chosen answer is the right one; GRPO's rows are questions already.
    """
    if method == "grpo":
        return data
    names = {"input": "prompt"} if method == "kto" else {"input": "prompt", "output": "chosen"}
    sources = []
    for source in data.sources:
        columns = {own: source.columns.get(name, name) for own, name in names.items()}
        sources.append(dataclasses.replace(source, columns=columns))
    return dataclasses.replace(data, sources=sources)
