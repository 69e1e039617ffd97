"""Upload a release to the Hugging Face Hub, as a dataset."""

import os
import re
from importlib.util import find_spec

from personahub_assets.core.addresses import redact
from personahub_assets.core.errors import ArgumentError, ConfigError, StoreError
from personahub_assets.releases.folder import Release, verify

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def push(release: Release, repository: str, *, is_public: bool = False) -> str:
    """Upload all files of a release in one commit, and return the address of the dataset.

    The dataset then has the files of this release and no others; its history keeps earlier commits. The token is taken
    from `HF_TOKEN` or `hf auth login`, the server from `HF_ENDPOINT`.

    Args:
        release: must be unchanged.
        repository: `OWNER/NAME`; created if there is none.
        is_public: whether a new dataset is public.

    Raises:
        ConfigError: if the name is not valid, or huggingface-hub is not installed.
        StoreError: if the release was changed, or the server refuses it.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ArgumentError(f"{repository!r} is not the name of a dataset: use OWNER/NAME, such as my-team/personas")
    if find_spec("huggingface_hub") is None:
        raise ConfigError("--push needs huggingface-hub: pip install 'personahub-assets[hub]'")
    if faults := verify(release):
        raise StoreError(f"release {release.name!r} was changed and is not uploaded: {faults[0]}")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        dataset = api.create_repo(repository, repo_type="dataset", private=not is_public, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=release.path,
            commit_message=f"Release {release.name}",
            delete_patterns="*",
        )
    except LocalTokenNotFoundError as error:
        raise ConfigError("no token for the Hugging Face Hub: set HF_TOKEN, or run `hf auth login`") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise StoreError(_refusal(repository, error)) from error
    return str(dataset)


def _refusal(repository: str, error: Exception) -> str:
    message = redact(" ".join(str(error).split()), os.environ.get("HF_TOKEN", ""))
    status = getattr(getattr(error, "response", None), "status_code", None)
    remedy = {
        401: "set HF_TOKEN to a token that may write, or run `hf auth login`",
        403: "use a token that may write to that owner's datasets",
    }.get(status or 0, "nothing of this release was published; push it again")
    return f"the release could not be uploaded to {repository}: {message.rstrip('.')}: {remedy}"
