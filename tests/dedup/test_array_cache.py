"""Arrays on disk: missing, damaged and outdated arrays are made again, and never read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.dedup.array_cache import Arrays, cached, opened, save

NUMBERS: Arrays = {
    "some": np.arange(6, dtype=np.uint64),
    "none": np.empty((0, 3), np.float32),
    "table": np.ones((2, 3)),
}


class Maker:
    """Makes arrays, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Arrays:
        self.times += 1
        return dict(NUMBERS)


def check(found: Arrays | None) -> None:
    assert found is not None
    assert list(found) == list(NUMBERS)
    for name, array in NUMBERS.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "folder"


def test_they_are_made_once(folder: Path) -> None:
    make = Maker()
    for _ in range(3):
        check(cached(folder, "stamp", make))
    assert make.times == 1
    assert not list(folder.parent.glob(".*"))  # nothing is left beside it


def test_they_cannot_be_written_to(folder: Path) -> None:
    found = cached(folder, "stamp", Maker())
    with pytest.raises(ValueError, match="read-only"):
        found["some"][0] = 7


def test_another_stamp_makes_them_again(folder: Path) -> None:
    make = Maker()
    cached(folder, "one", make)
    assert opened(folder, "two") is None
    check(cached(folder, "two", make))
    assert make.times == 2
    assert opened(folder, "one") is None


def test_another_set_of_arrays_replaces_them_all(folder: Path) -> None:
    save(folder, "one", NUMBERS)
    save(folder, "two", {"other": np.zeros(1)})
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "other.npy"]


def test_nothing_is_opened_where_nothing_is(folder: Path) -> None:
    assert opened(folder, "") is None


def lose_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def become_a_file(folder: Path) -> None:
    lose_all(folder)
    folder.rmdir()
    folder.write_text("a file where the folder was")


def hold_a_folder(folder: Path) -> None:
    (folder / "some.npy").unlink()
    (folder / "some.npy").mkdir()


def say(text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_bytes(text)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "an array is lost": lambda folder: (folder / "some.npy").rename(folder / "lost"),
    "the manifest is lost": lambda folder: (folder / "manifest.json").rename(folder / "lost"),
    "the manifest is empty": say(b""),
    "the manifest is a list": say(b"[]"),
    "the manifest has no hashes": say(b'{"stamp": "stamp"}'),
    "the manifest has a list of hashes": say(b'{"stamp": "stamp", "sha256": []}'),
    "the manifest is no text": say(b"\xff\xfe"),
    "an array is empty": lambda folder: (folder / "none.npy").write_bytes(b""),
    "an array is longer": lambda folder: (folder / "table.npy").write_bytes(
        (folder / "table.npy").read_bytes() + b"\0"
    ),
    "an array is another": lambda folder: (folder / "some.npy").replace(folder / "table.npy"),
    "all is lost": lose_all,
    "a file is in the way": become_a_file,
    "a folder is in the way": hold_a_folder,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_damaged_is_made_again(folder: Path, damage: Callable[[Path], object]) -> None:
    make = Maker()
    cached(folder, "stamp", make)
    damage(folder)
    check(cached(folder, "stamp", make))
    check(cached(folder, "stamp", make))
    assert make.times == 2


@settings(max_examples=25)
@given(st.data())
def test_one_changed_byte_or_a_cut_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("arrays") / "folder"
    make = Maker()
    cached(folder, "stamp", make)
    file = folder / data.draw(st.sampled_from(["manifest.json", "some.npy", "none.npy", "table.npy"]))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
    else:
        file.write_bytes(content[:at])
    check(cached(folder, "stamp", make))
    check(opened(folder, "stamp"))


def test_what_fails_leaves_what_was_there(folder: Path) -> None:
    cached(folder, "one", Maker())

    def fail() -> Arrays:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        cached(folder, "two", fail)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save(folder, "two", {"odd": np.array([{}, []], dtype=object)})
    check(opened(folder, "one"))
    assert sorted(file.name for file in folder.parent.iterdir()) == [folder.name]


def test_foreign_files_are_of_no_account(folder: Path) -> None:
    make = Maker()
    cached(folder, "stamp", make)
    (folder / "foreign.npy").write_bytes(b"not an array")
    (folder.parent / "foreign").write_text("nothing of ours")
    check(cached(folder, "stamp", make))
    assert make.times == 1
