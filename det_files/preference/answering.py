"""What a model that has learned from preferences is asked."""

from __future__ import annotations

import dataclasses

from det_files.data.arguments import DataArguments


def answered_data(data: DataArguments, method: str) -> DataArguments:
    """The data arguments with which a method's rows are questions: a pair's prompt is one.

    Its chosen answer is the right one; answers that are marked (kto) have no right one; GRPO's rows
    are questions already.
    """
    if method == "grpo":
        return data
    names = {"input": "prompt"} if method == "kto" else {"input": "prompt", "output": "chosen"}
    sources = []
    for source in data.sources:
        columns = {own: source.columns.get(name, name) for own, name in names.items()}
        sources.append(dataclasses.replace(source, columns=columns))
    return dataclasses.replace(data, sources=sources)
