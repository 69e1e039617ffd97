"""The command `personahub`: signals are handled before anything is imported."""

import atexit
import os
import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line; Ctrl-C before its start and after its end exits at once."""
    _handle(_stop_early)
    atexit.register(_handle, signal.SIG_IGN)  # called last; the interpreter then resets signals that are not ignored
    from personahub_assets.cli.app import call

    code = call()
    _handle(lambda _number, _frame: os._exit(130))
    sys.exit(code)


def _handle(handler: "signal._HANDLER") -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _stop_early(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"stopped before it began\n")
    os._exit(130)


if __name__ == "__main__":
    main()
