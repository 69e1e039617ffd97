"""A form of an answer or error: its description and the function that makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Form(Generic[Maker]):
    """An entry in a table of forms.

    Attributes:
        words: description of what the server does.
        make: makes the answer or error.
        is_usable: whether a tolerant client can read the complete answer.
    """

    words: str
    make: Maker
    is_usable: bool = True


def described(forms: Mapping[str, Form[Any]]) -> dict[str, str]:
    """Returns the description of each form."""
    return {name: form.words for name, form in forms.items()}
