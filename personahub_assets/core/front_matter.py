"""Front matter: the YAML at the head of a prompt file, with the line of each key."""

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from personahub_assets.core.errors import choices

BELOW = ("instructions", "row")
"""Parts of a prompt below the front matter."""

_FIRST = 2  # the line below the opening ---


class FrontMatterError(ValueError):
    """The text is not a YAML mapping; the message begins with the line."""


class FrontMatter:
    """A parsed front matter.

    Args:
        text: between the lines with `---`.

    Raises:
        FrontMatterError: if it is not YAML, is not a mapping, or has a key twice.
    """

    def __init__(self, text: str):
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.values: Any = yaml.safe_load(text) or {}
        except yaml.MarkedYAMLError as error:
            line = _FIRST + (error.problem_mark.line if error.problem_mark else 0)
            raise FrontMatterError(f"line {line}: not valid YAML: {error.problem}") from error
        except (yaml.YAMLError, ValueError) as error:  # an unprintable character, or a date that is none
            raise FrontMatterError(f"line {_FIRST}: not valid YAML: {error}") from error
        if not isinstance(self.values, dict):
            raise FrontMatterError(f"line {_FIRST}: expected lines such as 'name: value', got {self.values!r}")
        self._refuse_doubled(self._root)

    def _refuse_doubled(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            lines = dict[str, int]()
            for key, value in node.value:
                if key.value in lines:
                    raise FrontMatterError(
                        f"line {_line(key)}: {key.value!r} stands on line {lines[key.value]} already: keep one"
                    )
                lines[str(key.value)] = _line(key)
                self._refuse_doubled(value)

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a key, or of its nearest existing parent."""
        node, line = self._root, _FIRST
        for step in path:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            match = next(((key, value) for key, value in pairs if key.value == str(step)), None)
            if match is None:
                return line
            line, node = _line(match[0]), match[1]
        return line

    def faults(self, errors: Sequence[ErrorDetails], model: type[BaseModel]) -> str:
        """The errors, each with line, key, value and valid choices."""
        return "; ".join(self._fault(error, model) for error in errors)

    def _fault(self, error: ErrorDetails, model: type[BaseModel]) -> str:
        path = [step for step in error["loc"] if step != "[key]"]
        where = f"line {self.line(path)}: {'.'.join(map(str, path))}"
        above = f"line {self.line(path)}: {''.join(f'{step}: ' for step in ['.'.join(map(str, path[:-1]))] if step)}"
        kind, got = error["type"], error["input"]
        if kind == "missing":
            return f"{where} is missing"
        if kind == "extra_forbidden":
            return f"{above}unknown key {choices(str(path[-1]), _keys(model, path))}"
        if kind == "literal_error":
            return f"{where}: {choices(str(got), [word.strip() for word in _expected(error)])}"
        if kind == "field":  # its message has the value
            return f"{where}: {error['msg']}"
        if kind == "model_type":
            return f"{where}: expected {{type: …, description: …}}, got {got!r}"
        hint = "; quote it, since YAML reads it otherwise" if kind == "string_type" and isinstance(got, bool) else ""
        return f"{where}: {error['msg']}, got {got!r}{hint}"


def _line(node: yaml.Node) -> int:
    return _FIRST + int(node.start_mark.line)


def _expected(error: ErrorDetails) -> list[str]:
    expected = str(error.get("ctx", {}).get("expected", ""))
    return expected.replace(" or ", ", ").replace("'", "").split(", ")


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The valid keys beside the last of a path."""
    from personahub_assets.core.exchange import Exchange
    from personahub_assets.core.fields import FieldSpec

    inner: dict[str, type[BaseModel]] = {"fields": FieldSpec, "exchange": Exchange}
    keys = (inner.get(str(path[0]), model) if len(path) > 1 else model).model_fields
    return [key for key in keys if key not in BELOW]
