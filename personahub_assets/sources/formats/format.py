"""What every format of source files has.

A format is one subclass of `Format` in a file of this folder, and one line in `FORMATS` of `formats/__init__.py`.
Nothing else in the package knows a suffix, a reader or a way to overwrite rows.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.streams import COMPRESSIONS
from personahub_assets.sources.rows import RawRow

REMEDY = "remove this file and run the same takedown again"
"""What to do with a file whose rows cannot be blanked."""


class Format(ABC):
    """A format of source files; a subclass that lacks anything is refused when it is defined.

    Attributes:
        name: as the table `batches` stores it.
        title: as help texts and pages write it.
        suffixes: of file names, in lower case, without the dot.
        row: what is a row of such a file, as docs/source-files.md says it.
        compressions: suffixes that may follow, such as `gz`.
        unread: suffixes of related files that are refused, and what to do instead.
        errors: what reading a damaged file raises, beyond OSError and what decompression raises.
        has_personas: whether a row may be a ready persona rather than a document.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    row: ClassVar[str]
    compressions: ClassVar[tuple[str, ...]] = COMPRESSIONS
    unread: ClassVar[Mapping[str, str]] = {}
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    has_personas: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if lacking := _lacking(cls):
            summaries = "".join(f"\n  {name}: {summary}" for name, summary in lacking.items() if summary)
            lacks = f"the source format {cls.__qualname__} lacks {', '.join(lacking)}"
            raise TypeError(f"{cls.__module__}: {lacks}; see {__name__}{summaries}")

    @abstractmethod
    def survey(self, path: Path, rows_per_slice: int, limit: int) -> Layout:
        """Read a file once and cut its rows into slices.

        Args:
            rows_per_slice: rows of a slice at most.
            limit: bytes of a row that are held in memory at most.

        Raises:
            SourceError: if it cannot be read as this format.
        """

    @abstractmethod
    def read(self, path: Path, part: Slice, limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice, exactly `part.rows` of them; one that cannot be read comes with its reason.

        Args:
            limit: bytes of a row that are held in memory at most.
        """

    @abstractmethod
    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Write a file anew with some rows blanked; they stay rows, and every other row stays as it is.

        Args:
            aside: where to write.
            numbers: of the rows, from 0, in the whole file.
            options: how the file is read: those of its slices, without what differs between slices.

        Raises:
            SourceError: if a row cannot be blanked, with the remedy.
        """

    @abstractmethod
    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a file with one document per text, compressed as its name says: what the format is tested on."""

    def describe(self, _options: dict[str, Any]) -> str:
        """Say how a file is read, by the options of its slices; empty where there is only one way."""
        return ""


def _lacking(cls: type[Format]) -> dict[str, str]:
    """The attributes and methods that a format does not have, methods with what they do."""
    attributes = {name: "" for name in Format.__annotations__ if not hasattr(cls, name)}
    methods = [name for name in vars(Format) if name in Format.__abstractmethods__]
    missing = [name for name in methods if getattr(cls, name) is getattr(Format, name)]
    return attributes | {name: (inspect.getdoc(getattr(Format, name)) or "").splitlines()[0] for name in missing}
