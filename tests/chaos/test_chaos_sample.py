"""A sample of ``make chaos``, and that its harness can fail."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from . import scenarios, workers
from .faults import faults
from .flow_runs import flow_runs
from .harness import Rig, Run
from .judging import Allowed, Reference, judge
from .reference import take_reference
from .run import carry_out, summary
from .scenarios import Attempt, Scenario, in_turn, kill_at_request

KILLS = {
    one.title: one
    for one in (
        Scenario(
            "twice",
            "after the answer to a POST, then before the result is stored",
            in_turn(
                Attempt(rules=(kill_at_request("POST /jobs", 2, "after"),)),
                Attempt(kill_at="record result, before:2"),
            ),
            kills=2,
        ),
        Scenario(
            "twice",
            "once the session is open, then once it is closed",
            in_turn(
                Attempt(kill_at="open session, after:1"),
                Attempt(rules=(kill_at_request("PATCH /sessions/{session_id}", 1, "after"),)),
            ),
            Allowed(orphans=True),
            kills=2,
        ),
    )
}
EVERYTHING = {
    one.title: one
    for one in (*scenarios.lags(), *faults(), *workers.paused(), *scenarios.wiped(scenarios.WIPES))
}
SAMPLE = (
    "faults: 500, after × submit",
    "workers: stopped at submit, before:3, until 1 more",
    "wiped disk: submit, after:4",
)
FAILS_WITH = {
    "intent-after-post": "listing lag: submit, after:4",
    "no-look-up": "listing lag: submit, after:4",
    "overwrite": "workers: stopped at record intent, before:3, until 1 more",
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A platform and warm processes for all runs, one after the other."""
    with Rig() as rig:
        yield rig


@pytest.fixture(scope="module")
def reference(rig: Rig) -> Reference:
    """The uninterrupted run."""
    return take_reference(rig)


@pytest.mark.rest
@pytest.mark.parametrize("title", [*KILLS, *SAMPLE])
def test_whatever_happens_it_ends_as_if_nothing_had(
    rig: Rig, reference: Reference, title: str
) -> None:
    """P1, P2, P4, P8: the same result, one job for each submission, one session that is used."""
    verdict = carry_out(rig, {**KILLS, **EVERYTHING}[title], reference)
    assert verdict.good, verdict.problems
    assert not verdict.unreached


@pytest.mark.rest
@pytest.mark.parametrize("control", FAILS_WITH)
def test_the_harness_fails_when_the_product_is_broken(
    rig: Rig, reference: Reference, control: str
) -> None:
    """A harness that cannot fail proves nothing."""
    # So long that a loaded machine is no cure.
    longer = {one.title: one for one in scenarios.lags(10.0)}
    title = FAILS_WITH[control]
    rig.control = control
    try:
        verdict = carry_out(rig, longer.get(title) or EVERYTHING[title], reference)
    finally:
        rig.control = None
    assert verdict.double, verdict.problems
    line, good = summary([verdict])
    assert not good
    assert f"{verdict.double} double" in line


@pytest.mark.rest
def test_a_killed_flow_goes_on_unless_its_places_are_lost(prefect_server: str) -> None:
    """P1, P8: Blocks without names find their own again; the harness sees when they do not."""
    with Rig(prefect_url=prefect_server) as rig:
        reference = take_reference(rig, "two Blocks")
        known = {one.name: one for one in flow_runs("two Blocks", reference)}
        killed = known["submit, after:3"]
        verdict = carry_out(rig, killed, reference)
        assert verdict.good, verdict.problems
        assert not verdict.unreached
        rig.control = "other-places"
        assert carry_out(rig, killed, reference).double


def test_what_is_double_lost_or_different_is_counted(rig: Rig, reference: Reference) -> None:
    """The same good run is judged as bad by a reference that has less, more, or another result."""
    run = rig.begin("counted")
    endings = [run.start().end()]
    first, *others = sorted(reference.submissions)
    fewer = replace(reference, submissions=frozenset(others))
    more = replace(reference, submissions=reference.submissions | {"f" * 24})
    other = replace(reference, result={**reference.result, "energy": 0.0})

    def counts(against: Reference) -> tuple[int, int, int]:
        verdict = judge(run, Allowed(), endings, against)
        return verdict.double, verdict.lost, verdict.mismatched

    assert counts(reference) == (0, 0, 0)
    assert counts(fewer) == (1, 0, 0), first
    assert counts(more) == (0, 1, 0)
    assert counts(other) == (0, 0, 1)


@pytest.mark.parametrize(
    ("route", "recorded", "not_yet"),
    [
        ("POST /sessions", "session-intent", "session"),
        ("POST /jobs", "intent", "outcome"),
        ("GET /jobs/{job_id}", "outcome", "result"),
    ],
)
def test_the_intent_comes_first_and_the_job_id_next(
    rig: Rig, route: str, recorded: str, not_yet: str
) -> None:
    """P3: at the POST the intent is in the ledger, at the first look at the job its ID is."""
    run = rig.begin("order")
    assert run.start(rules=(kill_at_request(route, 1, "before"),)).end().killed
    kinds = _kinds_of_facts(run)
    assert recorded in kinds
    assert not_yet not in kinds


def test_nothing_that_ran_proves_nothing() -> None:
    """An empty run, or one that seldom reached its points, is not a good one."""
    assert not summary([])[1]


def _kinds_of_facts(run: Run) -> set[str]:
    with closing(sqlite3.connect(run.ledger_url.removeprefix("sqlite:///"))) as database:
        keys = database.execute("SELECT key FROM session_block_facts").fetchall()
    return {key.partition("/")[0] for (key,) in keys}
