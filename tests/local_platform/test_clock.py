"""What the clock shows is whole microseconds, as clients read and send back."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from session_block.local_platform.clock import Clock, Reading, iso

UNEVEN = [1_790_000_000.123456789, 4_294_967_296.3333333, 20_000_000_000.7654321]


def stopped(moment: float) -> Clock:
    """Return a clock that stands still at a moment."""
    return Clock(0.0, Reading(moment, time.time(), 0.0))


@pytest.mark.parametrize("moment", UNEVEN)
def test_a_moment_survives_its_text(moment: float) -> None:
    """What a client reads and sends back is the very moment that was noted down."""
    now = stopped(moment).now()
    assert now == pytest.approx(moment, abs=1e-6)
    text = iso(now)
    assert text is not None
    assert datetime.fromisoformat(text).timestamp() == now


@pytest.mark.parametrize("due", [5000.0000001, 5000.0000004, 5000.0000006, 5000.000001])
def test_what_is_due_between_two_microseconds(due: float) -> None:
    """An advancing clock stops at the first microsecond at which it is due, and goes on."""
    clock = stopped(4999.0)
    looks = []

    def engine() -> None:
        for hold in (due, 7000.0):
            mark, now = clock.look()
            looks.append(now)
            assert clock.release(mark, hold)
            assert clock.seconds_until(hold) == (0.0 if hold == due else float("inf"))

    # The engine's part is done when it is woken, in the same thread: the clock then has arrived.
    assert clock.advance(1000.0, engine) == 5999.0
    assert looks == [4999.0, 5000.000001]


def test_a_slow_clock_moves_however_often_it_is_looked_at() -> None:
    """What is less than a microsecond is not shown, and not lost either."""
    clock = Clock(1e-3, Reading(5000.0, time.time(), 1e-3))
    started = time.perf_counter()
    while time.perf_counter() - started < 0.1:
        mark, _ = clock.look()
        assert clock.release(mark, 7000.0)
        time.sleep(1e-4)
    moved = clock.now() - 5000.0
    # The clock is held between a look and its release: what that took is not made up.
    passed = (time.perf_counter() - started) * 1e-3
    assert passed / 2 < moved < passed + 1e-6
