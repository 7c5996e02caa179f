"""Numbers that are given once each, on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_block.ledger.store import Ledger
from session_block.records.job_quota import JobQuota
from session_block.records.journal import Journal

LIMIT = 10


def test_each_holder_has_one_number(store_url: str) -> None:
    """Who asks again gets the number that it has, in this process and in the next."""
    with closing(Ledger(store_url)) as ledger:
        quota = JobQuota(Journal(ledger, "e"))
        assert [quota.take(holder) for holder in "abab"] == [1, 2, 1, 2]
        again = JobQuota(Journal(ledger, "e"))
        again.reconcile(["a", "b", "c"], [])
        assert [again.take(holder) for holder in "abcd"] == [1, 2, 3, 4]
        assert again.used() == 4


def test_scopes_count_apart(store_url: str) -> None:
    """The jobs of another experiment are none of this one's."""
    with closing(Ledger(store_url)) as ledger:
        JobQuota(Journal(ledger, "e")).take("a")
        assert JobQuota(Journal(ledger, "f")).take("a") == 1
        assert JobQuota(Journal(ledger, "f")).used() == 1


def test_what_made_no_job_makes_room(store_url: str) -> None:
    """A void number is not counted, and void twice makes room once."""
    with closing(Ledger(store_url)) as ledger:
        quota = JobQuota(Journal(ledger, "e"))
        for holder in "abc":
            quota.take(holder)
        quota.void("b")
        quota.void("b")
        quota.void("unknown")
        assert quota.rank(quota.take("d")) == 3
        assert quota.rank(1) == 1
        assert quota.used() == 3


def test_concurrent_holders_pass_no_limit_and_use_it_up(store_url: str) -> None:
    """P12: of many that ask at once exactly the limit's number is let through."""
    with closing(Ledger(store_url)) as ledger:

        def ask(worker: int) -> list[bool]:
            quota = JobQuota(Journal(ledger, "e"))
            return [quota.rank(quota.take(f"{worker}/{number}")) <= LIMIT for number in range(4)]

        with ThreadPoolExecutor(8) as pool:
            let_through = [one for answers in pool.map(ask, range(8)) for one in answers]
        assert sum(let_through) == LIMIT
        assert len(let_through) == 32


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger for many scopes."""
    with closing(Ledger(f"sqlite:///{tmp_path_factory.mktemp('quota') / 'ledger.db'}")) as ledger:
        yield ledger


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 30), max_size=40))
def test_however_holders_come_and_go_the_limit_holds(ledger: Ledger, steps: list[int]) -> None:
    """Of those let through never more than the limit's number are not void."""
    quota = JobQuota(Journal(ledger, uuid4().hex))
    holders: list[str] = []
    let_through: set[str] = set()
    for step in steps:
        if step < 0 or not holders:
            holders.append(str(len(holders)))
            if quota.rank(quota.take(holders[-1])) <= 3:
                let_through.add(holders[-1])
        else:
            holder = holders[step % len(holders)]
            quota.void(holder)
            let_through.discard(holder)
        assert len(let_through) <= 3
