"""What `hyperparameters.data_arguments` may hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import PurePath

from det_files.data.weights import weights_in_force

SECTION = "hyperparameters.data_arguments"
INPUT_PLACEHOLDER = "__input__"
OUTPUT_PLACEHOLDER = "__output__"
ROLES = ("input", "output", "text", "messages")
PREFERENCE_ROLES = ("prompt", "chosen", "rejected", "completion", "label")
BLOCKS = "blocks"
# What a source may say for itself, in place of the section.
_PER_SOURCE = (
    "input_format",
    "output_format",
    "max_input_tokens",
    "max_output_tokens",
    "max_train_samples",
    "max_eval_samples",
)


@dataclass(frozen=True)
class SourceArguments:
    """One source of rows: a directory with train/, val/ and test/, a file, or a hub dataset.

    What is None is the section's, for the fields that both have.
    """

    path: str | None = field(
        default=None, metadata={"help": "directory with train/ val/ test/, or one file of train"}
    )
    dataset_name: str | None = field(default=None, metadata={"help": "hub id of a dataset"})
    dataset_config: str | None = field(default=None, metadata={"help": "the dataset's config name"})
    streaming: bool = field(
        default=False, metadata={"help": "read the hub's dataset without downloading it first"}
    )
    columns: dict[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "{input: column, output: column}, {messages: column} for conversations, "
            "{text: column} for plain text; for preferences prompt, chosen and rejected, or "
            "prompt, completion and label"
        },
    )
    name: str | None = field(
        default=None,
        metadata={
            "help": "what mixture_weights and reports call it; default: the path's last part"
        },
    )
    weight: float | None = field(
        default=None,
        metadata={
            "minimum": 0,
            "help": "share of the training rows, over the sum of all weights; none: by its rows",
        },
    )
    input_format: str | None = field(
        default=None, metadata={"help": "template of the prompt, with __input__"}
    )
    output_format: str | None = field(
        default=None, metadata={"help": "template of the answer, with __output__"}
    )
    max_input_tokens: int | None = field(
        default=None, metadata={"minimum": 1, "help": "tokens kept of a row's input"}
    )
    max_output_tokens: int | None = field(
        default=None, metadata={"minimum": 1, "help": "tokens kept of a row's output"}
    )
    max_train_samples: int | None = field(
        default=None, metadata={"minimum": 1, "help": "rows of train used, the first ones"}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"minimum": 1, "help": "rows of val used, the first ones"}
    )

    @property
    def label(self) -> str:
        """Its name: the one given, or the last part of its path or dataset name."""
        return self.name or PurePath(self.path or self.dataset_name or "").name


@dataclass(frozen=True)
class DataArguments:
    """Where rows come from, how they become text, and where they are cut. Lengths are tokens."""

    sources: list[SourceArguments] = field(
        default_factory=list, metadata={"help": 'a list, or "path:0.2,path2:0.8"'}
    )
    mixture_weights: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "{name of a source: its weight}, where a search varies them"},
    )
    mixture_stopping: str = field(
        default="first_exhausted",
        metadata={
            "choices": ("first_exhausted", "all_exhausted"),
            "help": "an epoch of a weighted mixture ends with its first or its last source",
        },
    )
    input_format: str = field(
        default=INPUT_PLACEHOLDER, metadata={"help": "template of the prompt, with __input__"}
    )
    output_format: str = field(
        default=OUTPUT_PLACEHOLDER, metadata={"help": "template of the answer, with __output__"}
    )
    source_language: str | None = field(
        default=None, metadata={"help": "code of the inputs' language, for mBART's tokenizers"}
    )
    target_language: str | None = field(
        default=None, metadata={"help": "code of the outputs' language, likewise"}
    )
    chat_template: str = field(
        default="auto",
        metadata={
            "help": "auto: the tokenizer's chat template where it has one; none: plain text; or "
            "the path of a .jinja file"
        },
    )
    max_input_tokens: int = field(
        default=1024, metadata={"minimum": 1, "help": "tokens kept of a row's input"}
    )
    max_output_tokens: int = field(
        default=1024, metadata={"minimum": 1, "help": "tokens kept of a row's output"}
    )
    too_long: str = field(
        default="error",
        metadata={
            "choices": ("cut", "drop", "error"),
            "help": "what becomes of a row that is longer than the model's positions or a block",
        },
    )
    equal_answers: str = field(
        default="error",
        metadata={
            "choices": ("drop", "error"),
            "help": "what becomes of a row of preferences whose answers are the same",
        },
    )
    packing: bool | str = field(
        default=False,
        metadata={
            "help": "true: the rows of a micro-batch end to end, without padding; blocks: rows in "
            "blocks of block_size tokens"
        },
    )
    block_size: int = field(
        default=1024,
        metadata={"minimum": 2, "help": "tokens a block of plain text, or of packing: blocks"},
    )
    validation_split_percentage: float = field(
        default=5.0,
        metadata={
            "exclusive_minimum": 0,
            "maximum": 50,
            "help": "per cent of train taken (seeded) where there is no val split",
        },
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={"minimum": 1, "help": "rows of train used, the first of each source"},
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"minimum": 1, "help": "rows of val used, the first of each source"}
    )
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "directory of tokenized data; default: $DET_FILES_CACHE, or "
            "~/.cache/det_files/tokens"
        },
    )

    def settled_sources(self) -> list[SourceArguments]:
        """The sources, with the section's values where they say nothing themselves."""
        return [
            dataclasses.replace(
                source,
                **{
                    name: getattr(self, name)
                    for name in _PER_SOURCE
                    if getattr(source, name) is None
                },
            )
            for source in self.sources
        ]

    def weights(self) -> list[float] | None:
        """The sources' weights, which sum to 1; None where rows count alike."""
        return weights_in_force(self.sources, self.mixture_weights)


def longest_output(args: DataArguments) -> int:
    """The highest limit of outputs, of all sources."""
    limits = [source.max_output_tokens or 0 for source in args.settled_sources()]
    return max(limits, default=args.max_output_tokens)
