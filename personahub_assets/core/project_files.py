"""The project's own files: SQL, prompts, examples, the instance's dagster.yaml.

They are at the top of a checkout, and inside the package of an installed wheel.
"""

from functools import cache, lru_cache
from pathlib import Path

from personahub_assets.core.errors import ConfigError, PromptError
from personahub_assets.core.prompts import Prompt

PROMPTS = "prompts"
"""Folder of the prompts, here and in a home."""

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def root() -> Path:
    """Folder that holds `sql/`, `prompts/`, `examples/` and `dagster.yaml`."""
    for folder in (_PACKAGE / "_files", _PACKAGE.parent):
        if (folder / "sql").is_dir():
            return folder
    raise ConfigError(f"the folder sql/ is neither in {_PACKAGE / '_files'} nor in {_PACKAGE.parent}: reinstall")


def prompt(name: str, folder: Path | None = None) -> Prompt:
    """Read `prompts/<name>.md`.

    Raises:
        PromptError: if the file is missing or malformed, or has another name in its front matter.
    """
    path = (folder or root() / PROMPTS) / f"{name}.md"
    if not path.is_file():
        raise PromptError(f"{path} is missing: a task needs its prompt file")
    return prompt_file(path, name)


def prompt_file(path: Path, name: str) -> Prompt:
    """Read the prompt of a task from any file.

    Raises:
        PromptError: if the file cannot be read or is malformed, or has another name in its front matter.
    """
    try:
        source = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot be read as a prompt file: {error}") from error
    parsed = _parse(str(path), source)
    if parsed.name != name:
        raise PromptError(f"{path}: the front matter has name: {parsed.name!r}, expected {name!r}")
    return parsed


@lru_cache(64)
def _parse(origin: str, source: str) -> Prompt:
    """Parse a text once: a run needs every prompt several times, and YAML takes milliseconds."""
    return Prompt.parse(source, origin)


def sql_files(folder: str) -> dict[str, str]:
    """The `.sql` files of a folder below sql/, by their path without suffix, in order."""
    return dict(_sql_files(root() / "sql" / folder))


@cache
def _sql_files(base: Path) -> dict[str, str]:
    """Read once, like the code beside them."""
    return {
        path.relative_to(base).with_suffix("").as_posix(): path.read_text("utf-8")
        for path in sorted(base.rglob("*.sql"))
    }
