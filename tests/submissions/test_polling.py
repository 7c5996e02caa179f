"""When a job is looked at."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from session_block.client.jobs import Duration
from session_block.submissions.polling import (
    SLOWEST_SECONDS,
    PollSchedule,
    until_first_look,
    until_next_look,
)

LIKE = "some jobs"


def _looks(schedule: PollSchedule, end: float) -> Iterator[float]:
    """Yield when a job is looked at that ends then, until it is seen to have ended."""
    expected, elapsed = schedule.expectation(LIKE), 0.0
    while elapsed < end:
        elapsed += until_next_look(expected, elapsed)
        yield elapsed


def _run(schedule: PollSchedule, ends: list[float]) -> tuple[list[float], list[int]]:
    """Return how late the end of each job was seen, and how many looks that took."""
    lateness, counts = [], []
    for end in ends:
        looks = list(_looks(schedule, end))
        schedule.looked(LIKE, len(looks) - 1)
        schedule.learn(LIKE, Duration(0.0, end))
        lateness.append(looks[-1] - end)
        counts.append(len(looks))
    return lateness, counts


@pytest.mark.parametrize("seconds", [0.2, 1.0, 10.0])
def test_jobs_that_take_equally_long_are_seen_at_once(seconds: float) -> None:
    """After a few jobs an end is seen within a hundredth, or some milliseconds, by few looks."""
    draw = random.Random(1)  # noqa: S311 - to be the same again
    ends = [seconds * draw.uniform(0.99, 1.01) for _ in range(60)]
    lateness, counts = _run(PollSchedule(), ends)
    assert sum(lateness[10:]) / 50 < max(0.006, 0.012 * seconds)
    assert sum(counts[10:]) / 50 < 2 * SLOWEST_SECONDS + seconds / SLOWEST_SECONDS


def test_jobs_that_become_shorter_are_soon_looked_at_earlier() -> None:
    """What a job took is learnt from the platform, so that only one look comes too late."""
    lateness, _ = _run(PollSchedule(), [5.0] * 5 + [0.5] * 10)
    assert lateness[5] > 1.0
    assert max(lateness[6:]) < 0.05


def test_jobs_that_become_longer_are_looked_at_more_and_more_rarely() -> None:
    """A job that takes far longer than expected is not asked for at every moment."""
    schedule = PollSchedule()
    _run(schedule, [0.1] * 5)
    looks = list(_looks(schedule, 100.0))
    assert len(looks) < 100
    assert looks[-1] - 100.0 <= SLOWEST_SECONDS


def test_the_wait_for_a_session_is_not_expected_again() -> None:
    """A session's first job has waited for it; the second one is looked at as if it had not."""
    schedule = PollSchedule()
    schedule.learn(LIKE, Duration(queued=60.0, ran=1.0))
    first = next(_looks(schedule, 1.0))
    assert first == pytest.approx(1.0, abs=0.02)


def test_nothing_is_known_of_the_first_job() -> None:
    """It is looked at soon, and then at distances that grow with the time that it takes."""
    looks = list(_looks(PollSchedule(), 30.0))
    assert looks[0] < 0.05
    assert all(
        later - earlier <= max(0.1 * later, 0.021) for earlier, later in itertools.pairwise(looks)
    )


@pytest.mark.parametrize("known", [False, True])
def test_whoever_comes_late_looks_at_once(known: bool) -> None:
    """A job that was sent long ago may have ended long ago; a new one is waited for."""
    schedule = PollSchedule()
    if known:
        schedule.learn(LIKE, Duration(0.0, 5.0))
    expected = schedule.expectation(LIKE)
    assert until_first_look(expected, 30.0) == 0
    assert until_first_look(expected, 0.0) > 0


def test_a_long_job_is_looked_at_now_and_then() -> None:
    """Somebody may cancel it, or close its session."""
    schedule = PollSchedule()
    _run(schedule, [600.0] * 3)
    looks = [0.0, *_looks(schedule, 600.0)]
    distances = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert max(distances) <= SLOWEST_SECONDS + 1e-9


def test_kinds_of_jobs_are_told_apart() -> None:
    """What one kind of job took says nothing of another kind."""
    schedule = PollSchedule()
    schedule.learn("others", Duration(0.0, 50.0))
    assert schedule.expectation(LIKE) is None
