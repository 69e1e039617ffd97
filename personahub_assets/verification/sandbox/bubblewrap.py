"""The sandbox of bubblewrap: Python itself, in Linux namespaces without network, home, and writable files.

A program sees the standard library only. It cannot start processes (a seccomp filter) and is limited in time, memory
and output. The process that runs it is `harness.py`.
"""

import json
import os
import platform
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from personahub_assets.core.errors import ConfigError
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

_HARNESS = Path(__file__).with_name("harness.py")
_REMEDY = 'install bubblewrap (package "bubblewrap") and allow user namespaces, or set sandbox = "monty" in hub.toml'
_TIMED_OUT = (128 + signal.SIGALRM, 128 + signal.SIGXCPU, 128 + signal.SIGKILL)
"""Exit codes of bwrap when a limit of time ended the program."""
_START_S = 5.0
"""Time to start Python, besides the time of the program."""

# Numbers of system calls that start processes and threads, and the audit number of the architecture.
_FORKS = {
    "x86_64": (0xC000003E, (56, 57, 58, 435)),
    "aarch64": (0xC00000B7, (220, 435)),
}
_X32_BIT = 0x40000000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_NOT_BELOW, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refused calls fail with EPERM


class BubblewrapSandbox:
    """Programs in processes of their own; use it as a context manager, from any number of threads.

    Raises:
        ConfigError: at the start, if bubblewrap is missing or may not make namespaces.
    """

    def __init__(self, limits: Limits = LIMITS):
        self.limits = limits

    def __enter__(self) -> "BubblewrapSandbox":
        check_bubblewrap()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, code: str, entry: str | Call | None = None) -> ProgramResult:
        """Run a program; see `Sandbox.run`."""
        if refused := refusal(code, entry):
            return refused
        started = time.perf_counter()
        with _memory_file(code) as program, _memory_file(self._job(entry)) as job, _started(program, job) as process:
            output, report, is_late = self._read(process)
        ended = self._ended(report, len(output), is_late, process.returncode)
        shown = output[: self.limits.output_chars].decode("utf-8", "replace")
        return finished(ProgramResult(*ended, shown, report.get("value"), time.perf_counter() - started), self.limits)

    def _job(self, entry: str | Call | None) -> str:
        job = {"seconds": self.limits.seconds, "memory_mb": self.limits.memory_mb, "recursion": self.limits.recursion}
        job["value_chars"] = self.limits.value_chars
        if isinstance(entry, Call):
            return json.dumps({**job, "function": entry.function, "arguments": entry.arguments})
        return json.dumps({**job, "entry": entry})

    def _read(self, process: "subprocess.Popen[bytes]") -> tuple[bytes, dict[str, str], bool]:
        """Output and report of the process, each up to its limit, and whether it exceeded its time."""
        assert process.stdout is not None
        assert process.stderr is not None
        bounds = {process.stdout: self.limits.output_chars + 1, process.stderr: 8 * self.limits.value_chars + 4_096}
        chunks: dict[IO[bytes], bytearray] = {stream: bytearray() for stream in bounds}
        deadline = time.monotonic() + self.limits.seconds + _START_S
        with selectors.DefaultSelector() as ready:
            for stream in bounds:
                ready.register(stream, selectors.EVENT_READ)
            while ready.get_map():
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    return bytes(chunks[process.stdout]), {}, True
                for key, _ in events:
                    chunk = os.read(key.fd, 65_536)
                    chunks[key.fileobj] += chunk  # type: ignore[index]
                    if not chunk:
                        ready.unregister(key.fileobj)
                    elif len(chunks[key.fileobj]) >= bounds[key.fileobj]:  # type: ignore[index]
                        return bytes(chunks[process.stdout]), {}, False
        process.wait()
        return bytes(chunks[process.stdout]), _report(bytes(chunks[process.stderr])), False

    def _ended(self, report: dict[str, str], output_bytes: int, is_late: bool, code: int) -> tuple[Status, Reason, str]:
        if is_late or code in _TIMED_OUT:
            return Status.ERROR, Reason.TIME, f"it took longer than {self.limits.seconds:g} s"
        if output_bytes > self.limits.output_chars:
            return Status.ERROR, Reason.OUTPUT, "it prints too much"
        if not report:
            return Status.ERROR, Reason.CRASH, f"the process ended without a report (exit code {code})"
        return Status(report["status"]), Reason(report["reason"]), described(report["detail"])


def _report(data: bytes) -> dict[str, str]:
    """The last line of standard error, if the harness wrote it; other text is of the program."""
    try:
        report = json.loads(data.rpartition(b"\x00")[2])
        status, reason = Status(report["status"]), Reason(report["reason"])
        value = report.get("value")
        return {"status": status, "reason": reason, "detail": str(report["detail"])} | (
            {} if value is None else {"value": str(value)}
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def check_bubblewrap() -> None:
    """Check that bubblewrap is installed and may make namespaces.

    Raises:
        ConfigError: with the remedy.
    """
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        raise ConfigError(f'sandbox = "bubblewrap" needs the program bwrap, which is not on the PATH: {_REMEDY}')
    if platform.machine() not in _FORKS:
        raise ConfigError(f'sandbox = "bubblewrap" is for {", ".join(_FORKS)}, not {platform.machine()}: {_REMEDY}')
    with _memory_file("") as program, _memory_file("{}") as job, _started(program, job) as process:
        _, errors = process.communicate(timeout=60)
    if not _report(errors):
        text = described(errors.decode("utf-8", "replace"))
        raise ConfigError(f'sandbox = "bubblewrap" does not work here ({text}): {_REMEDY}')


@contextmanager
def _started(program: int, job: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The process that runs a program, from files in memory; it is killed at the end."""
    with _memory_file(fork_filter(platform.machine())) as seccomp:
        process = subprocess.Popen(  # noqa: S603 - the program is a file inside, never an argument
            _command(program, job, seccomp),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(program, job, seccomp),
            env={},
        )
        try:
            yield process
        finally:
            process.kill()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait()


def _command(program: int, job: int, seccomp: int) -> list[str]:
    python = str(Path(sys.executable).resolve())
    folders = dict.fromkeys(("/usr", "/lib", "/lib64", "/lib32", "/bin", str(Path(sys.base_prefix).resolve())))
    mounts = [option for folder in folders for option in ("--ro-bind-try", folder, folder)]
    return [
        str(shutil.which("bwrap")),
        *("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *mounts,
        *("--ro-bind", str(_HARNESS), "/box/harness.py"),
        *("--ro-bind-data", str(program), "/box/program.py", "--ro-bind-data", str(job), "/box/job.json"),
        *("--remount-ro", "/", "--chdir", "/box", "--seccomp", str(seccomp)),
        *("--", python, "-I", "-S", "-B", "/box/harness.py"),
    ]


@contextmanager
def _memory_file(content: str | bytes) -> Iterator[int]:
    """The descriptor of a file in memory, at its start."""
    descriptor = os.memfd_create("personahub")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def fork_filter(machine: str) -> bytes:
    """A seccomp program that refuses the system calls that start processes and threads."""
    architecture, forks = _FORKS[machine]
    checks = [(_JUMP_IF_NOT_BELOW, _X32_BIT), *((_JUMP_IF_EQUAL, number) for number in forks)]
    lines = [
        _line(_LOAD, _ARCHITECTURE_OFFSET),
        _line(_JUMP_IF_EQUAL, architecture, if_true=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER_OFFSET),
    ]
    # A match jumps over the checks after it and over the line that allows the call.
    lines += [_line(kind, value, if_true=len(checks) - index) for index, (kind, value) in enumerate(checks)]
    return b"".join([*lines, _line(_RETURN, _ALLOW), _line(_RETURN, _REFUSE)])


def _line(kind: int, value: int, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", kind, if_true, 0, value)
