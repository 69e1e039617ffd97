"""Answers to the problems and tools of a home of `written`: solutions that agree or not, code that passes or not."""

import hashlib
from typing import Any

from written import calls, problem, put, tool

from personahub_assets.store.tables import Store


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def solution(number: int, sample: int, answer: str | None, style: str = "reasoning") -> dict[str, Any]:
    """A solution of a problem of batch a."""
    name = f"s{number}-{sample}"
    text = f"{style} {number}-{sample}: {{}}"
    return {
        "item_id": f"i{name}",
        "persona_id": f"pa{number}",
        "source_id": f"ima{number}",
        "source_hash": digest(problem("a", number)["text"]),
        "sample": sample,
        "variant": style,
        "style": style,
        "solution": text,
        "final_answer": answer,
        "outcome": "stated" if answer else "failed",
        "text": f"{text}\n\nFinal answer: {answer or 'none'}",
        "generation_id": f"g{name}",
    }


def agreed(number: int, samples: list[int], *, verified: bool = True) -> dict[str, Any]:
    """The comparison of three solutions of a problem of batch a."""
    return {
        "source_id": f"ima{number}",
        "source_hash": digest(problem("a", number)["text"]),
        "persona_id": f"pa{number}",
        "answer": str(number),
        "votes": len(samples),
        "answered": 3,
        "solutions": 3,
        "share": len(samples) / 3,
        "verified": verified,
        "solution_id": f"is{number}-{samples[0]}",
        "groups": [{"answer": str(number), "votes": len(samples), "samples": samples}],
        "compared": [],
        "undecided": 0,
        "judged": 0,
    }


def write_answers(store: Store) -> None:
    """Solve the problems of batch a, all but the last with agreement; implement its tools, one of which fails."""
    rows = [solution(n, sample, str(n + (sample == 2))) for n in range(5) for sample in (0, 2)]
    rows += [solution(n, 1, str(n), "program") for n in range(5)]
    put(store, "math_solutions", "a", rows)
    put(store, "math_agreement", "a", [agreed(n, [0, 1], verified=n < 4) for n in range(5)])
    calls(store, "a", "math_solutions", [f"s{n}-{sample}" for n in range(5) for sample in range(3)])
    code = [
        {
            "item_id": f"ic{n}",
            "persona_id": f"pa{n}",
            "source_id": f"ita{n}",
            "source_hash": digest(tool("a", n)["text"]),
            "sample": 0,
            "function_name": "tide_clock",
            "code": "def tide_clock():\n    return 1",
            "status": "failed" if n == 4 else "passed",
            "passed_tests": 2,
            "tests": [],
            "text": "def tide_clock():\n    return 1",
            "generation_id": f"gc{n}",
        }
        for n in (0, 2, 4)
    ]
    put(store, "tool_implementations", "a", code)
    calls(store, "a", "tool_implementations", ["c0", "c2", "c4"])
