"""The interface of a format of source files.

A format is one subclass of `Format` in a file of this folder, and one line in `FORMATS` of `formats/__init__.py`.
All suffixes, readers and ways to overwrite rows are there.
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
"""Remedy for a file whose rows cannot be blanked."""


class Format(ABC):
    """A format of source files; an incomplete subclass raises TypeError when it is defined.

    Attributes:
        name: name in the table `batches`.
        title: name in help texts and pages.
        suffixes: suffixes of file names, in lower case, without the dot.
        row: definition of a row of such a file, for docs/source-files.md.
        compressions: possible second suffixes, such as `gz`.
        unread: suffixes of related files that are refused, with the remedy.
        errors: exceptions of reading a damaged file, besides OSError and those of decompression.
        has_personas: whether a row can be an imported persona.
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
            rows_per_slice: maximum rows of a slice.
            limit: maximum bytes of a row in memory.

        Raises:
            SourceError: if the file cannot be read as this format.
        """

    @abstractmethod
    def read(self, path: Path, selected: Slice, limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice, exactly `selected.rows`; an unreadable row has a reason.

        Args:
            limit: maximum bytes of a row in memory.
        """

    @abstractmethod
    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Rewrite a file with some rows blanked; they remain rows, and all other rows are unchanged.

        Args:
            aside: path of the new file.
            numbers: numbers of the rows in the whole file, from 0.
            options: the common options of its slices.

        Raises:
            SourceError: if a row cannot be blanked, with the remedy.
        """

    @abstractmethod
    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a test file with one document per text, compressed by its suffix."""

    def describe(self, _options: dict[str, Any]) -> str:
        """Describe how a file is read, from the options of its slices; empty if there is only one way."""
        return ""


def _lacking(cls: type[Format]) -> dict[str, str]:
    """The missing attributes and methods of a format; methods with their descriptions."""
    attributes = {name: "" for name in Format.__annotations__ if not hasattr(cls, name)}
    methods = [name for name in vars(Format) if name in Format.__abstractmethods__]
    missing = [name for name in methods if getattr(cls, name) is getattr(Format, name)]
    return attributes | {name: (inspect.getdoc(getattr(Format, name)) or "").splitlines()[0] for name in missing}
