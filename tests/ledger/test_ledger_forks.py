"""A ledger that is open while its process forks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from forked import Child

from session_block.ledger.store import Ledger, open_ledger

_MINE = {"by": "parent"}


@pytest.fixture
def ledger(store_url: str) -> Iterator[Ledger]:
    """A ledger that has been used, so that it has a connection."""
    with closing(Ledger(store_url)) as ledger:
        ledger.create("e", "mine", _MINE)
        yield ledger


def test_a_child_shares_no_connection(ledger: Ledger) -> None:
    """Parent and children read and write at once, and each gets its own answers."""

    def work(who: str) -> list[bool]:
        return [ledger.create("e", f"{who}/{one}", {})[1] for one in range(30)]

    children = [Child(lambda who=who: work(who)) for who in "abc"]  # type: ignore[misc]
    assert work("d") == 30 * [True]
    assert [child.answer() for child in children] == 3 * [{"value": 30 * [True]}]
    assert ledger.count("e", "") == 1 + 4 * 30


def test_what_a_child_writes_outlives_its_parents_ledger(tmp_path: Path) -> None:
    """SQLite deletes its journal with the last connection; a child's must count."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    ledger.create("e", "mine", _MINE)
    closed = tmp_path / "closed"

    def work() -> bool:
        with closing(open_ledger(url)) as mine:
            mine.create("e", "first", {})
            while not closed.exists():
                time.sleep(0.01)
            return mine.create("e", "second", {})[1]

    child = Child(work)
    while ledger.get("e", "first") is None:
        time.sleep(0.01)
    ledger.close()
    closed.touch()
    assert child.answer() == {"value": True}
    with closing(Ledger(url)) as again:
        assert again.count("e", "") == 3


@pytest.mark.rest
def test_a_fork_waits_for_threads_that_use_the_ledger(ledger: Ledger) -> None:
    """A child has a usable ledger even if a thread read the whole one when it was forked."""

    def read_slowly() -> int:
        return sum(1 for _ in _slowly(ledger.everything()))

    for one in range(20):
        ledger.create("e", f"more/{one}", {})
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read_slowly)
        time.sleep(0.1)
        child = Child(lambda: ledger.count("e", ""))
        assert reading.result() == 21
    assert child.answer() == {"value": 21}
    assert ledger.count("e", "") == 21


@pytest.mark.rest
def test_a_child_forked_in_the_middle_of_reading_is_refused(tmp_path: Path) -> None:
    """SQLite's own state may then be wrong in the child; the parent goes on."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(Ledger(url)) as ledger:
        ledger.create("e", "mine", _MINE)
        reading = ledger.everything()
        next(reading)
        for call in (lambda: ledger.count("e", ""), lambda: open_ledger(url).count("e", "")):
            told = Child(call).answer()["error"]
            assert "LedgerUnavailableError" in told
            assert "'spawn'" in told
        assert not list(reading)
        assert Child(lambda: ledger.count("e", "")).answer() == {"value": 1}


def _slowly(facts: Iterator[object]) -> Iterator[object]:
    for fact in facts:
        time.sleep(0.02)
        yield fact
