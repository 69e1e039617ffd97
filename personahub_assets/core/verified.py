"""Names of the assets that compare solutions, and of the views with a part of a dataset: verified or unique items."""

from collections.abc import Iterable
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

    @property
    def source(self) -> str:
        """The dataset of the problems."""
        return VERIFIED_VIEWS[self.view].dataset


COMPARISONS: dict[str, Comparison] = {
    "math_agreement": Comparison("math_solutions", "math_verified", is_symbolic=True),
    "reasoning_agreement": Comparison("reasoning_solutions", "reasoning_verified", is_symbolic=False),
}
"""The assets that compare solutions, by name; each writes the table of its name."""

JUDGE = "answer_judge"
"""The prompt of the judge, who compares answers that no rule decides."""


class ItemView(NamedTuple):
    """A view with some of the items of a dataset, by their `item_id`.

    Attributes:
        dataset: the dataset of the items.
        assets: the assets that make the view, besides the dataset.
    """

    dataset: str
    assets: tuple[str, ...] = ()


VERIFIED_VIEWS: dict[str, ItemView] = {
    "math_verified": ItemView("math_problems", ("math_solutions", "math_agreement")),
    "reasoning_verified": ItemView("reasoning_problems", ("reasoning_solutions", "reasoning_agreement")),
    "tools_verified": ItemView("tools", ("tool_tests", "tool_implementations")),
    "instructions_verified": ItemView("instructions", ("instruction_answers",)),
}
"""The views of verified items, by name."""


def assets_of_view(name: str) -> list[str]:
    """The assets that make a view of verified items, in order; empty for any other name.

    >>> assets_of_view("math_verified")
    ['math_solutions', 'math_agreement']
    """
    return list(VERIFIED_VIEWS[name].assets) if name in VERIFIED_VIEWS else []


def item_views(datasets: Iterable[str]) -> dict[str, ItemView]:
    """The views that have some of the items of these datasets: `NAME_unique`, and those of verified items."""
    names = list(datasets)
    verified = {name: view for name, view in VERIFIED_VIEWS.items() if view.dataset in names}
    return {f"{name}_unique": ItemView(name) for name in names} | verified
