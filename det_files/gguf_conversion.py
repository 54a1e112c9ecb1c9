"""Convert a GGUF file once into a safetensors directory.

    python -m det_files.gguf_conversion SOURCE_DIR_OR_FILE --output DIR [--dtype float32|bfloat16]

A model loaded from GGUF is poor to train from: every start de-quantises it again (10 to 25 s for
135 M parameters), ZeRO-3 does not partition it, and `save_pretrained` refuses it. The directory
written here has none of these limits; its weights are the de-quantised ones, bit for bit in
float32, rounded once in bfloat16. It is written aside, and renamed when whole:

    config.json  generation_config.json  model.safetensors
    tokenizer.json  tokenizer_config.json  chat_template.jinja (where the GGUF has a template)
    gguf_conversion.json: where it came from, and the size of each file in bytes
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.durable import digest, written_aside
from det_files.faults import ConfigError, Fault, exit_on_config_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16")
RECORD_NAME = "gguf_conversion.json"


def find_gguf(source: Path) -> Path:
    """Returns the one GGUF file that `source` names.

    Args:
        source: a `.gguf` file, or a directory with exactly one.

    Raises:
        ConfigError: nothing there, no `.gguf` in the directory, or several (they are listed).
    """
    if source.is_file():
        with source.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise ConfigError(Fault(str(source), "not a GGUF file: it does not begin so"))
        return source
    if not source.is_dir():
        raise ConfigError(Fault(str(source), "no such file or directory"))
    found = sorted(path for path in source.iterdir() if path.suffix == ".gguf")
    if not found:
        raise ConfigError(Fault(str(source), "holds no .gguf file"))
    if len(found) > 1:
        names = "".join(f"\n  {path}" for path in found)
        raise ConfigError(Fault(str(source), f"holds several .gguf files, name one:{names}"))
    return find_gguf(found[0])


def read_record(output: Path) -> dict | None:
    """Returns the record of a finished conversion in `output`; None where nothing stands there.

    Raises:
        ConfigError: `output` is something else, or a file of the conversion is missing or has
            another size.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    path = output / RECORD_NAME
    if not path.is_file():
        raise ConfigError(
            Fault(str(output), "exists and is no conversion; choose another --output")
        )
    record = json.loads(path.read_text())
    for name, size_bytes in record["files"].items():
        file = output / name
        if not file.is_file() or file.stat().st_size != size_bytes:
            raise ConfigError(
                Fault(
                    str(file), f"missing or not of {size_bytes} bytes; delete {output}, try again"
                )
            )
    return record


def is_converted(output: Path, asked: Mapping[str, str | None]) -> bool:
    """Returns whether `output` is a whole conversion with the record entries `asked`.

    Raises:
        ConfigError: it is another conversion, or see `read_record`.
    """
    record = read_record(output)
    for key, value in asked.items():
        if record is not None and record.get(key) != value:
            reason = (
                f"was converted with {key} {record.get(key)}, asked for {value}; delete it first"
            )
            raise ConfigError(Fault(str(output), reason))
    return record is not None


def load_gguf(
    gguf: Path, dtype: str, pad_token: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Returns model and tokenizer of a GGUF file, the model in a form that `save_pretrained` takes.

    Args:
        gguf: the file.
        dtype: of the weights, one of `DTYPES`.
        pad_token: replaces the file's padding token; must be in the vocabulary.

    Raises:
        ConfigError: transformers does not know the architecture, or `pad_token` is not in the
            vocabulary.
    """
    # Imported here: a run that finds its work done need not wait for torch.
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        config = AutoConfig.from_pretrained(**where)
        tokenizer = AutoTokenizer.from_pretrained(**where)
        loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=getattr(torch, dtype))
    except ImportError as error:
        raise ConfigError(Fault(str(gguf), f"{error}\nto read it: pip install gguf")) from error
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ConfigError(Fault(str(gguf), f"transformers cannot read it: {error}")) from error

    # The loaded model is marked as quantised and refuses to be saved; one built from the
    # configuration is not. It is built on the meta device and takes over the loaded tensors, so
    # that there is never a second copy of them in memory.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.load_state_dict(loaded.state_dict(), strict=True, assign=True)
    model.tie_weights()
    model.generation_config = loaded.generation_config
    _settle_tokens(model, tokenizer, pad_token)
    return model, tokenizer


def _settle_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pad_token: str | None
) -> None:
    """Makes configuration, generation configuration and tokenizer name the same special tokens."""
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise ConfigError(Fault("--pad-token", f"{pad_token!r} is not in the vocabulary"))
        tokenizer.pad_token = pad_token
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        token_id = getattr(tokenizer, name)
        setattr(model.config, name, token_id)
        setattr(model.generation_config, name, token_id)
    # A GGUF states the context length for the model alone; without this, truncation never sets in.
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)


def convert_gguf(
    source: Path, output: Path, dtype: str = "float32", pad_token: str | None = None
) -> Path:
    """Returns `output`, which then holds the model of `source` as safetensors, with its tokenizer.

    Does nothing where `output` is that conversion already. An interrupted run leaves no `output`.

    Args:
        source: a `.gguf` file, or a directory with exactly one.
        output: directory to write; absent, empty, or an earlier conversion of the same.
        dtype: of the written weights. Choose the one that the model will be loaded in: a
            conversion at load makes every rank hold a copy of its own.
        pad_token: replaces the file's padding token. Many chat models pad with their end token,
            and a collator that masks labels by padding id then hides every answer's end.

    Raises:
        ConfigError: see `find_gguf`, `load_gguf` and `is_converted`.
    """
    if dtype not in DTYPES:
        raise ConfigError(Fault("dtype", f"expected one of {', '.join(DTYPES)}, got {dtype!r}"))
    gguf = find_gguf(source)
    asked = {"source_sha256": digest(gguf), "dtype": dtype, "pad_token": pad_token}
    if is_converted(output, asked):
        print(f"{output}: already converted from {gguf.name}, nothing to do")
        return output

    with written_aside(output) as aside:
        model, tokenizer = load_gguf(gguf, dtype, pad_token)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        record = {
            "source": gguf.name,
            **asked,
            "parameters": model.num_parameters(),
            "files": sizes,
        }
        (aside / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n")
    _report(output, record, tokenizer)
    return output


def _report(output: Path, record: dict, tokenizer: PreTrainedTokenizerBase) -> None:
    """Prints what was written, and what in it deserves a look."""
    size = f"{record['parameters'] / 1e6:.1f} M parameters in {record['dtype']}"
    print(f"{output}: {size}, from {record['source']}")
    for name in ("bos_token", "eos_token", "pad_token"):
        print(f"  {name}: {getattr(tokenizer, name)!r} (id {getattr(tokenizer, name + '_id')})")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        print("  warning: padding and end of answer are one token; do not mask labels by token id")
    if not tokenizer.chat_template:
        print("  warning: the GGUF carries no chat template")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    summary = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m det_files.gguf_conversion", description=summary
    )
    parser.add_argument("source", type=Path, help="a .gguf file, or a directory with exactly one")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the written weights")
    parser.add_argument("--pad-token", help="padding token to set; default: the file's own")
    args = parser.parse_args(argv)
    convert_gguf(args.source, args.output, args.dtype, args.pad_token)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
