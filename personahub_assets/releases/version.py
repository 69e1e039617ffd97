"""The version of this package, its commit in a checkout, and which of its files differ from that. Works without git."""

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from typing import Any

from personahub_assets.core import project_files

NAME = "personahub-assets"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PACKAGE = Path(__file__).resolve().parent.parent
_PARTS = ("personahub_assets", "prompts", "sql", "pyproject.toml")
"""What of a checkout can change a row."""
_GIT_S = 30


@dataclass(frozen=True)
class State:
    """Files that differ from the version or the commit.

    Attributes:
        changed: their paths; None if it is unknown.
        unknown: why it is unknown.
    """

    changed: list[str] | None
    unknown: str | None = None


def code_version() -> dict[str, Any]:
    """The package, its version and commit, and the files that differ from it.

    Returns:
        package, version, commit (None if unknown), changed_files (None if unknown) and, then, why.
    """
    root = project_files.root()
    state = checkout_state(root) if root == _PACKAGE.parent else installed_state(distribution(NAME), _PACKAGE)
    identity = {"package": NAME, "version": _version(), "commit": commit(root), "changed_files": state.changed}
    return identity | ({"changed_files_unknown": state.unknown} if state.unknown else {})


def _version() -> str | None:
    try:
        return distribution(NAME).version
    except PackageNotFoundError:
        return None


def checkout_state(root: Path) -> State:
    """The files of a checkout that git finds changed, added or removed."""
    git = shutil.which("git")
    if git is None:
        return State(None, "there is no git to compare the checkout with its commit")
    command = [git, "-C", str(root), "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--"]
    try:
        done = subprocess.run([*command, *_PARTS], capture_output=True, timeout=_GIT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return State(None, f"git status: {error}")
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        return State(None, f"git status: {reason[0]}")
    entries = done.stdout.decode(errors="replace").split("\0")
    return State(sorted(entry[3:] for entry in entries if entry))


def installed_state(installed: Distribution, package: Path) -> State:
    """The files of an installed wheel that differ from its RECORD; files beside them that it does not name, too."""
    listed = {
        path: file for file in installed.files or () if (path := Path(str(file.locate()))).is_relative_to(package)
    }
    if not any(file.hash for file in listed.values()):
        return State(None, "the installed package has no RECORD with hashes")
    changed = {str(file) for path, file in listed.items() if file.hash and not _is_as_recorded(path, file)}
    unlisted = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"} - listed.keys()
    return State(sorted(changed | {path.relative_to(package.parent).as_posix() for path in unlisted}))


def _is_as_recorded(path: Path, file: PackagePath) -> bool:
    assert file.hash is not None
    try:
        value = hashlib.new(file.hash.mode, path.read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode() == file.hash.value


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
