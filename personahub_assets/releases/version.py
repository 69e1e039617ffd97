"""The version of this package and, in a checkout, its commit. Works without git."""

import re
from importlib.metadata import version
from pathlib import Path

from personahub_assets.core import project_files

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def code_version() -> dict[str, str | None]:
    """The package, its version and its commit; the commit is None if it is unknown."""
    return {
        "package": "personahub-assets",
        "version": version("personahub-assets"),
        "commit": commit(project_files.root()),
    }


def commit(checkout: Path) -> str | None:
    """The current commit of a checkout, read from git's files; None without such files."""
    try:
        folder = _git_folder(checkout / ".git")
        head = (folder / "HEAD").read_text("utf-8").strip()
        revision = _resolved(folder, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    except (OSError, UnicodeDecodeError):
        return None
    return revision if _HASH.fullmatch(revision) else None


def _git_folder(path: Path) -> Path:
    """The folder of git; in a second worktree a file names it."""
    if path.is_dir():
        return path
    return (path.parent / path.read_text("utf-8").strip().removeprefix("gitdir: ")).resolve()


def _resolved(folder: Path, reference: str) -> str:
    """The commit of a branch."""
    shared = folder / "commondir"
    common = (folder / shared.read_text("utf-8").strip()).resolve() if shared.is_file() else folder
    loose = common / reference
    if loose.is_file():
        return loose.read_text("utf-8").strip()
    packed = (common / "packed-refs").read_text("utf-8").splitlines()
    return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "")
