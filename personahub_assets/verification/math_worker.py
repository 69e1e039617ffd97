"""The process that compares answers by math-verify for `comparer`: python math_worker.py MEMORY_MB.

It reads pairs of answers, one JSON array a line, and answers true, false, or null for answers that it cannot read.
"""

import json
import os
import resource
import signal
import sys
from typing import TextIO

_DIGITS = 6
"""Digits to which math-verify rounds decimal numbers."""


def main() -> None:
    """Answer pairs until the end of the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides when this one ends
    memory = int(sys.argv[1]) << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    import logging

    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    _send(answers, "ready")
    for line in sys.stdin:
        _send(answers, json.dumps(_are_equal(parse, verify, *json.loads(line))))


def _send(answers: TextIO, line: str) -> None:
    answers.write(f"{line}\n")
    answers.flush()


def _are_equal(parse: object, verify: object, left: str, right: str) -> bool | None:
    # Without limits of its own, which would need signals: the parent ends this process.
    try:
        parsed = [parse(_delimited(text), parsing_timeout=None) for text in (left, right)]  # type: ignore[operator]
        if not all(parsed):
            return None
        options = {"timeout_seconds": None, "float_rounding": _DIGITS}
        return bool(verify(*parsed, **options)) and bool(verify(*parsed[::-1], **options))  # type: ignore[operator]
    except Exception:  # noqa: BLE001 - the parser raises many kinds, all for what it cannot read
        return None


def _delimited(text: str) -> str:
    """The answer as LaTeX: math-verify looks for formulas in a text."""
    return text if "$" in text or "\\boxed" in text or "\\[" in text or "\\(" in text else f"${text}$"


if __name__ == "__main__":
    main()
