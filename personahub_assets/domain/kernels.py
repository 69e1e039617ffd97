"""Kernels: functions that numba compiles when they are first called, kept on disk for later processes.

Numba looks at the file of a function to see whether what it has kept still holds, not at the files of what that calls:
after an update a kernel would go on with an old form of another. So they are kept in a folder named by all files that
have kernels, below this package's `__pycache__`, or in the user's cache where that cannot be written.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config

SOURCES = ("cosines", "keepers", "kernels", "lexical", "packed", "products", "semantic", "signatures", "wordsets")
"""Modules beside this one with kernels."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called.

    Division by zero gives infinity or NaN, as in NumPy.
    """
    settings = vars(config)  # numba's own, where the variables NUMBA_… have gone
    before = settings["CACHE_DIR"]
    settings["CACHE_DIR"] = str(_folder(before))
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        settings["CACHE_DIR"] = before


@cache
def _folder(chosen: str) -> Path:
    """Where kernels of these sources are kept; those of other sources are removed."""
    here = Path(__file__).parent
    hashed = hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()[:16]
    own = here / "__pycache__" if os.access(here, os.W_OK) else Path.home() / ".cache" / "personahub"
    base = Path(chosen) if chosen else own
    for old in base.glob("kernels-*"):
        if old.name != f"kernels-{hashed}":
            shutil.rmtree(old, ignore_errors=True)
    return base / f"kernels-{hashed}"
