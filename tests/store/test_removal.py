"""Removal: files reported as removed are gone, and others are reported with the reason."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from personahub_assets.core.errors import StoreError
from personahub_assets.dedup import array_cache
from personahub_assets.dedup.kernels import _drop_those_of_other_sources
from personahub_assets.generation.retention import maintain
from personahub_assets.sources.register import register
from personahub_assets.store.removal import discard, remove, remove_all
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Target, unfinished_takedowns
from personahub_assets.takedown.takedown import takedown

DAYS = 86_400.0


@contextlib.contextmanager
def protected(folder: Path) -> Iterator[None]:
    """Make a folder's files undeletable, even for the root user."""
    if os.geteuid():
        folder.chmod(0o500)
    elif not shutil.which("chattr") or subprocess.run(["chattr", "+i", folder], check=False).returncode:
        pytest.skip("the root user can remove everything here")
    try:
        yield
    finally:
        if os.geteuid():
            folder.chmod(0o700)
        else:
            subprocess.run(["chattr", "-i", folder], check=True)


def leftover(path: Path, *, age: float = 3 * DAYS, folder: bool = False) -> Path:
    (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    (path / "piece" if folder else path).write_text("x")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_whatever_it_is_it_goes(tmp_path: Path) -> None:
    target = leftover(tmp_path / "target", folder=True)
    link, broken, loop = tmp_path / "link", tmp_path / "broken", tmp_path / "loop"
    link.symlink_to(target)
    broken.symlink_to(tmp_path / "nowhere")
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe")
    file = leftover(tmp_path / "file")
    for path in (link, broken, loop, tmp_path / "pipe", file, tmp_path / "nothing"):
        remove(path)
        assert not os.path.lexists(path)
    assert (target / "piece").exists()
    remove(target)
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stuck, free = leftover(tmp_path / "stuck", folder=True), leftover(tmp_path / "free")
    with protected(stuck):
        left = remove_all([stuck, free])
        discard(stuck)
    assert list(left) == [stuck]
    assert "piece" in left[stuck]
    assert not free.exists()
    assert f"{stuck} is not used any more and cannot be removed: " in caplog.text


def test_leftovers_of_every_kind_go_and_no_others(store: Store, home: Path) -> None:
    gone = [
        leftover(home / "aside" / "0123.duckdb"),
        leftover(home / "aside" / "99999999-abc", folder=True),
        leftover(home / "inbox" / "abc" / ".crawl.jsonl.part"),
        leftover(home / "inbox" / f".picks.csv.9999999-{'0a' * 16}"),
        leftover(home / "releases" / ".9999999-release-abc", folder=True),
        leftover(home / "cache" / "lexical" / "exact" / ".crawl.9999999-abc", folder=True),
        leftover(home / "journal" / "persona_embeddings" / "crawl" / "model" / "abc.aside"),
        leftover(home / "aside" / "of-the-future", age=-30 * DAYS),
    ]
    stays = [
        leftover(home / "aside" / "young", age=60),
        leftover(home / "aside" / f"{os.getpid()}-abc", folder=True),
        leftover(home / "inbox" / "crawl.jsonl"),
        leftover(home / "inbox" / ".notes.2024-05"),
        leftover(home / "releases" / "first", folder=True),
        leftover(home / "cache" / "lexical" / "exact" / "crawl", folder=True),
    ]
    dropped = maintain(store)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in stays if not path.exists()] == []
    assert (dropped.leftovers, dropped.problems) == (len(gone), [])


def test_a_leftover_that_stays_is_said_with_its_reason(home: Path, called: object) -> None:
    stuck = leftover(home / "aside" / "9999999-stuck", folder=True)
    leftover(home / "aside" / "free")
    os.utime(stuck, (time.time() - 3 * DAYS,) * 2)
    with protected(stuck):
        code, _, said = called("maintain", home=home)  # type: ignore[operator]
    assert code == 1
    assert "1 leftovers of killed runs removed" in said
    assert f"{stuck} cannot be removed: " in said
    assert called("maintain", home=home)[0] == 0  # type: ignore[operator]
    assert list((home / "aside").iterdir()) == []


def test_a_takedown_that_leaves_something_is_not_finished(store: Store, home: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages.jsonl"
    page.write_text(json.dumps({"id": "a", "text": "A page"}))
    register(store, str(page))
    stuck = leftover(home / "cache" / "lexical", folder=True)
    target = Target("document", ("a",))
    with protected(stuck), pytest.raises(StoreError, match=r"cache cannot be removed: .*run the same takedown again"):
        takedown(store, target)
    assert unfinished_takedowns(store) == [target.takedown_id]
    assert takedown(store, target).finished_at
    assert not stuck.exists()


def test_an_array_never_stands_beside_what_it_replaces(tmp_path: Path) -> None:
    for place in ("file", "link", "folder"):
        path = tmp_path / place
        if place == "link":
            path.symlink_to(tmp_path)
        else:
            leftover(path, folder=place == "folder")
        array_cache.save(path, "stamp", {"a": np.arange(3)})
        assert sorted(file.name for file in path.iterdir()) == ["a.npy", "manifest.json"]


def test_kernels_are_not_kept_beside_old_ones_that_cannot_be_removed(tmp_path: Path) -> None:
    source = Path(_drop_those_of_other_sources.__wrapped__.__code__.co_filename).parent
    for file in source.glob("*.py"):
        shutil.copy(file, tmp_path)
    kept = leftover(tmp_path / "__pycache__" / "lexical.nbi")
    with protected(kept.parent):
        assert not _drop_those_of_other_sources.__wrapped__(tmp_path)
    assert _drop_those_of_other_sources.__wrapped__(tmp_path)
    assert not kept.exists()
