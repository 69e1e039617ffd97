"""The commit log of a home on object storage: which objects were written or deleted, in order.

One small object per commit, `commits/<number>.json`, numbered without a gap: a commit is the writing of the next number
on condition that it does not exist. A reader asks for the number after the last one that it has read, so it needs no
list, which can lag: what is committed is seen by the next reader.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from personahub_assets.core.errors import StoreError
from personahub_assets.store.objects import Conflict, Objects, Version

FOLDER = "commits/"

Changes = Mapping[str, Version | None]
"""By key, the version of an object that was written; None if it was deleted."""


@dataclass(frozen=True)
class Commits:
    """The commit log of a home."""

    objects: Objects

    def after(self, number: int) -> Iterator[tuple[int, Changes]]:
        """The commits that follow one, with their numbers.

        Raises:
            AccessError: if the server cannot be asked.
            StoreError: if a commit is damaged.
        """
        while (stored := self.objects.read(_key(number + 1))) is not None:
            number += 1
            yield number, self._parsed(number, stored[0])

    def add(self, number: int, changes: Changes) -> bool:
        """Write the commit with a number; return false if another one has this number.

        Raises:
            AccessError: if the server cannot be asked; the commit can have been written.
        """
        written = {key: None if new is None else [new.etag, new.size, new.sha256] for key, new in changes.items()}
        # The id tells it from a commit of the same changes by another worker.
        content = json.dumps({"id": uuid.uuid4().hex, "changes": written}).encode()
        try:
            self.objects.write(_key(number), content, "absent")
        except Conflict:
            return False
        return True

    def last(self) -> int:
        """The number of the last commit; 0 if there is none. It takes some 2 log2(n) requests, and no list.

        Raises:
            AccessError: if the server cannot be asked.
        """
        above = 1
        while self._exists(above):
            above *= 2
        below = above // 2
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self._exists(middle) else (below, middle)
        return below

    def changes(self, number: int) -> Changes:
        """One commit.

        Raises:
            StoreError: if it is missing or damaged.
        """
        stored = self.objects.read(_key(number))
        if stored is None:
            raise StoreError(
                f"{self.objects.url}/{_key(number)} is missing: put a copy back; commits are never deleted"
            )
        return self._parsed(number, stored[0])

    def _exists(self, number: int) -> bool:
        return number == 0 or self.objects.head(_key(number)) is not None

    def _parsed(self, number: int, content: bytes) -> Changes:
        try:
            changes = json.loads(content)["changes"]
            return {key: None if new is None else Version(*new) for key, new in changes.items()}
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self.objects.url}/{_key(number)} is damaged: put a copy back ({error})") from error


def _key(number: int) -> str:
    return f"{FOLDER}{number:012d}.json"
