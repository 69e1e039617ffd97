"""Arrays of a walk: in memory up to a limit, beyond it in memory-mapped files."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Scratch:
    """Arrays in memory up to a limit; further ones are mapped from files of a folder.

    The files have no name, so the system frees them with their arrays, and after a kill too.

    Args:
        folder: on a fast local disk; it is created with the first file.
        memory: bytes of all arrays that stay in memory.
    """

    def __init__(self, folder: Path, memory: int) -> None:
        self._folder, self._left = folder, memory

    def empty(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Allocate an array; its content is undefined."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        if size <= self._left or not size:
            self._left -= size
            return np.empty(shape, kind)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return np.memmap(file, kind, "w+", shape=shape).view(np.ndarray)
