"""The `entrypoint` of an experiment: its launcher, our module, and flags in the older style."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from det_files.data.arguments import DataArguments
from det_files.faults import Faults, did_you_mean
from det_files.models import CAUSAL, PREFERENCE, SEQ2SEQ, ModelArguments
from det_files.old_names import OLD_NAMES, put
from det_files.schema import Field, fields_of, parse_flag, show
from det_files.training_fields import training_fields
from det_files.tuning.arguments import TuningArguments

# Our modules, and the kind of model that each trains.
KINDS = {
    "det_files.run_clm": CAUSAL,
    "det_files.run_seq2seq": SEQ2SEQ,
    "det_files.run_preference": PREFERENCE,
}
MODULES = tuple(KINDS)
LAUNCHERS = ("determined.launch.deepspeed", "determined.launch.torch_distributed")
_PYTHONS = ("python", "python3")


@dataclass(frozen=True)
class Entrypoint:
    """What an entrypoint starts: `launcher` (or none), `module`, and the `flags` behind it."""

    module: str
    launcher: str | None = None
    flags: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """As an experiment file may have it; options of the launcher itself are left out."""
        launcher = ["python", "-m", self.launcher] if self.launcher else []
        return [*launcher, "python", "-m", self.module, *self.flags]


def parse_entrypoint(value: Any, faults: Faults, warnings: list[str]) -> Entrypoint:
    """Reads an entrypoint, a string or a list of words; notes what cannot be run by us."""
    words = _words(value, faults)
    if words is None:
        return Entrypoint(MODULES[0])
    launcher: str | None = None
    while words:
        word = words.pop(0)
        if Path(word).name in _PYTHONS:
            continue
        if word == "-m" and words:
            word = words.pop(0)
            if word in LAUNCHERS:
                launcher = word
                if "--" in words:  # the launcher's own options end there
                    words = words[words.index("--") + 1 :]
                continue
        return Entrypoint(_module(word, faults, warnings), launcher, words)
    faults.add("entrypoint", f"names none of {', '.join(MODULES)}")
    return Entrypoint(MODULES[0], launcher)


def _words(value: Any, faults: Faults) -> list[str] | None:
    if isinstance(value, list):
        return [str(word) for word in value]
    if not isinstance(value, str):
        faults.add("entrypoint", f"expected a string or a list of words, got {show(value)}")
        return None
    try:
        return shlex.split(value)
    except ValueError as error:  # a quotation that does not end
        faults.add("entrypoint", str(error))
        return None


def _module(word: str, faults: Faults, warnings: list[str]) -> str:
    if word in MODULES:
        return word
    by_script = {f"{module.rsplit('.', 1)[-1]}.py": module for module in MODULES}
    script = Path(word).name
    if script in by_script:
        warnings.append(f"entrypoint: `python {word}` is now `python -m {by_script[script]}`")
        return by_script[script]
    reason = f"runs {word}, which is none of {', '.join(MODULES)}{did_you_mean(word, MODULES)}"
    faults.add("entrypoint", reason)
    # The rest of the file is checked against what was probably meant.
    return next(iter(get_close_matches(word, MODULES, n=1)), MODULES[0])


def flag_fields() -> dict[str, tuple[str, Field]]:
    """Flag name → (section, field) for every flat flag that the entrypoint may carry."""
    sections: dict[str, dict[str, Field]] = {
        "model_arguments": fields_of(ModelArguments),
        "data_arguments": fields_of(DataArguments),
        "tuning_arguments": fields_of(TuningArguments),
        "training_arguments": training_fields(SEQ2SEQ),
        "": {"deepspeed_config": Field("deepspeed_config", frozenset({"str"}))},
    }
    return {name: (s, field) for s, fields in sections.items() for name, field in fields.items()}


def split_flags(words: Sequence[str], faults: Faults) -> dict[str, str | None]:
    """`--key value`, `--key=value` and `--key` alone (None) as a mapping; later ones win."""
    found: dict[str, str | None] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            faults.add("entrypoint", f"expected a flag such as --max_steps, got {word!r}")
            continue
        key, equals, value = word[2:].partition("=")
        key = key.replace("-", "_")
        if equals:
            found[key] = value
        elif rest and not rest[0].startswith("--"):
            found[key] = rest.pop(0)
        else:
            found[key] = None
    return found


def flags_to_hyperparameters(
    words: Sequence[str], faults: Faults, warnings: list[str]
) -> dict[str, Any]:
    """Flat flags as the nested hyperparameters that they mean; values are typed where they fit.

    Types are checked later, together with the hyperparameters that win over these.
    """
    known = flag_fields()
    nested: dict[str, Any] = {}
    given = split_flags(words, faults)
    # Old names first: today's name wins where both are given.
    for key, text in sorted(given.items(), key=lambda item: item[0] not in OLD_NAMES):
        if key in OLD_NAMES:
            old = OLD_NAMES[key]
            warnings.append(old.warning(f"--{key}"))
            if old.path is not None:
                put(nested, old.path, old.convert(_typed(old.path, text, known)))
        elif key in known:
            section, field_ = known[key]
            path = f"{section}.{key}" if section else key
            put(nested, path, True if text is None else parse_flag(text, field_))
        else:
            faults.unknown("entrypoint", f"--{key}", [f"--{name}" for name in known])
    return nested


def _typed(path: str, text: str | None, known: dict[str, tuple[str, Field]]) -> Any:
    name = path.rsplit(".", 1)[-1]
    if text is None or name not in known or name == "method":
        return text if text is not None or name == "method" else True
    return parse_flag(text, known[name][1])
