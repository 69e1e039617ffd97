"""`make install` installs the requirements of pyproject.toml, each verified by its hash."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FILES = sorted(ROOT.glob("constraints*.txt"))


def entries(file: Path) -> list[str]:
    """One text per package, its hashes included."""
    lines = re.sub(r"^#.*\n", "", file.read_text("utf-8"), flags=re.MULTILINE)
    return [entry for entry in re.split(r"\n(?=\S)", lines.strip()) if entry]


def pinned(file: Path) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for entry in entries(file):
        name, version = re.match(r"([a-z0-9.-]+)==(\S+)", entry).groups()  # type: ignore[union-attr]
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_package_has_one_version_and_hashes_and_no_index(file: Path) -> None:
    assert entries(file)
    for entry in entries(file):
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s;]+( ; .+?)? \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+", entry), entry
    assert "://" not in file.read_text("utf-8")


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("constraints.txt", [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]),
        ("constraints.txt", PROJECT["build-system"]["requires"]),
        ("constraints-hub.txt", PROJECT["project"]["optional-dependencies"]["hub"]),
        ("constraints-docs.txt", PROJECT["dependency-groups"]["docs"]),
    ],
)
def test_every_dependency_is_pinned_within_its_range(file: str, wanted: list[str]) -> None:
    versions = {**pinned(ROOT / "constraints.txt"), **pinned(ROOT / file)}
    for requirement in map(Requirement, wanted):
        found = versions.get(re.sub(r"[-_.]+", "-", requirement.name).lower())
        assert found, f"{requirement} is not in {file}; run: make constraints"
        assert all(requirement.specifier.contains(version) for version in found), (
            f"{requirement}: {found}; make constraints"
        )


def test_the_site_generator_is_not_in_the_base_environment() -> None:
    assert not {name for name in pinned(ROOT / "constraints.txt") if name.startswith("mkdocs")}


def test_no_old_installer_is_left() -> None:
    assert "pip" not in pinned(ROOT / "constraints.txt")
    for file in FILES:
        for version in pinned(file).get("setuptools", ()):
            assert tuple(map(int, version.split("."))) >= (78, 1, 1)  # CVE-2025-47273


def test_the_weights_are_those_that_the_notice_names() -> None:
    from personahub_assets.embedding.minilm import PINNED, REQUIREMENT

    notice = (ROOT / "NOTICE").read_text("utf-8")
    assert REQUIREMENT.replace("==", " ") in notice
    for name, digest in PINNED.items():
        assert re.search(rf"{name} +SHA-256 {digest}", notice)
    assert REQUIREMENT in PROJECT["dependency-groups"]["dev"]
