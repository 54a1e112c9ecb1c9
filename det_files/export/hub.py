"""`--push`: the exported directory uploaded to the Hugging Face Hub.

The token is the environment's or the hub's own login (`hf auth login`); there is no flag for it,
because a command line is seen by everyone on a machine and kept in a shell's history.
"""

from __future__ import annotations

from pathlib import Path

from det_files.faults import ConfigError, Fault, Faults

WHERE = "--push"


def find_push_faults(repo_id: str, faults: Faults) -> None:
    """Notes why nothing can be pushed: a bad name, or no token; the hub is not asked."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        faults.add(WHERE, str(error).splitlines()[0])
    if get_token() is None:
        faults.add(WHERE, "no token: set HF_TOKEN in the environment, or run `hf auth login`")


def push(directory: Path, repo_id: str) -> str:
    """Uploads a directory and returns its address; a repository that is not there is made private.

    Raises:
        ConfigError: the hub cannot be reached, or refuses.
    """
    import httpx2  # the hub client's own; its network errors are no OSError
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=directory, commit_message="Upload of det_files.export"
        )
    except (httpx2.HTTPError, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"{repo_id} was not pushed, {directory} is whole: {lines[0]}"
        raise ConfigError(Fault(WHERE, reason)) from error
    return str(done.commit_url)
