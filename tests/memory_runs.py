"""Arguments and shapes of runs for the tests of the memory estimate."""

from __future__ import annotations

from typing import Any

from det_files.args import RunArgs, RunFacts
from det_files.data.arguments import DataArguments, SourceArguments
from det_files.faults import Faults
from det_files.memory.shape import Head, Layer, Lengths, Line, ModelShape, Parameter, Stack, Trace
from det_files.models import ModelArguments
from det_files.training_arguments import with_defaults
from det_files.tuning.arguments import TuningArguments


def run_args(
    method: str = "full",
    kind: str = "causal",
    dtype: str = "bfloat16",
    zero: dict[str, Any] | None = None,
    slots: int = 1,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    tuning: dict[str, Any] | None = None,
    **training: Any,
) -> RunArgs:
    """Resolved arguments; `zero` is the zero_optimization section of a DeepSpeed configuration."""
    lengths = {"max_input_tokens": 48, "max_output_tokens": 16}
    return RunArgs(
        RunFacts(kind=kind, slots=slots),
        ModelArguments(**({"model_name_or_path": "tiny", "dtype": dtype} | (model or {}))),
        DataArguments([SourceArguments(path="rows")], **(lengths | (data or {}))),
        TuningArguments(method=method, **(tuning or {})),
        with_defaults(training, dtype, Faults()),
        None if zero is None else {"zero_optimization": zero},
        {},
    )


def plain_shape(trained: int = 1000, frozen: int = 0, **changes: Any) -> ModelShape:
    """A shape of round numbers: ten layers that each keep 10, save 100 and hold 30 bytes a row."""
    layer = Layer(Line(0, 10), Line(0, 100), Line(0, 5), Line(0, 30))
    trace = Trace((Stack(10, layer),), Line(0, 7))
    parameters = tuple(
        Parameter((count,), 1, is_trained)
        for count, is_trained in ((trained, True), (frozen, False))
        if count
    )
    fields: dict[str, Any] = {
        "name": "plain",
        "model_type": "llama",
        "parameters": parameters,
        "buffer_bytes": 0,
        "hidden": 4,
        "lengths": Lengths(8, 0, 4),
        "head": Head(16, 4, chunked=True, whole=False, trained=False, tied=True),
        "plain": trace,
        "padded": trace,
        "largest_module": 100,
    }
    return ModelShape(**(fields | changes))
