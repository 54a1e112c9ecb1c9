# Sourced in a trial's container under `set -e`, before the entrypoint. On an image with everything
# in requirements.txt it does nothing; on one with Python and torch it installs the rest in a minute
# or two. It never replaces the image's own torch, and leaves no options or variables behind.
(
    image="pytorch/pytorch:2.13.0-cuda13.0-cudnn9-devel"
    refuse() {
        echo "startup-hook: $1; use the image $image (environment.image)" >&2
        exit 1
    }
    here="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        refuse "Python 3.11 or newer is needed, found $(python3 --version 2>&1 || true)"
    torch="$(python3 -c 'import torch; from importlib.metadata import version; print(version("torch"))' 2>/dev/null)" ||
        refuse "torch is not installed or does not import"

    missing="$(python3 - "$here/requirements.txt" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

for line in open(sys.argv[1], encoding="utf-8"):
    name, _, wanted = line.split("#")[0].strip().partition("==")
    if not name or name == "torch":
        continue
    try:
        found = version(name)
    except PackageNotFoundError:
        found = None
    if found != wanted:
        print(f"{name}=={wanted}")
PYTHON
    )" || refuse "requirements.txt could not be read"
    [ -n "$missing" ] || exit 0

    # NGC images constrain packages to their own versions; the pins here were tested together.
    unset PIP_CONSTRAINT
    constraints="$(mktemp)"
    echo "torch==$torch" >"$constraints"
    for attempt in 1 2 3; do
        # shellcheck disable=SC2086  # one word for each requirement is meant
        if python3 -m pip install --quiet --constraint "$constraints" $missing; then
            rm -f "$constraints"
            exit 0
        fi
        echo "startup-hook: pip failed (attempt $attempt of 3)" >&2
        sleep $((attempt * 10))
    done
    echo "startup-hook: could not install: $(echo $missing)" >&2
    exit 1
) || exit 1
