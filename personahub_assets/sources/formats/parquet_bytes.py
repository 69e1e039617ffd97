"""Read strings of Parquet files as bytes, so that invalid UTF-8 is a fault of its row only.

Readers refuse a page or a dictionary with a bad string. The footer marks string columns; here the marks are removed
while reading. The file is not changed.
"""

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec.spec import AbstractFileSystem

PREFIX = "unannotated://"
"""Protocol prefix of a path for connections with `Unannotated`."""

# Thrift compact protocol: ConvertedType UTF8, optional field id, LogicalType String, end of the element.
_STRING = re.compile(rb"\x25\x00(?:\x4c\x1c|(\x35[\x80-\xff]*[\x00-\x7f])\x1c\x1c)(?=\x00\x00\x00)")
_TAIL = 8  # bytes: the length of the footer, and PAR1


def _unannotate(element: re.Match[bytes]) -> bytes:
    """Replace the marks in the same number of bytes: a scale of 0, which bytes ignore, and the logical type BSON."""
    field_id = element[1]
    return b"\x35\x00" + (b"\x25" + field_id[1:] + b"\x1c\xdc" if field_id else b"\x3c\xdc")


class _File(io.FileIO):
    """A file with a replaced footer of the same length."""

    def __init__(self, path: str):
        super().__init__(path)
        end = self.seek(-_TAIL, io.SEEK_END)
        size = min(int.from_bytes(super().read(4), "little"), end)
        self._at = self.seek(end - size)
        self._footer = _STRING.sub(_unannotate, super().read(size))
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; those of the footer come from the replaced one."""
        at = self.tell()
        data = bytearray(super().read(-1 if size is None else size))
        first, last = max(at, self._at), min(at + len(data), self._at + len(self._footer))
        if first < last:
            data[first - at : last - at] = self._footer[first - self._at : last - self._at]
        return bytes(data)


class Unannotated(AbstractFileSystem):  # type: ignore[misc]
    """Local files without marks of strings, for DuckDB, which does not close them."""

    protocol = PREFIX.removesuffix("://")
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[_File] = []

    def close(self) -> None:
        """Close all files."""
        for file in self._opened:
            file.close()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Information about a file."""
        local = self._strip_protocol(path)
        return {"name": path, "size": Path(local).stat().st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Time of the last change of a file."""
        return datetime.fromtimestamp(Path(self._strip_protocol(path)).stat().st_mtime, UTC)

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: patterns are not supported."""
        return [path]

    def _open(self, path: str, _mode: str = "rb", **_: Any) -> _File:
        self._opened.append(_File(self._strip_protocol(path)))
        return self._opened[-1]
