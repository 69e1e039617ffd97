"""The command `personahub`: signals are seen to before anything is loaded."""

import atexit
import os
import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line; Ctrl-C before it begins, and after it ended, ends the process at once."""
    _handle(_stop_early)
    atexit.register(
        _handle, signal.SIG_IGN
    )  # called last; the interpreter then sets what is not ignored to its default
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
