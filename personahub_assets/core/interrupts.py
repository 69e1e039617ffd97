"""Record Ctrl-C and SIGTERM, so that no signal is lost if a library catches its exception.

Dagster defers a signal between steps and drops it at the end of a run; libraries catch exceptions of handlers, and the
interpreter drops exceptions in callbacks. So signals are recorded here too, and checked before the next piece of work.
"""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CODE = 130
"""Exit code of a command that was stopped, by either signal."""

_HOOKS: list["_Wakeup"] = []


class _Wakeup:
    """A socket pair as wakeup file descriptor: the interpreter writes the number of each signal."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.is_interrupted = False
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def look(self) -> bool:
        """Whether a signal came; also restores the wakeup descriptor, which event loops replace."""
        with suppress(BlockingIOError):
            self.is_interrupted |= any(number in SIGNALS for number in self._reader.recv(4_096))
        if threading.current_thread() is threading.main_thread() and not _is_in_loop():
            signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self.is_interrupted

    def close(self) -> None:
        """Restore the former wakeup descriptor."""
        signal.set_wakeup_fd(self._before)
        self._reader.close()
        self._writer.close()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def recorded() -> Iterator[None]:
    """Raise KeyboardInterrupt on either signal, and record it; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    hook = sys.unraisablehook
    _HOOKS.append(_Wakeup())
    for number in SIGNALS:
        signal.signal(number, _stop)
    sys.unraisablehook = lambda lost: None if is_interrupted() else hook(lost)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        _HOOKS.pop().close()
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def is_interrupted() -> bool:
    """Whether a signal came, also if its exception was lost."""
    return bool(_HOOKS) and _HOOKS[-1].look()


def check() -> None:
    """Check for a signal before the next piece of work.

    Raises:
        KeyboardInterrupt: if a signal came.
    """
    if is_interrupted():
        raise KeyboardInterrupt
