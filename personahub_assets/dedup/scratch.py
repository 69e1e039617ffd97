"""Arrays of a walk: in memory up to a limit, beyond it in memory-mapped files."""

import math
import mmap
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


def release(array: npt.NDArray[Any]) -> None:
    """Give back the memory of a contiguous array that is mapped from a file; it is read from the file again if needed.

    Pages of a mapped file count as memory of the process until the system needs them, and some systems end a process
    that has too many. An array in memory is left alone.
    """
    base: Any = array
    mode = ""
    while base is not None and not isinstance(base, mmap.mmap):
        mode = getattr(base, "mode", mode)
        base = getattr(base, "base", None)
    # Changes of a copy on write would be lost.
    if base is None or mode == "c" or not array.size or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = array.__array_interface__["data"][0] - np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    first = begin - begin % mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, first, min(begin + array.nbytes, len(base)) - first)
