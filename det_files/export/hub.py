"""`--push`: the exported directory uploaded to the Hugging Face Hub.

The token is the environment's (HF_TOKEN) alone. There is no flag for it, because a command line is
seen by everyone on a machine and kept in a shell's history; and a login that somebody once stored
on this machine is not taken, so that nothing is published in another's name.
"""

from __future__ import annotations

import os
from pathlib import Path

from det_files.faults import ConfigError, Fault, Faults

WHERE = "--push"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # the hub's own, the second an older name


def find_push_faults(repo_id: str, faults: Faults) -> None:
    """Notes why nothing can be pushed: a bad name, no token, offline; the hub is not asked."""
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        faults.add(WHERE, str(error).splitlines()[0])
    if token_of_environment() is None:
        faults.add(WHERE, "no token: set HF_TOKEN in the environment")
    if is_offline_mode():
        faults.add(WHERE, "HF_HUB_OFFLINE is set: the hub will not be reached")


def token_of_environment() -> str | None:
    """The hub's token as a variable of the environment has it; None where there is none."""
    found = (os.environ.get(name, "").strip() for name in _VARIABLES)
    return next(filter(None, found), None)


def push(directory: Path, repo_id: str) -> str:
    """Uploads a directory and returns its address; a repository that is not there is made private.

    Raises:
        ConfigError: the hub cannot be reached, or refuses.
    """
    import httpx2  # the hub client's own; its network errors are no OSError
    from huggingface_hub import HfApi

    api = HfApi(token=token_of_environment() or False)  # False: and no stored one either
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=directory, commit_message="Upload of det_files.export"
        )
    except (httpx2.HTTPError, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = (
            f"{repo_id} was not pushed, {directory} is whole (`hf upload {repo_id} {directory}` "
            f"goes on from here): {lines[0]}"
        )
        raise ConfigError(Fault(WHERE, reason)) from error
    return str(done.commit_url)
