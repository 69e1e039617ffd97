"""One form that an answer or an error can take: what it is, in a few words, and how it comes about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Form(Generic[Maker]):
    """A row of a table of forms.

    Attributes:
        words: what the server does.
        make: makes it.
        is_usable: whether the whole answer is there for a client that reads it well.
    """

    words: str
    make: Maker
    is_usable: bool = True


def described(forms: Mapping[str, Form[Any]]) -> dict[str, str]:
    """What each form is."""
    return {name: form.words for name, form in forms.items()}
