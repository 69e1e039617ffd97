"""CPU and wall seconds of a process and all that it started, between two moments."""

import os
import resource
import time
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures from `start` to `stop`; the second `stop` changes nothing.

    Processes that have ended count through their parent, those that still run through /proc.
    """

    def __init__(self) -> None:
        self.began: tuple[float, float] | None = None
        self.ended: tuple[float, float] | None = None

    def start(self) -> None:
        self.began = (time.time(), tree_cpu_s(os.getpid()))

    def start_at(self, wall: float, cpu_s: float) -> None:
        """Start at a moment that another process of the tree noted."""
        self.began = (wall, cpu_s)

    def stop(self) -> None:
        if self.ended is None:
            self.ended = (time.time(), tree_cpu_s(os.getpid()))

    def page(self) -> dict[str, Any]:
        if self.began is None or self.ended is None:
            return {"cpu_s": None, "wall_s": None}
        wall, cpu = (after - before for before, after in zip(self.began, self.ended, strict=True))
        return {"cpu_s": round(cpu, 4), "wall_s": round(wall, 4)}


def tree_cpu_s(root: int) -> float:
    """CPU seconds, user and system, of a process, its descendants and those of them that have ended."""
    if root == os.getpid():
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    else:
        own = _used(root)
    return own + sum(_used(pid) for pid in _descendants(root))


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _used(pid: int) -> float:
    fields = _stat(pid)
    # utime, stime, cutime, cstime: the 14th to 17th of the line, which `_stat` starts at the third.
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may hold blanks; empty if the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
