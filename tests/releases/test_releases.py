"""Listing and verifying releases, and finding those that contain a row."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import persona, put

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release, count_rows_of, find_release, list_releases, verify
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, written: Path) -> Store:
    """A home with three releases: of all, of the tools alone, and of the second batch."""
    home = tmp_path_factory.mktemp("released") / "hub"
    store = Store(home=str(home))
    (home / "releases").mkdir(parents=True)
    (home / "tables").symlink_to(written / "tables")
    freeze(store, ReleaseSpec.of("all", jsonl=True))
    freeze(store, ReleaseSpec.of("tools", ["tools"]))
    freeze(store, ReleaseSpec.of("second", ["personas", "math_problems"], ["batch = 'b'"]))
    return store


@pytest.fixture
def whole(shared: Store) -> Iterator[Release]:
    """A release that is restored after the test."""
    made = find_release(shared, "all")
    before = {path: path.read_bytes() for path in made.files().values()}
    yield made
    for path in made.files().values():
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def test_releases_are_listed_and_what_is_none_is_not(shared: Store) -> None:
    (shared.root / "releases" / ".1-release-x").mkdir(exist_ok=True)
    (shared.root / "releases" / "notes.txt").touch()
    assert [found.name for found in list_releases(shared)] == ["all", "second", "tools"]
    assert list_releases(Store(home=str(shared.root / "nowhere"))) == []
    with pytest.raises(ConfigError, match=r"no release 'tool' .*did you mean 'tools'"):
        find_release(shared, "tool")
    with pytest.raises(ConfigError, match="is not allowed"):
        find_release(shared, "../hub")


def test_every_release_is_whole(shared: Store) -> None:
    assert {found.name: verify(found) for found in list_releases(shared)} == {"all": [], "tools": [], "second": []}


@given(st.data())
def test_one_flipped_bit_anywhere_is_found(shared: Store, data: st.DataObject) -> None:
    made = find_release(shared, "all")
    name, path = data.draw(st.sampled_from(sorted(made.files().items())), label="file")
    before = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(before) - 1), label="byte"), data.draw(st.integers(0, 7), label="bit")
    spoilt = bytearray(before)
    spoilt[place] ^= 1 << bit
    path.unlink()  # not written to: it is the store's file, too
    path.write_bytes(spoilt)
    faults = verify(Release(made.path))
    path.unlink()
    path.write_bytes(before)
    assert faults
    # A line of the sums names another file; otherwise it is the file that is named.
    assert name == "SHA256SUMS" or faults[0].startswith(f"{name}: changed: SHA-256 is ")


def test_missing_and_added_files_and_links_are_named(whole: Release) -> None:
    (whole.path / "data" / "tools" / "train-00001-of-00002.parquet").unlink()
    (whole.path / "data" / "extra.parquet").touch()
    (whole.path / "README.md").rename(whole.path / "data" / "elsewhere")
    (whole.path / "README.md").symlink_to(whole.path / "data" / "elsewhere")
    faults = verify(whole)
    assert faults[:4] == [
        "data/tools/train-00001-of-00002.parquet: missing",
        "data/elsewhere: not part of the release",
        "data/extra.parquet: not part of the release",
        faults[3],
    ]
    assert faults[3].startswith("README.md: changed: SHA-256 is a link, SHA256SUMS has ")
    assert len(faults) == 4


def test_a_manifest_that_was_replaced_with_its_hash_is_found(whole: Release) -> None:
    from personahub_assets.releases.folder import sha256

    manifest, sums = whole.path / "manifest.json", whole.path / "SHA256SUMS"
    old = sha256(manifest)
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text.replace("data/tools/train-00000", "data/tools/other"))
    replaced = sums.read_text().replace(old, sha256(manifest))
    sums.unlink()
    sums.write_text(replaced)
    assert verify(Release(whole.path)) == ["manifest.json: its hashes differ from SHA256SUMS"]


def test_without_its_sums_nothing_is_believed(whole: Release) -> None:
    (whole.path / "SHA256SUMS").unlink()
    faults = verify(whole)
    assert faults[0].startswith("SHA256SUMS: missing or damaged")
    assert "manifest.json: not part of the release" in faults


# --- which hold a row ---


def test_a_row_is_found_with_what_was_made_of_it(shared: Store) -> None:
    # pb1 is related to pb0: two personas, two problems, one tool.
    of_d2 = partial(count_rows_of, persona_ids=[], of=lambda *document: document == ("b", "d2"))
    of_none = partial(count_rows_of, persona_ids=["p"], of=lambda *document: document == ("c", "d2"))
    assert everywhere(shared, partial(count_rows_of, persona_ids=["pb0"])) == {"all": 5, "second": 4, "tools": 1}
    assert everywhere(shared, partial(count_rows_of, persona_ids=["pb1"])) == {"all": 2, "second": 2}
    assert everywhere(shared, of_d2) == {"all": 3, "second": 2}
    assert everywhere(shared, of_none) == {}


def everywhere(store: Store, count: Callable[[Release], int]) -> dict[str, int]:
    return {found.name: rows for found in list_releases(store) if (rows := count(found))}


def test_a_row_that_has_left_the_store_is_found_in_its_release(store: Store) -> None:
    freeze(store, ReleaseSpec.of("v1"))
    put(store, "personas", "a", [persona("a", n) for n in range(4)])
    freeze(store, ReleaseSpec.of("v2"))
    assert everywhere(store, partial(count_rows_of, persona_ids=["pa4"])) == {"v1": 3}


def test_a_damaged_release_is_named(whole: Release, shared: Store) -> None:
    damaged = whole.data("personas")[0]
    damaged.unlink()
    damaged.write_bytes(b"nothing")
    with pytest.raises(
        StoreError, match=r"release 'all': personas cannot be read: .* See: personahub release all --ver"
    ):
        count_rows_of(whole, ["pa0"])
    (whole.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"release 'all': manifest.json is missing or damaged"):
        _ = Release(whole.path).rows
