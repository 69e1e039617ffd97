"""Kernels: functions that numba compiles when they are first called, kept on disk for later processes.

Numba looks at the file of a function to see whether what it has kept still holds, not at the files of what that calls:
after an update a kernel would go on with an old form of another. So all are dropped when a file with kernels changes.
(Where this folder cannot be written numba keeps them in the user's cache; there an update changes every file.)
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

SOURCES = ("codec", "cosines", "int8", "keepers", "kernels", "lexical", "semantic", "signatures", "wordsets")
"""Modules beside this one with kernels."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called.

    Division by zero gives infinity or NaN, as in NumPy.
    """
    return njit(cache=_drop_those_of_other_sources(), nogil=True, error_model="numpy")(function)


@cache
def _drop_those_of_other_sources(folder: Path = Path(__file__).parent) -> bool:
    """Whether kernels may be kept here: not beside some of other sources that cannot be removed."""
    mark = folder / "__pycache__" / "kernels.sha256"
    sources = hashlib.sha256(b"".join((folder / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()
    try:
        if mark.exists() and mark.read_text() == sources:
            return True
        for kept in mark.parent.glob("*.nb[ic]"):
            kept.unlink(missing_ok=True)
        mark.parent.mkdir(exist_ok=True)
        mark.write_text(sources)
    except OSError:  # a folder of another user's: numba keeps its kernels elsewhere, unless it finds some here
        return not any(mark.parent.glob("*.nb[ic]"))
    return True
