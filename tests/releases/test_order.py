"""The specification of a release is checked at once, and all faults are reported."""

from contextlib import suppress
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import DATASETS
from personahub_assets.releases.spec import ReleaseSpec, check_name, left_out_text, public_address


def test_all_configs_are_released_unless_some_are_selected() -> None:
    assert ReleaseSpec.of("v1").configs == ("personas", *DATASETS)
    assert ReleaseSpec.of("v1", ["tools", "personas", "tools"]).configs == ("personas", "tools")


def test_a_condition_is_for_all_configs_or_for_the_one_that_it_names() -> None:
    order = ReleaseSpec.of(
        "v1", ["personas", "tools"], ["hop::INTEGER <= 1", "tools: length(text) > 9", "tools:sample = 0"]
    )
    assert order.where == {
        "personas": ("hop::INTEGER <= 1",),
        "tools": ("hop::INTEGER <= 1", "length(text) > 9", "sample = 0"),
    }


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        ReleaseSpec.of("V 1", ["tool", "personas"], ["tools: sample = 0", " "], license="Mine, all mine")
    for said in (
        "unknown config 'tool' (did you mean 'tools'?",
        "release name 'V 1' is not allowed: use 1 to 64 of a-z",
        "licence 'Mine, all mine' is not an identifier such as apache-2.0",
        "--where 'tools: sample = 0': no selected config 'tools' (valid: personas)",
        "--where ' ' has no condition",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize("name", ["v1", "v1.0", "2024-05-01", "a_b", "a" * 64])
def test_names_that_are_allowed(name: str) -> None:
    assert check_name(name) == name


@given(st.text(alphabet=st.sampled_from("aZ9._-/\\ \n\0:é"), max_size=70) | st.text(max_size=5))
def test_a_name_that_is_allowed_is_one_plain_folder(name: str) -> None:
    with suppress(ConfigError):
        assert PurePath(check_name(name)).parts == (name,)
        assert not name.startswith(".")
        assert name.isascii()
        assert len(name) <= 64


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/home/ann/secret/crawl.jsonl", "crawl.jsonl"),
        ("C:\\Users\\ann\\crawl.jsonl", "crawl.jsonl"),
        ("hf://datasets/a/b/c.jsonl", "hf://datasets/a/b/c.jsonl"),
        ("https://ann:pass@example.org:8443/a.csv?token=1#x", "https://example.org:8443/a.csv"),
        (None, "unknown"),
    ],
)
def test_addresses_are_told_without_folders_and_secrets(source: str | None, told: str) -> None:
    assert public_address(source) == told


def test_what_is_left_out_is_said_by_reason() -> None:
    counts = {"persona_left_the_hub": 1200, "condition_not_met": 0, "persona_not_released": 2}
    assert left_out_text(counts) == (
        "1,200 rows whose persona is no longer in the hub, 2 rows whose persona is not released are left out"
    )
