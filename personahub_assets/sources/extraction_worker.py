"""The process that parses pages for `extraction`: python extraction_worker.py CPU_SECONDS MEMORY."""

import resource
import signal
import sys

from personahub_assets.sources.extraction import HEAD
from personahub_assets.sources.pages import TooDeep, TooMuchMarkup, main_text


def _answer(html: str) -> tuple[bytes, str]:
    try:
        return b"t", main_text(html)
    except TooDeep as error:
        return b"d", str(error)
    except TooMuchMarkup as error:
        return b"m", str(error)


def main() -> None:
    """Answer pages until the end of the input."""
    seconds, memory = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides when this one ends
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while head := sys.stdin.buffer.read(HEAD.size):
        _, size = HEAD.unpack(head)
        page = sys.stdin.buffer.read(size).decode()
        # The signal is not handled, so that it ends the process at any point.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        kind, text = _answer(page)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer = text.encode("utf-8", "replace")
        sys.stdout.buffer.write(HEAD.pack(kind, len(answer)) + answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
