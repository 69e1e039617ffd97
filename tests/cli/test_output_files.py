"""Output files: written completely or unchanged, and never over a link or over files of a home."""

import os
import sys
from pathlib import Path

import pytest

from personahub_assets.cli.output_files import output_file
from personahub_assets.core.errors import ConfigError
from personahub_assets.store.home import Home


def write(path: Path, data: bytes = b"after") -> None:
    with output_file(path) as file:
        file.write(data)


def test_another_name_of_the_old_file_keeps_what_it_had(tmp_path: Path) -> None:
    table, out = tmp_path / "part.parquet", tmp_path / "out.csv"
    table.write_bytes(b"before")
    os.link(table, out)
    write(out)
    assert (table.read_bytes(), out.read_bytes()) == (b"before", b"after")


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


def test_what_fails_midway_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"before")
    with pytest.raises(TypeError), output_file(out) as file:
        file.writelines([b"half", "and no bytes"])  # type: ignore[list-item]
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_the_mode_of_the_old_file_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"before")
    out.chmod(0o600)
    write(out)
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"after", 0o600)


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file or directory"), ("file", "Not a directory")])
def test_no_folder_is_made(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot be written: {reason}"):
        write(tmp_path / name / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not caplog.records


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_that_of_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^--output /dev/full: No space left on device\. The disk at /dev"):
        write(Path("/dev/full"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how Linux names what is open")
def test_a_pipe_is_written_through_the_name_of_its_descriptor() -> None:
    reading, writing = os.pipe()
    write(Path(f"/dev/fd/{writing}"))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"after"


def test_a_home_keeps_what_is_its_own_wherever_that_lies(tmp_path: Path) -> None:
    home, disk = tmp_path / "hub", tmp_path / "disk"
    for folder in (home / "inbox", disk):
        folder.mkdir(parents=True)
    (home / "tables").symlink_to(disk)
    (home / "inbox" / "a.csv").write_text("x")
    for own in (home / "tables" / "a.csv", disk / "a.csv", home / "writer", home / "inbox" / "a.csv"):
        with pytest.raises(ConfigError, match=r"of the home|home's own"):
            Home(home).check_output(own)
    Home(home).check_output(home / "inbox" / "new.csv")
    Home(home).check_output(home / "picks.csv")


def test_a_circle_of_links_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot be written"):
        Home(tmp_path / "hub").check_output(tmp_path / "a")
