"""A cache of arrays on disk: written to a temporary folder, verified by hash before use, memory-mapped.

A file is hashed again only if its size, times or inode are others than when it was verified.
"""

import errno
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from personahub_assets.core.access import errno_of, obstacle
from personahub_assets.core.errors import AccessError
from personahub_assets.dedup.merging import Streamed
from personahub_assets.store.atomic import aside_name, replacing
from personahub_assets.store.hashes import SETTLED_NS, file_mark, sha256
from personahub_assets.store.removal import discard, remove

Arrays = dict[str, npt.NDArray[Any]]
Pieces = npt.NDArray[Any] | Sequence[npt.NDArray[Any]] | Streamed
"""An array, or arrays that are written one after another as one, without a copy of all in memory."""

_MANIFEST = "manifest.json"
_MARKS = "marks.json"


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


def save(folder: Path, stamp: str, arrays: Mapping[str, Pieces]) -> None:
    """Replace the contents of a folder with arrays."""
    aside = folder.with_name(f".{folder.name}.{aside_name()}")
    aside.mkdir(parents=True)
    try:
        for name, array in arrays.items():
            _write(aside / f"{name}.npy", array)
        hashes = {name: sha256(aside / f"{name}.npy") for name in arrays}
        (aside / _MANIFEST).write_text(json.dumps({"stamp": stamp, "sha256": hashes}))
        remove(folder)
        aside.rename(folder)
    finally:
        discard(aside)


def opened(folder: Path, stamp: str, *, may_write: bool = True) -> Arrays | None:
    """Open the arrays of a folder; None if they are missing, damaged, or of another stamp.

    Args:
        folder: as for `cached`.
        stamp: as for `cached`.
        may_write: whether to note that the files were verified.

    Raises:
        AccessError: if they exist and cannot be opened.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        if manifest["stamp"] != stamp:
            return None
        hashes = dict(manifest["sha256"].items())
        files = {name: folder / f"{name}.npy" for name in hashes}
        if not _are_intact(folder, files, hashes, may_write=may_write):
            return None
        return {name: _mapped(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if errno_of(error) in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            return None
        # If access is denied, recomputed arrays could not be read either.
        raise AccessError(obstacle(error, folder) or str(error)) from error


def _write(file: Path, array: Pieces) -> None:
    if isinstance(array, np.ndarray):
        np.save(file, array, allow_pickle=False)
        return
    if isinstance(array, Streamed):
        shape, kind, pieces = (array.rows,), array.kind, array.pieces()
    else:
        shape, kind, pieces = (sum(map(len, array)), *array[0].shape[1:]), array[0].dtype, iter(array)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for piece in pieces:
            np.ascontiguousarray(piece, kind).tofile(out)


def _are_intact(folder: Path, files: Mapping[str, Path], wanted: Mapping[str, str], *, may_write: bool) -> bool:
    """Whether all files have their hashes; what was verified is noted by the marks of the files."""
    started = time.time_ns()
    marks = {name: file_mark(file) for name, file in files.items()}
    noted = _noted(folder / _MARKS)
    unknown = [name for name in files if noted.get(name) != marks[name]]
    if any(sha256(files[name]) != wanted[name] for name in unknown):
        return False
    if may_write and unknown and all(mark[2] < started - SETTLED_NS for mark in marks.values()):
        # The home can be read-only: then the files are read again next time.
        with suppress(OSError), replacing(folder / _MARKS, sync=False) as file:
            file.write_text(json.dumps(marks))
    return True


def _noted(file: Path) -> dict[str, list[int]]:
    with suppress(OSError, ValueError):
        noted = json.loads(file.read_text())
        if isinstance(noted, dict):
            return noted
    return {}


def _mapped(file: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except ValueError:  # an empty array cannot be mapped
        return np.asarray(np.load(file, allow_pickle=False))
