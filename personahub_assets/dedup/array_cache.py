"""A cache of arrays on disk: written to a temporary folder, verified by hash before use, memory-mapped."""

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from personahub_assets.core.access import errno_of, obstacle
from personahub_assets.core.errors import AccessError
from personahub_assets.store.atomic import aside_name
from personahub_assets.store.hashes import sha256
from personahub_assets.store.removal import discard, remove

Arrays = dict[str, npt.NDArray[Any]]

_MANIFEST = "manifest.json"


def cached(folder: Path, stamp: str, make: Callable[[], Mapping[str, npt.NDArray[Any]]]) -> Arrays:
    """Open the arrays of a folder; make them first if they are missing, damaged, or of another stamp.

    Args:
        folder: contains one `.npy` file per array, and no other files.
        stamp: identifies the input of the arrays.
        make: called without arguments; computes the arrays.

    Returns:
        Arrays mapped into memory, read-only.
    """
    arrays = opened(folder, stamp)
    if arrays is None:
        save(folder, stamp, make())
        arrays = opened(folder, stamp)
    assert arrays is not None, f"{folder} cannot be read back"
    return arrays


def save(folder: Path, stamp: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace the contents of a folder with arrays."""
    aside = folder.with_name(f".{folder.name}.{aside_name()}")
    aside.mkdir(parents=True)
    try:
        for name, array in arrays.items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
        hashes = {name: sha256(aside / f"{name}.npy") for name in arrays}
        (aside / _MANIFEST).write_text(json.dumps({"stamp": stamp, "sha256": hashes}))
        remove(folder)
        aside.rename(folder)
    finally:
        discard(aside)


def opened(folder: Path, stamp: str) -> Arrays | None:
    """Open the arrays of a folder; None if they are missing, damaged, or of another stamp.

    Raises:
        AccessError: if they exist and cannot be opened.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        if manifest["stamp"] != stamp:
            return None
        files = {name: folder / f"{name}.npy" for name in manifest["sha256"]}
        if any(sha256(files[name]) != wanted for name, wanted in manifest["sha256"].items()):
            return None
        return {name: _mapped(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if errno_of(error) in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            return None
        # If access is denied, recomputed arrays could not be read either.
        raise AccessError(obstacle(error, folder) or str(error)) from error


def _mapped(file: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except ValueError:  # an empty array cannot be mapped
        return np.asarray(np.load(file, allow_pickle=False))
