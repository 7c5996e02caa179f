"""Equal requests are told apart by how often they were asked for."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from session_block.experiments.occurrences import Asking
from session_block.experiments.replay import Occurrences
from session_block.prefect_context import TaskAttempt
from session_block.records.keys import Asker


def test_equal_requests_are_counted() -> None:
    """Three equal requests are three occurrences; another request has its own count."""
    occurrences = Occurrences()
    assert [occurrences.take("a") for _ in range(3)] == [1, 2, 3]
    assert occurrences.take("b") == 1


def test_a_request_that_raised_leaves_its_place() -> None:
    """The next equal request takes the earliest place that was given back."""
    occurrences = Occurrences()
    places = [occurrences.take("a") for _ in range(3)]
    occurrences.give_back("a", places[1])
    occurrences.give_back("a", places[0])
    assert [occurrences.take("a") for _ in range(3)] == [1, 2, 4]


def test_a_task_retry_asks_for_the_same() -> None:
    """The k-th equal request of a task's retry is the k-th of its first try."""
    occurrences = Occurrences()
    first, other, again = TaskAttempt("t", 1), TaskAttempt("u", 1), TaskAttempt("t", 2)
    assert [occurrences.take("a", first) for _ in range(2)] == [1, 2]
    assert occurrences.take("a", other) == 3
    assert [occurrences.take("a", again) for _ in range(3)] == [1, 2, 4]


def test_a_retry_takes_back_what_it_had_given_back() -> None:
    """A place that the first try left is not handed to somebody else once the retry has it."""
    occurrences = Occurrences()
    place = occurrences.take("a", TaskAttempt("t", 1))
    occurrences.give_back("a", place)
    assert occurrences.take("a", TaskAttempt("t", 2)) == place
    assert occurrences.take("a") == 2


def test_a_place_that_somebody_took_over_is_not_taken_back() -> None:
    """When another task has the place by now, the retry gets the next one."""
    occurrences = Occurrences()
    place = occurrences.take("a", TaskAttempt("t", 1))
    occurrences.give_back("a", place)
    assert occurrences.take("a", TaskAttempt("u", 1)) == place
    assert occurrences.take("a", TaskAttempt("t", 2)) == 2


def test_threads_never_share_a_place() -> None:
    """Concurrent equal requests all get different places."""
    occurrences = Occurrences()
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: occurrences.take("a"), range(200)))
    assert sorted(places) == list(range(1, 201))


def test_what_nobody_is_known_to_have_asked_for_comes_first_in_order() -> None:
    """As after a lost ledger: its own later occurrence is no reason to skip the ones before."""
    asker = Asker(run="run", path="", call="")
    mine = Asking(asker, attempt=3)
    recorded = {("a", 3): asker, ("a", 4): Asker(run="run", path="other", call="other")}
    occurrences = Occurrences(recorded, "run", _Found({1: None, 5: None}))
    assert [occurrences.take("a", asking=mine) for _ in range(5)] == [1, 3, 5, 2, 6]


def test_what_a_tag_says_to_be_anothers_is_not_taken() -> None:
    """The ledger does not know who asked for what was found; the jobs' tags do."""
    mine = Asker(run="run", path="", call="")
    other = Asker(run="run", path="p", call="c")
    occurrences = Occurrences({}, "run", _Found({1: other, 2: None, 3: mine}))
    asking, other_asks = Asking(mine, attempt=2), Asking(other, attempt=2)
    assert [occurrences.take("a", asking=asking) for _ in range(3)] == [2, 3, 4]
    assert [occurrences.take("a", asking=other_asks) for _ in range(2)] == [1, 5]


@dataclass(frozen=True)
class _Found:
    """Occurrences found on the platform, each with whom its tag names."""

    told: Mapping[int, Asker | None]

    def has(self, fingerprint: str, occurrence: int) -> bool:
        return fingerprint == "a" and occurrence in self.told

    def may_go_to(self, asker: Asker | None, _fingerprint: str, occurrence: int) -> bool:
        return self.told[occurrence] in (None, asker)
