"""Retry-After in every form of HTTP, read the same way for chat and for embeddings."""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, ask, error, good

from personahub_assets.core.retry_after import seconds_asked
from personahub_assets.core.retrying import Backoff
from personahub_assets.endpoints import transport

SENT = "Sun, 06 Nov 1994 08:49:37 GMT"


def in_all_forms(then: datetime) -> list[str]:
    return [format_datetime(then, usegmt=True), then.strftime("%A, %d-%b-%y %H:%M:%S GMT"), then.strftime("%c")]


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize("seconds", [7_200, 90, 0, -3_600])
def test_a_date_in_each_form_is_read(form: int, seconds: int) -> None:
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    found = seconds_asked(in_all_forms(then)[form])
    assert found is not None
    assert max(0, seconds - 60) <= found <= max(0, seconds)


def test_a_date_is_compared_with_the_servers_own_clock() -> None:
    assert seconds_asked("Sunday, 06-Nov-94 08:50:07 GMT", SENT) == 30
    assert seconds_asked("Sun Nov  6 08:49:47 1994", SENT) == 10
    assert seconds_asked("7", SENT) == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("3", 3), (" 2.5 ", 2.5), (".5", 0.5), ("-1", 0), ("-0.5", 0), ("9" * 30, 31_536_000)],
)
def test_seconds_are_read(text: str, seconds: float) -> None:
    assert seconds_asked(text) == seconds


@pytest.mark.parametrize(
    "text",
    [None, "", "soon", "²", "٣", ".", "1.2.3", "nan", "inf", "1e3", "1_0", "Sun, 06 Nov", "99:99", "x" * 10_000,
     "Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +9999999"],
)  # fmt: skip
def test_what_cannot_be_read_is_nothing(text: str | None) -> None:
    assert seconds_asked(text) is None


@given(st.text(max_size=60), st.text(max_size=60) | st.none())
def test_no_header_is_an_error(text: str, sent: str | None) -> None:
    found = seconds_asked(text, sent)
    assert found is None or 0 <= found <= 31_536_000


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("form", range(3))
def test_a_server_that_names_a_date_is_not_down(script: Script, form: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than consecutive failures are allowed get a date in Retry-After, and all are answered."""
    monkeypatch.setattr(transport, "_BACKOFF", Backoff(0.0, 0.0, 0.05))
    date = in_all_forms(datetime.now(UTC) + timedelta(seconds=40))[form]
    script.told(*[error(500, retry_after=date)] * 6, otherwise=good())
    script.gate = threading.Barrier(2)
    outcomes = ask(script.url, rows=2, together=True, tries=9, faults_in_a_row=2)
    assert [outcome.status for outcome in outcomes] == ["accepted"] * 2
