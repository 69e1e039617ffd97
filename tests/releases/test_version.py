"""Which files of the code differ from its version: by git in a checkout, by RECORD in a wheel."""

import base64
import hashlib
import subprocess
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from personahub_assets.releases.version import State, checkout_state, code_version, installed_state


def test_git_names_what_was_edited_added_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "check out"
    for name in ("personahub_assets/a.py", "personahub_assets/b.py", "sql/q é.sql", "docs/page.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1")
    assert "git status" in str(checkout_state(root).unknown)  # no repository
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    assert checkout_state(root) == State([])
    (root / "personahub_assets" / "a.py").write_text("2")
    (root / "personahub_assets" / "b.py").unlink()
    (root / "sql" / "q é.sql").write_text("2")
    (root / "personahub_assets" / "new.py").write_text("3")
    (root / "docs" / "page.md").write_text("no row depends on it")
    assert checkout_state(root).changed == [
        "personahub_assets/a.py",
        "personahub_assets/b.py",
        "personahub_assets/new.py",
        "sql/q é.sql",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_state(root) == State(None, "there is no git to compare the checkout with its commit")


def test_the_record_of_a_wheel_names_what_was_edited_added_and_removed(tmp_path: Path) -> None:
    package, info = tmp_path / "personahub_assets", tmp_path / "personahub_assets-1.dist-info"
    (package / "core").mkdir(parents=True)
    info.mkdir()
    lines = []
    for name in ("core/a.py", "core/b.py", "c.py"):
        (package / name).write_text(name)
        value = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"personahub_assets/{name},sha256={value},{len(name)}")
    (info / "METADATA").write_text("Name: personahub-assets\nVersion: 1\n")
    (info / "RECORD").write_text("\n".join([*lines, "personahub_assets/core/a.pyc,,"]) + "\n")
    (package / "core" / "a.pyc").write_text("compiled")

    def state() -> State:
        return installed_state(Distribution.at(info), package)

    assert state() == State([])
    (package / "core" / "a.py").write_text("edited")
    (package / "c.py").unlink()
    (package / "new.py").write_text("")
    assert state().changed == ["personahub_assets/c.py", "personahub_assets/core/a.py", "personahub_assets/new.py"]
    (info / "RECORD").write_text("")
    assert state().unknown == "the installed package has no RECORD with hashes"


def test_the_manifest_has_it_all() -> None:
    told = code_version()
    assert (told["package"], bool(told["version"])) == ("personahub-assets", True)
    assert isinstance(told["changed_files"], list) or told["changed_files_unknown"]
