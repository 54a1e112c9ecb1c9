# Sourced in a task's container under `set -e`, before the entrypoint. On an image with everything
# in requirements.txt it does nothing; on one with Python and torch it installs the rest in a minute
# or two. It never replaces the image's own torch, and leaves no options or variables behind.
# In a notebook it sees to JupyterLab too (notebooks/requirements.txt).
(
    IFS=$' \t\n'
    image="pytorch/pytorch:2.13.0-cuda13.0-cudnn9-devel"
    fail() {
        echo "startup-hook: $1" >&2
        exit 1
    }
    refuse() {
        fail "$1; use the image $image (environment.image)"
    }
    here="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)" || fail "its own directory is not there"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        refuse "Python 3.11 or newer is needed, found $(python3 --version 2>&1 || true)"
    torch="$(python3 -c 'import torch; from importlib.metadata import version; print(version("torch"))' 2>/dev/null)" ||
        refuse "torch is not installed or does not import"
    case "$torch" in
    [01].* | 2.[0-5].*) refuse "torch 2.6 or newer is needed, found $torch" ;;
    esac

    pins=("$here/requirements.txt")
    # Determined sets this in its notebooks and starts `jupyter lab` there.
    [ -z "${NOTEBOOK_PORT:-}" ] || pins+=("$here/notebooks/requirements.txt")
    missing="$(python3 - "${pins[@]}" <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

for path in sys.argv[1:]:
    for line in open(path, encoding="utf-8"):
        name, _, wanted = line.split("#")[0].strip().partition("==")
        if not name or name == "torch":
            continue
        try:
            found = version(name).partition("+")[0]  # an image's own build of the same version
        except PackageNotFoundError:
            found = None
        if found != wanted:
            print(f"{name}=={wanted}")
PYTHON
    )" || fail "could not read ${pins[*]}"
    [ -n "$missing" ] || exit 0

    constraints="$(mktemp)" || fail "could not make a temporary file"
    trap 'rm -f "$constraints"' EXIT
    echo "torch==$torch" >"$constraints"
    options=(--quiet --constraint "$constraints")
    # NGC images constrain packages to their own versions; the pins here were tested together.
    unset PIP_CONSTRAINT
    # In a task this is a directory of the task's own, before the image's packages on the path. What
    # is installed there changes nothing that the image's user may not write or that Debian manages
    # (PEP 668). Elsewhere pip decides: it falls back to --user by itself, and Debian's refusal stands.
    if [ -n "${PYTHONUSERBASE:-}" ] && python3 -c 'import site, sys; sys.exit(not site.ENABLE_USER_SITE)'; then
        options+=(--user)
        export PIP_BREAK_SYSTEM_PACKAGES=1
    fi
    echo "startup-hook: installing ${missing//$'\n'/, }" >&2
    for attempt in 1 2 3; do
        # shellcheck disable=SC2086 # one word for each requirement is meant
        if python3 -m pip install "${options[@]}" $missing; then
            exit 0
        fi
        echo "startup-hook: pip failed (attempt $attempt of 3)" >&2
        [ "$attempt" = 3 ] || sleep $((attempt * ${STARTUP_HOOK_PAUSE_S:-10}))
    done
    fail "could not install ${missing//$'\n'/, }"
) || exit 1
