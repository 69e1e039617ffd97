"""What the command line says of a home on object storage: its address, and failures of its working copy."""

from pathlib import Path

import pytest

from personahub_assets.cli import app
from personahub_assets.cli.run import shell_command
from personahub_assets.core.object_homes import working_copy


def test_commands_name_the_address_of_a_home(tmp_path: Path) -> None:
    assert "PERSONAHUB_HOME='s3://bucket/my home' " in shell_command(working_copy("s3://bucket/my home", tmp_path))
    assert f"PERSONAHUB_HOME={tmp_path} " in shell_command(tmp_path)


@pytest.mark.parametrize("home", ["s3://bucket/home", "folder"])
def test_a_failure_is_written_to_the_working_copy(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_WORK", str(tmp_path))
    monkeypatch.setenv("PERSONAHUB_HOME", home)
    assert app._home_of_failure() == (working_copy(home, tmp_path) if "://" in home else Path(home))
    monkeypatch.setenv("PERSONAHUB_HOME", "S3://wrong")
    assert app._home_of_failure() == Path("S3://wrong")
