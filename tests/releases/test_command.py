"""`personahub release`: building, listing, searching, and refusals."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from personahub_assets.instance.instance import open_instance
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release, find_release
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store

Said = tuple[int, str, str]


@pytest.fixture
def say(store: Store, called: Callable[..., Said]) -> Callable[..., Said]:
    """Run `personahub release` in this process; return exit code, standard output and standard error."""

    def run(*arguments: str, home: Path = store.root) -> Said:
        return called("release", *arguments, home=home)

    return run


def test_a_release_is_made_and_seen_in_the_instance(store: Store, say: Callable[..., Said]) -> None:
    code, out, err = say("v1", "--select", "tools", "--where", "tools: batch = 'a'", "--select", "personas", "--jsonl")
    assert (code, out) == (0, "")
    made = find_release(store, "v1")
    assert made.rows == {"personas": 9, "tools": 3}
    assert made.manifest["where"] == {"tools": ["batch = 'a'"]}
    assert "        3 tools\n" in err
    assert "tools: 2 rows that do not meet the condition are left out\n" in err
    assert "bytes shared with the store" in err
    with open_instance(store.root) as instance:
        (run,) = instance.get_runs()
        event = instance.get_latest_materialization_event(dg.AssetKey("release"))
    assert (run.job_name, run.is_success) == ("make_release", True)
    assert event is not None
    assert event.asset_materialization is not None
    assert_described(made, event.asset_materialization)
    code, _, err = say("v1")
    assert code == 1
    assert "error: release 'v1' exists already and never changes" in err


@pytest.mark.parametrize(("condition", "message"), [("scoer > 2", '"scoer" not found'), ("hop > 9", "would be empty")])
def test_a_wrong_condition_is_refused_before_there_is_a_run(
    store: Store, say: Callable[..., Said], condition: str, message: str
) -> None:
    code, _, err = say("v1", "--where", condition)
    assert code == 1
    assert message in err
    with open_instance(store.root) as instance:
        assert instance.get_runs() == []


def assert_described(made: Release, event: dg.AssetMaterialization) -> None:
    """Check the metadata of a release in the UI."""
    said = {name: value.value for name, value in event.metadata.items()}
    assert said["dagster/row_count"] == 12
    assert [record.data for record in event.metadata["rows"].records] == [  # type: ignore[union-attr]
        {"config": "personas", "rows": 9},
        {"config": "tools", "rows": 3},
    ]
    assert (said["bytes_linked"], said["bytes_written"]) == made.bytes()
    assert said["path"] == str(made.path)
    assert said["verify_with"] == "`personahub release v1 --verify`"
    assert str(said["card"]).startswith("# v1\n")
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == said["sha256_of_sums"] == made.sums


def test_releases_are_listed_and_verified(store: Store, say: Callable[..., Said]) -> None:
    assert say()[1].endswith("has no releases yet\n")
    freeze(store, ReleaseSpec.of("v1", ["tools"]))
    freeze(store, ReleaseSpec.of("v2", ["personas"]))
    (store.root / "releases" / "v0").mkdir()
    for arguments in ((), ("--list",)):
        code, out, err = say(*arguments)
        assert code == 0, err
        assert [line.split()[1] for line in out.splitlines() if " v" in line] == ["v0", "v1", "v2"]
        assert "damaged" in out
    assert say("v1", "--verify") == (0, "", "v1: whole, 5 files\n")
    damaged = store.root / "releases" / "v1" / "data" / "tools" / "train-00000-of-00002.parquet"
    content = bytearray(damaged.read_bytes())
    content[100] ^= 1
    damaged.unlink()
    damaged.write_bytes(content)
    (store.root / "releases" / "v2" / "new.txt").touch()
    code, out, err = say("--verify")
    assert (code, out) == (1, "")
    assert "v1: data/tools/train-00000-of-00002.parquet: changed: SHA-256 is " in err
    assert "v2: new.txt: not part of the release\n" in err
    assert "v0: SHA256SUMS: missing or damaged" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["../v1"], "release name '../v1' is not allowed"),
        (["v1", "--select", "tool"], "unknown config 'tool' (did you mean 'tools'?"),
        (["v1", "--license", "(c) me"], "licence '(c) me' is not an identifier"),
        (["v1", "--verify", "--jsonl"], "--jsonl: only for making a release (personahub release NAME)"),
        (["--where", "hop = 0"], "--where: only for making a release"),
        (["v9", "--verify"], "no release 'v9' (there is none yet); make it with: personahub release v9"),
    ],
)
def test_what_is_refused_is_said_in_one_message(
    store: Store, say: Callable[..., Said], arguments: list[str], said: str
) -> None:
    code, out, err = say(*arguments)
    depends_on_the_home = said.startswith(("unknown config", "no release"))
    assert (code, out) == (1 if depends_on_the_home else 2, "")
    assert said in err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert not (store.root / "releases").exists() or list((store.root / "releases").iterdir()) == []


def test_a_home_without_batches_says_what_to_do_first(tmp_path: Path, say: Callable[..., Said]) -> None:
    code, _, err = say("v1", home=tmp_path / "none")
    assert code == 1
    assert "has no batches yet; register a source file first: personahub ingest FILE" in err


def test_a_release_that_a_home_of_the_stand_in_refuses_leaves_no_failed_run(
    store: Store, say: Callable[..., Said]
) -> None:
    (store.root / "writer").write_text("standin")
    code, _, err = say("v1")
    assert code == 1
    assert "7 rows of personas" in err
    with open_instance(store.root) as instance:
        assert list(instance.get_runs()) == []


def test_formats_and_views_are_options(store: Store, say: Callable[..., Said]) -> None:
    code, _, err = say("v1", "--select", "tools", "--format", "messages")
    assert code == 1
    assert "--format messages needs a prompt and its answer, or a column messages, and tools has none" in err
    code, _, err = say("v1", "--select", "math_problems_unique", "--format", "prompt")
    assert (code, find_release(store, "v1").rows) == (0, {"math_problems_unique": 9}), err
    assert say("v1", "--verify")[0] == 0
