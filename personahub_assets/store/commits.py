"""The commit log of a home on object storage: which objects were written or deleted, in order.

One small object per commit, `commits/<number>.json`, numbered without a gap: a commit is the writing of the next number
on condition that it does not exist. A reader asks for the number after the last one that it has read, so it needs no
list, which can lag: what is committed is seen by the next reader. A new one begins with the last checkpoint.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from personahub_assets.core.errors import AccessError, StoreError
from personahub_assets.store.objects import Conflict, Objects, Version

FOLDER = "commits/"
CHECKPOINT = 1_000
"""Commits between two checkpoints, with which a new worker begins."""

_MOST = 1 << 40  # commits; the names have twelve digits

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
            yield number, self._parsed(_key(number), stored[0])

    def add(self, number: int, changes: Changes) -> bool:
        """Write the commit with a number; return false if another one has this number.

        Raises:
            AccessError: if the server cannot be asked; the commit can have been written.
        """
        try:
            self.objects.write(_key(number), _content(changes), "absent")
        except Conflict:
            return False
        return True

    def last(self) -> int:
        """The number of the last commit; 0 if there is none. It takes some 2 log2(n) requests, and no list.

        Raises:
            AccessError: if the server cannot be asked, or answers as no object storage does.
        """
        above = 1
        while self.exists(above):
            above *= 2
            if above > _MOST:
                raise AccessError(
                    f"{self.objects.url} seems to have every commit: what answers is no object storage, but perhaps a "
                    "web page. Correct AWS_ENDPOINT_URL or the proxy; then run again"
                )
        below = above // 2
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.exists(middle) else (below, middle)
        return below

    def checkpoint(self) -> tuple[int, dict[str, Version]]:
        """The number of the last checkpoint, and the versions of all objects then; 0 and none without one.

        Raises:
            AccessError: if the server cannot be asked.
            StoreError: if it is damaged.
        """
        for number in range(self.last() // CHECKPOINT * CHECKPOINT, 0, -CHECKPOINT):
            # Who made that commit can have died before the checkpoint.
            if (stored := self.objects.read(_checkpoint(number))) is not None:
                versions = self._parsed(_checkpoint(number), stored[0])
                return number, {key: version for key, version in versions.items() if version is not None}
        return 0, {}

    @staticmethod
    def is_checkpoint(number: int) -> bool:
        """Whether a checkpoint follows the commit with a number."""
        return number % CHECKPOINT == 0

    def write_checkpoint(self, number: int, versions: Changes) -> None:
        """Write the versions of all objects after a commit.

        Raises:
            AccessError: if the server cannot be asked.
        """
        self.objects.write(_checkpoint(number), _content(versions), "any")

    def exists(self, number: int) -> bool:
        """Whether there is a commit with a number.

        Raises:
            AccessError: if the server cannot be asked.
        """
        return number == 0 or self.objects.head(_key(number)) is not None

    def _parsed(self, key: str, content: bytes) -> Changes:
        try:
            changes = json.loads(content)["changes"]
            return {key: None if new is None else Version(*new) for key, new in changes.items()}
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self.objects.url}/{key} is damaged: put a copy back ({error})") from error


def _content(changes: Changes) -> bytes:
    written = {key: None if new is None else [new.etag, new.size, new.sha256] for key, new in changes.items()}
    # The id tells a commit from one of the same changes by another worker.
    return json.dumps({"id": uuid.uuid4().hex, "changes": written}).encode()


def _checkpoint(number: int) -> str:
    return f"{FOLDER}{number:012d}.checkpoint.json"


def _key(number: int) -> str:
    return f"{FOLDER}{number:012d}.json"
