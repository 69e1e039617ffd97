"""The retry policy, alone and with tenacity."""

import pytest
import tenacity

from personahub_assets.core.retrying import Backoff

BACKOFF = Backoff(0.5, longest_s=30, longest_asked_s=60)


class BusyError(Exception):
    pause: float | None = None


def test_the_bound_of_a_pause_doubles_up_to_the_longest() -> None:
    longest = [max(BACKOFF.pause(failures) for _ in range(2_000)) for failures in (1, 2, 3, 10, 10_000)]
    assert [round(pause, 1) for pause in longest] == [pytest.approx(bound, rel=0.05) for bound in (0.5, 1, 2, 30, 30)]
    assert min(BACKOFF.pause(10) for _ in range(2_000)) < 1


@pytest.mark.parametrize(("asked", "pause"), [(7.0, 7.0), (600.0, 60.0)])
def test_what_the_server_asks_for_is_kept_to_a_bound(asked: float, pause: float) -> None:
    assert BACKOFF.pause(1, asked) == pause


def test_a_wait_that_is_over_says_no_more_than_again() -> None:
    assert 0 <= BACKOFF.pause(1, 0.0) <= 0.5


def test_jitter_is_added_to_what_the_server_asks_for() -> None:
    pauses = [Backoff(0, longest_s=0, longest_asked_s=9, jitter_s=0.5).pause(1, 3) for _ in range(100)]
    assert min(pauses) >= 3
    assert 3.2 < max(pauses) <= 3.5


def test_tenacity_waits_by_it() -> None:
    slept: list[float] = []
    failures = [BusyError(), BusyError()]
    failures[0].pause = 7.0

    def work() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    retrying = tenacity.Retrying(wait=BACKOFF, sleep=slept.append, stop=tenacity.stop_after_attempt(5))
    assert retrying(work) == "done"
    assert slept[0] == 7
    assert 0 <= slept[1] <= 1
