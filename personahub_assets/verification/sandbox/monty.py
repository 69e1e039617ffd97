"""The sandbox of pydantic-monty: an interpreter for a part of Python without files, network or processes.

It runs in worker processes, which are replaced when they end or exceed a limit. Its own limits hold for the objects of
a program; the memory of the worker is limited by the operating system besides.
"""

import builtins
import re
import time
from contextlib import suppress
from typing import Any

import pydantic_monty
from pydantic_monty import (
    CollectString,
    Monty,
    MontyCrashedError,
    MontyError,
    MontySession,
    MontySyntaxError,
)

from personahub_assets.verification.sandbox.programs import (
    LIMITS,
    Call,
    Limits,
    ProgramResult,
    Reason,
    Status,
    described,
    finished,
    refusal,
)

_NO_VALUE = "\n\nNone\n"
"""Added to a program, so that no object of it is copied into this process."""
_WORKER_MB = 448
"""Memory of a worker beside the objects of a program: the interpreter and its stacks."""
_GRACE_S = 0.5
_UNSUPPORTED = re.compile(
    r"does not yet support|not yet supported|not supported in this environment|Internal error in monty"
)
_NO_NAME = re.compile(r"name '(\w+)' is not defined")
_NO_ATTRIBUTE = re.compile(
    r"(?:type object )?'(\w+)' (?:object )?has no attribute '(\w+)'|module '[\w.]+' has no attribute"
)
_FILE_ERRORS = {"PermissionError", "FileNotFoundError", "IsADirectoryError", "NotADirectoryError", "FileExistsError"}
_BY_NAME = {
    "TimeoutError": (Status.ERROR, Reason.TIME),
    "MemoryError": (Status.ERROR, Reason.MEMORY),
    "RecursionError": (Status.ERROR, Reason.RECURSION),
    "ModuleNotFoundError": (Status.UNSUPPORTED, Reason.MODULE),
    "ImportError": (Status.UNSUPPORTED, Reason.MODULE),
    **dict.fromkeys(_FILE_ERRORS, (Status.UNSUPPORTED, Reason.FILES)),
}


class MontySandbox:
    """Workers that run programs; use it as a context manager, from any number of threads."""

    def __init__(self, limits: Limits = LIMITS, processes: int = 2):
        self.limits = limits
        self._monty = Monty(
            max_processes=processes,
            # A deadline for what the interpreter does not count, such as parsing.
            request_timeout=limits.seconds + 2 * _GRACE_S,
            feed_duration_limit_grace=_GRACE_S,
        )

    def __enter__(self) -> "MontySandbox":
        self._monty.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._monty.__exit__(*error)

    def run(self, code: str, entry: str | Call | None = None) -> ProgramResult:
        """Run a program; see `Sandbox.run`."""
        if refused := refusal(code, entry):
            return refused
        started = time.perf_counter()
        output, value = CollectString(self.limits.output_chars), None
        ended = (Status.PASSED, Reason.NONE, "")
        try:
            value = self._run(code, entry, output)
        except MontyError as error:
            ended = _classified(error, len(output.output) >= self.limits.output_chars // 2)
        return finished(ProgramResult(*ended, output.output, value, time.perf_counter() - started), self.limits)

    def _run(self, code: str, entry: str | Call | None, output: CollectString) -> str | None:
        with self._monty.checkout(limits=self._monty_limits(), assert_message_annotations=False) as session:
            _bound_memory(session, self.limits.memory_mb + _WORKER_MB)
            session.feed_run(code + _NO_VALUE, print_callback=output)
            if entry is None:
                return None
            source, inputs = _snippet(entry)
            # An f-string is text whatever the names of the program mean, and the slice bounds it.
            source += f"\nf'{{_value!s}}'[:{self.limits.value_chars}]"
            return str(session.feed_run(source, inputs=inputs, print_callback=output))

    def _monty_limits(self) -> pydantic_monty.ResourceLimits:
        return {
            "max_feed_duration_secs": self.limits.seconds,
            "max_memory": self.limits.memory_mb << 20,
            "max_recursion_depth": self.limits.recursion,
            "max_suspensions": 1,
            "max_total_sleep_secs": 0.0,
        }


def _snippet(entry: str | Call) -> tuple[str, dict[str, Any]]:
    """Source that sets `_value`, with its inputs."""
    if isinstance(entry, str):
        return f"_value = {entry}", {}
    # The imported name belongs to this snippet, whatever the program calls it.
    source = f"import json as _json\n_value = _json.dumps({entry.function}(**_arguments))"
    return source, {"_arguments": entry.arguments}


def _bound_memory(session: MontySession, megabytes: int) -> None:
    """Limit the address space of a worker; systems without `prlimit` have only the limit of the interpreter."""
    import resource

    pid = session.worker_pid
    if pid is not None and hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it has ended, or has a lower limit
            resource.prlimit(pid, resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


def _classified(error: MontyError, is_flooded: bool) -> tuple[Status, Reason, str]:
    """The status and reason of a program that Monty ended."""
    if isinstance(error, MontyCrashedError):
        reason = Reason.TIME if error.timed_out else Reason.CRASH
        return Status.ERROR, reason, described(str(error))
    if isinstance(error, MontySyntaxError):
        return Status.ERROR, Reason.SYNTAX, described(str(error))
    name, message = type(error.exception()).__name__, str(error)[:2_000]
    if name == "MemoryError" and is_flooded:
        return Status.ERROR, Reason.OUTPUT, "it prints too much"
    if _is_missing_feature(name, message):
        return Status.UNSUPPORTED, Reason.FEATURE, described(message)
    if "is not JSON serializable" in message or "surrogates not allowed" in message:
        return Status.ERROR, Reason.VALUE, described(message)
    status, reason = _BY_NAME.get(name, (Status.ERROR, Reason.EXCEPTION))
    return status, reason, described(message)


def _is_missing_feature(name: str, message: str) -> bool:
    """Whether Python has what the program used, and Monty does not."""
    if _UNSUPPORTED.search(message):
        return True
    if name == "NameError" and (match := _NO_NAME.search(message)):
        return hasattr(builtins, match[1]) or _is_special(match[1])
    if name == "AttributeError" and (match := _NO_ATTRIBUTE.search(message)):
        kind, attribute = match.groups()
        return kind is None or _is_special(attribute) or hasattr(getattr(builtins, kind, None), attribute)
    return False


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
