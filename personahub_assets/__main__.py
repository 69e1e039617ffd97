"""The command `personahub`: signals are seen to before anything is loaded."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; Ctrl-C before it begins, and after it ended, ends the process at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: os._exit(130))
    from personahub_assets.cli import call

    sys.exit(call())


if __name__ == "__main__":
    main()
