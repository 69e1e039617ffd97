"""Byte streams of source files: decompressed with bounded memory, decoded to UTF-8, reused by the next slice.

Compressed files and files that are not UTF-8 have no random access. So the stream of a slice is kept open, and the next
slice continues there: all slices of a file cost one pass. A stream is reused only while its file is unchanged.
"""

import atexit
import bz2
import codecs
import gzip
import io
import lzma
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from backports import zstd

_CHUNK = 1 << 20
_COMPRESSED = 1 << 16  # compressed bytes at a time
_MAX_WINDOW = 128 << 20  # memory limit of a decompressor: enough for the default options of `zstd` and `xz`
_KEPT_OPEN = 4

DAMAGED = (EOFError, zlib.error, zstd.ZstdError, lzma.LZMAError)
"""Exceptions of damaged compressed files, besides OSError."""


class _Decompressed(io.RawIOBase):
    """The decompressed bytes of a file of several frames, with no more in memory than requested."""

    def __init__(self, raw: IO[bytes], make: Callable[[], Any]):
        self._raw, self._make, self._frame = raw, make, make()
        self._rest, self._is_within = b"", False

    def readable(self) -> bool:
        """True; needed by BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 only at the end of the last frame."""
        while True:
            if self._frame.eof:
                self._rest, self._frame, self._is_within = self._skip_padding(), self._make(), False
            data = self._input()
            if not data and self._frame.needs_input:
                return self._end()
            output = self._frame.decompress(data, len(buffer))
            if output:
                buffer[: len(output)] = output
                return len(output)

    def _skip_padding(self) -> bytes:
        """The bytes after a frame, without zero padding, which .xz allows."""
        unused = bytes(self._frame.unused_data).lstrip(b"\0")
        while not unused and (data := self._raw.read(_COMPRESSED)):
            unused = data.lstrip(b"\0")
        return unused

    def _input(self) -> bytes:
        if not self._frame.needs_input:
            return b""
        data, self._rest = self._rest or self._raw.read(_COMPRESSED), b""
        self._is_within = self._is_within or bool(data)
        return data

    def _end(self) -> int:
        if self._is_within:
            raise EOFError("the compressed file ends within a frame")
        return 0


def _xz() -> Any:
    return lzma.LZMADecompressor(memlimit=_MAX_WINDOW)


def _zst() -> Any:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW.bit_length() - 1})


_FRAMES: dict[str, Callable[[], Any]] = {".bz2": bz2.BZ2Decompressor, ".xz": _xz, ".zst": _zst}
COMPRESSIONS = ("gz", "zst", "bz2", "xz")


def is_plain(path: Path) -> bool:
    """Whether a file is not compressed, so that byte offsets can be used."""
    return path.suffix.lower().lstrip(".") not in COMPRESSIONS


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading its decompressed bytes."""
    file = _open(path)
    try:
        yield file
    finally:
        _close(file)


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    raw = path.open("rb")
    if suffix not in _FRAMES:
        return raw
    file = io.BufferedReader(_Decompressed(raw, _FRAMES[suffix]), _CHUNK)
    file.underlying = raw  # type: ignore[attr-defined]
    return cast(IO[bytes], file)


def _close(file: IO[bytes]) -> None:
    file.close()
    if raw := getattr(file, "underlying", None):
        raw.close()


class _Decoded(io.RawIOBase):
    """A text of another encoding as UTF-8; undecodable bytes are kept and reported per row."""

    def __init__(self, file: IO[bytes], encoding: str):
        self._file, self._ready = file, memoryview(b"")
        self._decoder = codecs.getincrementaldecoder(encoding)(_KEEP_BYTES)
        self._is_over = False

    def readable(self) -> bool:
        """True; needed by BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 only at the end."""
        while not self._ready and not self._is_over:
            data = self._file.read(_COMPRESSED)
            self._is_over = not data
            self._ready = memoryview(utf8(self._decoder.decode(data, final=self._is_over)))
        size = min(len(self._ready), len(buffer))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


_KEEP_BYTES = "personahub.keep_bytes"


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    """Turn undecodable bytes into lone surrogates, which do not occur in text."""
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) if byte > 0x7F else chr(0xDC80 + byte) for byte in bad), error.end


codecs.register_error(_KEEP_BYTES, _keep_bytes)


def utf8(text: str) -> bytes:
    """Encode text; undecoded bytes become bytes that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate of UTF-16
        return text.encode("utf-8", "surrogatepass")


class _OldLineEnds(io.RawIOBase):
    """Bytes with each CR replaced by LF."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def readable(self) -> bool:
        """True; needed by BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        data = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


class Stream:
    """UTF-8 bytes of a source file; `at` is the number of bytes read.

    Args:
        encoding: encoding of the file, if it is not UTF-8.
        has_old_line_ends: whether lines end with CR, as on old Macs.
    """

    def __init__(self, path: Path, encoding: str = "utf-8", *, has_old_line_ends: bool = False):
        self.at, self._unread = 0, b""
        self._base = _open(path)
        self._file = self._base
        if encoding not in ("utf-8", "ascii"):
            self._file = cast(IO[bytes], io.BufferedReader(_Decoded(self._file, encoding), _CHUNK))
        if has_old_line_ends:
            self._file = cast(IO[bytes], io.BufferedReader(_OldLineEnds(self._file), _CHUNK))
        self.can_seek = self._file is self._base and is_plain(path)

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end."""
        data, self._unread = self._unread[:size], self._unread[size:]
        data = data or self._file.read(size)
        self.at += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Return bytes that were read ahead."""
        self._unread = data + self._unread
        self.at -= len(data)

    def readline(self, limit: int) -> bytes:
        """Read a line, or its first `limit` bytes."""
        line = self._file.readline(limit)
        self.at += len(line)
        return line

    def skip_line(self) -> bytes:
        """Skip to the end of a line; return its last bytes."""
        piece = last = self.readline(_CHUNK)
        while piece and not piece.endswith(b"\n"):
            last, piece = piece, self.readline(_CHUNK)
        return piece or last

    def go(self, at: int) -> None:
        """Move forward to a byte."""
        if self.can_seek:
            self._file.seek(at)
            self.at = at
        while self.at < at and self.read(min(_CHUNK, at - self.at)):
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        _close(self._base)


class _Open:
    """Open streams, each at the end of a slice."""

    def __init__(self) -> None:
        self._lock, self._streams = threading.Lock(), list[tuple[tuple[Any, ...], Stream]]()

    def take(self, key: tuple[Any, ...], at: int) -> Stream | None:
        """Take the stream of a file that is nearest before a byte."""
        with self._lock:
            usable = [entry for entry in self._streams if entry[0] == key and entry[1].at <= at]
            if not usable:
                return None
            entry = max(usable, key=lambda entry: entry[1].at)
            self._streams.remove(entry)
            return entry[1]

    def keep(self, key: tuple[Any, ...], stream: Stream) -> None:
        """Keep a stream for the next slice; the least recently used one is closed."""
        with self._lock:
            self._streams.append((key, stream))
            evicted = self._streams[:-_KEPT_OPEN]
            del self._streams[:-_KEPT_OPEN]
        for _, old in evicted:
            old.close()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            streams, self._streams = self._streams, []
        for _, stream in streams:
            stream.close()


_kept = _Open()
atexit.register(_kept.close)


@contextmanager
def stream_at(path: Path, at: int, encoding: str = "utf-8", *, has_old_line_ends: bool = False) -> Iterator[Stream]:
    """Open a stream at a byte of the decompressed UTF-8 text; the stream of an earlier slice is reused."""
    status = path.stat()
    key = (path, status.st_ino, status.st_size, status.st_mtime_ns, encoding, has_old_line_ends)
    stream = _kept.take(key, at) if at else None
    if stream is None:
        stream = Stream(path, encoding, has_old_line_ends=has_old_line_ends)
    try:
        stream.go(at)
        yield stream
    except BaseException:
        stream.close()
        raise
    if stream.can_seek:
        stream.close()
    else:
        _kept.keep(key, stream)
