"""Kernels: functions that numba compiles at the first call, cached on disk for later processes.

Numba checks only the file of a function for changes, not the files of the functions that it calls: after an update a
kernel would use an old version of another. So all cached kernels are deleted if a file with kernels changes. (If this
folder is read-only, numba uses the user's cache; there an update changes every file.)
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

SOURCES = (
    "cells",
    "codec",
    "cosines",
    "device",
    "int8",
    "keepers",
    "kernels",
    "lexical",
    "scan",
    "signatures",
    "wordsets",
)
"""Modules beside this one with kernels."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called.

    Division by zero gives infinity or NaN, as in NumPy.
    """
    return njit(cache=_drop_those_of_other_sources(), nogil=True, error_model="numpy")(function)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view, so that kernels are compiled once for arrays in memory and memory-mapped files."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view = view[:]
    view.flags.writeable = False
    return view


def is_compiled(function: Any) -> bool:
    """Whether a kernel was compiled before: in this process, or in another one that left it on disk."""
    stats = getattr(function, "stats", None)  # none if NUMBA_DISABLE_JIT is set
    if stats is None or function.signatures:
        return True
    name = f"{function.py_func.__module__.rpartition('.')[2]}.{function.py_func.__qualname__}-*.nbi"
    return any(Path(stats.cache_path).glob(name))


@cache
def _drop_those_of_other_sources(folder: Path = Path(__file__).parent) -> bool:
    """Delete outdated kernels; return whether kernels can be cached here: not if outdated ones cannot be deleted."""
    mark = folder / "__pycache__" / "kernels.sha256"
    sources = hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()
    try:
        if mark.exists() and mark.read_text() == sources:
            return True
        for kept in mark.parent.glob("*.nb[ic]"):
            kept.unlink(missing_ok=True)
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(sources)
    except OSError:  # another user's folder: numba caches elsewhere, unless it finds kernels here
        return not any(mark.parent.glob("*.nb[ic]"))
    return True
