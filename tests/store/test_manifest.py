"""Listings of folders of partitions, by whole paths or, for many files, relative to the open folder."""

from pathlib import Path

import pytest

from personahub_assets.store.manifest import EMPTY, listing

SIZES = pytest.mark.parametrize("count", [3, 300])


def folder_of(path: Path, count: int) -> Path:
    for number in range(count):
        (path / f"batch=b{number}").mkdir(parents=True)
        (path / f"batch=b{number}" / "part.parquet").write_bytes(b"x" * number)
    return path


@SIZES
def test_a_listing_has_each_file_with_its_mark(tmp_path: Path, count: int) -> None:
    folder = folder_of(tmp_path / "documents", count)
    (folder / "batch=without").mkdir()
    (folder / "batch=file").touch()
    (folder / "other").mkdir()
    found = listing(folder)
    expected = {}
    for file in folder.glob("batch=*/part.parquet"):
        stat = file.stat()
        expected[file.parent.name.removeprefix("batch=")] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    assert dict(zip(found.batches, found.marks.tolist(), strict=True)) == expected
    some = [f"b{number}" for number in range(0, count, 2)]
    assert listing(folder, [*some, "absent"]).batches == some


@SIZES
def test_a_file_that_cannot_be_looked_at_is_named_in_full(tmp_path: Path, count: int) -> None:
    folder = folder_of(tmp_path / "documents", count)
    file = folder / "batch=b1" / "part.parquet"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(OSError, match="symbolic link") as raised:
        listing(folder)
    assert raised.value.filename == str(file)


@SIZES
def test_a_folder_that_is_gone_has_no_files(tmp_path: Path, count: int) -> None:
    gone = listing(tmp_path / "gone", [f"b{number}" for number in range(count)])
    assert gone.is_same(EMPTY)
    assert listing(tmp_path / "gone").is_same(EMPTY)
