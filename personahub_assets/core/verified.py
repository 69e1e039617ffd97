"""Names of the assets that compare solutions, and of the views of what was agreed on."""

from typing import NamedTuple


class Comparison(NamedTuple):
    """How the solutions of one kind of problem are compared.

    Attributes:
        solutions: dataset of the solutions.
        view: view of the problems whose answer was agreed on.
        is_symbolic: whether expressions are compared by math-verify, too.
    """

    solutions: str
    view: str
    is_symbolic: bool


COMPARISONS: dict[str, Comparison] = {
    "math_agreement": Comparison("math_solutions", "math_verified", is_symbolic=True),
    "reasoning_agreement": Comparison("reasoning_solutions", "reasoning_verified", is_symbolic=False),
}
"""The assets that compare solutions, by name; each writes the table of its name."""

JUDGE = "answer_judge"
"""The prompt of the judge, who compares answers that no rule decides."""


def assets_of_view(name: str) -> list[str]:
    """The assets that make a view of verified problems, the comparison last; empty for any other name.

    >>> assets_of_view("math_verified")
    ['math_solutions', 'math_agreement']
    """
    return [each for asset, (solutions, view, _) in COMPARISONS.items() if view == name for each in (solutions, asset)]
