"""Adaptive concurrency with simulated servers and a simulated clock: no requests and no waiting."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from modelled import Model

from personahub_assets.generation.concurrency import AdaptiveConcurrency

_WARM = 30  # spans


def warmed(model: Model, most: int = 512, spans: int = _WARM) -> AdaptiveConcurrency:
    window = AdaptiveConcurrency(most, model.now)
    model.run(window, until=lambda: len(window.spans) >= spans)
    return window


def share(model: Model, window: AdaptiveConcurrency) -> float:
    """Throughput as a share of the server's capacity."""
    return model.rate(window, 60 * model.seconds) / model.capacity


@settings(max_examples=20)
@given(
    slots=st.integers(5, 400),
    seconds=st.sampled_from([0.05, 0.5, 8.0]),
    spread=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
@example(slots=31, seconds=1.0, spread=0.0, seed=0)
@example(slots=33, seconds=1.0, spread=0.0, seed=0)
@example(slots=400, seconds=1.0, spread=0.5, seed=0)
def test_it_reaches_what_the_server_can_do(slots: int, seconds: float, spread: float, seed: int) -> None:
    model = Model(slots, seconds, spread, seed=seed)
    assert share(model, warmed(model)) >= 0.9


@pytest.mark.parametrize("most", [1, 2, 7, 32, 100])
def test_a_server_that_can_do_more_is_given_all_that_is_allowed(most: int) -> None:
    model = Model(1_000)
    window = warmed(model, most, spans=40)
    assert window.width == most
    assert max(model.widths) == most


def test_it_begins_narrow_and_widens_while_that_helps() -> None:
    model = Model(2_000, spread=0)
    window = warmed(model, 2_000, spans=12)
    widths = [span.width for span in window.spans]
    assert widths[0] <= 64
    assert widths == sorted(widths)
    assert widths[-1] == 2_000


def test_it_does_not_take_all_it_may_where_that_does_not_help() -> None:
    model = Model(32, spread=0)
    warmed(model, 4_096, spans=200)
    assert max(model.widths) < 400


_STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),  # seconds since the last answer
        st.floats(0, 500),  # seconds that it took
        st.floats(0, 1.5),  # share of the window that is in flight
        st.integers(0, 40),  # signs of overload before it
    ),
    max_size=300,
)


@given(most=st.integers(1, 600), steps=_STEPS)
def test_it_stays_between_one_and_the_most_whatever_happens(
    most: int, steps: list[tuple[float, float, float, int]]
) -> None:
    window, now = AdaptiveConcurrency(most, 0.0), 0.0
    assert 1 <= window.width <= most
    for pause, took, full, overloads in steps:
        now += pause
        for _ in range(overloads):
            window.overloaded()
        before = window.width
        changed = window.answered(took, round(full * window.width), now)
        assert 1 <= window.width <= most
        assert changed == (window.width != before)


# --- overload ---


def shrunk(most: int) -> tuple[AdaptiveConcurrency, list[int]]:
    """A limit that overload has reduced to one, with all its values."""
    window, now, widths = AdaptiveConcurrency(most, 0.0), 0.0, [min(most, 64)]
    while window.width > 1:
        now += 1.0
        for _ in range(9):
            window.overloaded()
        window.answered(0.1, window.width, now)
        widths.append(window.width)
        assert len(widths) < 50
    return window, widths


def test_signs_of_overload_shrink_it_at_each_look() -> None:
    _, widths = shrunk(64)
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == len(widths)


def test_a_storm_without_any_answer_narrows_the_window_at_once() -> None:
    window = AdaptiveConcurrency(64, 0.0)
    for _ in range(63):
        window.overloaded()
    assert window.width == 64
    window.overloaded()
    assert window.width == 44
    for _ in range(500):
        window.overloaded()
    assert 1 <= window.width < 4


def test_a_few_signs_among_many_answers_are_no_overload() -> None:
    window, now = AdaptiveConcurrency(64, 0.0), 0.0
    for number in range(2_000):
        now += 0.01
        if number % 50 == 0:
            window.overloaded()
        window.answered(0.3, window.width, now)
        assert window.width >= 32


@pytest.mark.parametrize("limit", [6, 20, 64, 200])
def test_it_settles_near_what_the_server_lets_through(limit: int) -> None:
    model = Model(1_000, limit=limit)
    window = warmed(model, spans=80)
    assert {span.width for span in window.spans[-40:]} <= set(range(limit // 2, int(limit * 1.6) + 1))
    assert model.rate(window, 200) >= 0.7 * limit


def test_it_comes_back_after_an_overload() -> None:
    model = Model(200, limit=10)
    window = warmed(model, spans=60)
    assert window.width < 20
    model.limit = None
    model.run(window, until=lambda: len(window.spans) >= 100)
    assert share(model, window) >= 0.9


def test_it_comes_back_from_one() -> None:
    window, widths = shrunk(512)
    model = Model(100, now=float(len(widths)))
    model.run(window, until=lambda: len(window.spans) >= 120)
    assert share(model, window) >= 0.9


def test_it_follows_a_server_that_loses_and_regains_most_of_its_places() -> None:
    model = Model(200, spread=0.1)
    window = warmed(model, spans=40)
    wide, place = window.width, len(model.widths)
    model.slots = 20
    model.run(window, until=lambda: len(window.spans) >= 80)
    assert min(model.widths[place:]) < wide
    assert share(model, window) >= 0.9
    model.slots = 200
    model.run(window, until=lambda: len(window.spans) >= 160)
    assert share(model, window) >= 0.9


# --- what says nothing about the server ---


@given(st.integers(40, 3_000), st.integers(2, 300), st.integers(0, 9))
@settings(max_examples=20)
def test_it_does_not_shrink_when_the_requests_run_out(left: int, slots: int, seed: int) -> None:
    model = Model(slots, seed=seed)
    window = AdaptiveConcurrency(512, 0.0)
    model.run(window, until=lambda: model.sent >= left, left=left)
    wide, place = window.width, len(model.widths)
    model.run(window, until=lambda: False, left=0)
    assert model.answers == model.sent == left
    # The last of those that were sent with a full window may still say something.
    tail = model.widths[place + max(1, wide // 10) :]
    assert all(width == tail[0] for width in tail)


def test_one_straggler_does_not_matter() -> None:
    model, same = Model(100, spread=0.1), Model(100, spread=0.1)
    window, other = warmed(model, spans=40), warmed(same, spans=40)
    for each, late in ((window, 1_000.0), (other, 1.0)):
        each.answered(late, each.width, model.now)
    assert share(model, window) >= 0.9
    assert share(same, other) >= 0.9
    assert window.width >= 0.7 * other.width


@pytest.mark.parametrize("every", [100, 1_000])
def test_stragglers_now_and_then_do_not_close_it(every: int) -> None:
    # They take a place in the window for a hundred times as long, but none of the server's.
    model = Model(100)
    window = warmed(model, spans=40)
    before = window.width
    for number in range(20_000):
        model.now += 0.01
        late = number % every == 0
        window.answered(100.0 if late else 1.0, window.width, model.now)
        assert window.width >= min(before, 100) * 0.5


def test_a_long_pause_between_answers_is_not_taken_for_a_slow_server() -> None:
    model = Model(100)
    window = warmed(model, spans=40)
    wide = window.width
    model.now += 3_600  # between two hops, nothing is asked
    model.run(window, until=lambda: model.answers % 5_000 == 0)
    assert window.width >= wide * 0.7


def test_what_is_remembered_of_the_ramp_is_bounded_and_in_order() -> None:
    model = Model(4, seconds=0.2)
    window = warmed(model, most=2, spans=100)
    model.run(window, until=lambda: model.answers >= 30_000)
    assert 150 <= len(window.spans) <= 400
    times = [span.at for span in window.spans]
    assert times == sorted(times)
    assert times[0] < 1
    assert times[-1] > 0.9 * model.now
