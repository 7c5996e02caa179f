"""``extend=True`` goes on with a finished experiment: its next chapter."""

from __future__ import annotations

import contextvars
import logging
from contextlib import suppress
from uuid import uuid4

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_helpers import flipped
from support import Platform

from session_block import Experiment, QuantumSession
from session_block.errors import (
    ExperimentDivergedError,
    ExperimentSealedError,
    InvalidInputError,
)
from session_block.flows.sweep import sweep
from session_block.flows.vqe import vqe

pytestmark = pytest.mark.rest


class _GivenUpError(Exception):
    """The failure of a test's program."""


@pytest.fixture
def name() -> str:
    """A name that no other test uses: they share the platform, where names are looked up."""
    return f"chapters-{uuid4().hex[:8]}"


def _ask(experiment: Experiment, *shots: int) -> None:
    for one in shots:
        counts = experiment.run_sampler([flipped()], shots=one)[0].data.c.get_counts()
        assert counts == {"1": one}


def test_the_next_chapter_replays_and_goes_on(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """Three chapters: one that replays all before it, and one that leaves them out."""
    last = None
    for shots, report in (((1, 2), {"best": 1}), ((1, 2, 3), {"best": 2}), ((4,), {"best": 3})):
        with block.experiment(name, extend=True) as experiment:
            assert experiment.previous == last
            assert experiment.report() is None
            _ask(experiment, *shots)
            last = experiment.report(report)
    assert experiment.chapter == 3
    assert platform.jobs_named(name) == 4
    view = Experiment.load(name, block.ledger())
    assert view.sealed
    assert view.report() == last
    assert last is not None
    assert last["best"] == 3
    assert view.previous is not None
    assert view.previous["best"] == 2
    # Without extend, the latest report is returned, and nothing is bought.
    with block.experiment(name) as again:
        assert again.report() == last
        _ask(again, 1, 2, 3, 4)
        with pytest.raises(ExperimentSealedError, match="extend=True"):
            _ask(again, 5)
    assert platform.jobs_named(name) == 4


def _in_next_chapter(block: QuantumSession, name: str, *shots: int, fail: bool = False) -> None:
    with block.experiment(name, extend=True) as experiment:
        _ask(experiment, *shots)
        if fail:
            raise _GivenUpError


def test_an_unfinished_chapter_goes_on(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """An interrupted chapter is continued, with or without ``extend``; it may not diverge."""
    with block.experiment(name) as experiment:
        _ask(experiment, 1)
    with pytest.raises(_GivenUpError):
        _in_next_chapter(block, name, 2, 3, fail=True)
    with pytest.raises(ExperimentDivergedError):
        _in_next_chapter(block, name, 2, 9)
    with block.experiment(name) as experiment:
        assert experiment.chapter == 2
        _ask(experiment, 2, 3, 4)
    assert experiment.chapter == 2
    assert experiment.sealed
    assert platform.jobs_named(name) == 4


def test_a_chapter_that_buys_nothing_says_so(
    block: QuantumSession, platform: Platform, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that only asks again what is recorded gets the records."""
    for _ in range(2):
        with caplog.at_level(logging.WARNING), block.experiment(name, extend=True) as experiment:
            _ask(experiment, 1)
        said = "bought nothing" in caplog.text
        assert said == (experiment.chapter == 2)
    assert platform.jobs_named(name) == 1


def test_it_needs_a_name(block: QuantumSession, name: str) -> None:
    """And does not go with a new experiment."""
    with pytest.raises(InvalidInputError, match="needs the experiment's name"):
        block.experiment(extend=True)
    with pytest.raises(InvalidInputError, match="does not go with it"):
        block.experiment(name, extend=True, fresh=True)


@pytest.mark.usefixtures("prefect_server")
def test_a_chapter_belongs_to_the_run_that_opened_it(
    platform: Platform, block: QuantumSession, saved_block: str, name: str
) -> None:
    """Its retries go on with it, also after it was sealed; the next run opens the next one."""
    seen: list[tuple[int, bool]] = []

    @flow(retries=1)
    def nightly(first: int) -> None:
        with QuantumSession.load(saved_block).experiment(name, extend=True) as experiment:
            seen.append((experiment.chapter, experiment.sealed))
            _ask(experiment, first, first + 1)
            if len(seen) % 2:
                experiment.seal({"night": first})
        if len(seen) % 2:
            raise _GivenUpError

    nightly(10)
    nightly(20)
    assert seen == [(1, False), (1, True), (2, False), (2, True)]
    assert platform.jobs_named(name) == 4
    assert Experiment.load(name, block.ledger()).report() == {"night": 20}


@pytest.mark.usefixtures("prefect_server")
def test_a_retried_chapter_gets_equal_requests_in_their_order(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Those of the chapter before come first, also once this chapter has some of its own."""
    seen: list[list[str]] = []

    @flow(retries=2)
    def nightly(number: int) -> None:
        with QuantumSession.load(saved_block).experiment(name, extend=True) as experiment:
            seen.append([])
            for asked in range(number):
                job = experiment.submit_sampler([flipped()], shots=5)
                seen[-1].append(job.job_id)
                if (number, len(seen), asked) in {(4, 2, 2), (4, 3, 3)}:
                    raise _GivenUpError

    nightly(2)
    nightly(4)
    assert [len(one) for one in seen] == [2, 3, 4, 4]
    assert all(one == seen[-1][: len(one)] for one in seen)
    assert platform.jobs_named(name) == 4


@pytest.mark.usefixtures("prefect_server")
def test_an_overlapping_run_that_fails_keeps_no_chapter_open(
    platform: Platform, block: QuantumSession, saved_block: str, name: str, prefect_server: str
) -> None:
    """Nor does a subflow whose failure its caller swallows: the completed run finishes it."""

    @flow
    def failing() -> None:
        with QuantumSession.load(saved_block).experiment(name, extend=True) as experiment:
            _ask(experiment, 77)
            raise _GivenUpError

    def failing_by_itself() -> None:
        with temporary_settings({PREFECT_API_URL: prefect_server}):
            failing()

    @flow
    def nightly(number: int) -> None:
        with QuantumSession.load(saved_block).experiment(name, extend=True) as experiment:
            _ask(experiment, number)
            if number == 2:
                with pytest.raises((_GivenUpError, ExperimentDivergedError)):
                    contextvars.Context().run(failing_by_itself)
        if number == 3:
            with suppress(_GivenUpError):
                failing()

    for number in (1, 2, 3):
        nightly(number)
        view = Experiment.load(name, block.ledger())
        assert (view.sealed, view.chapter) == (True, number)
    assert platform.jobs_named(name) == 4


@pytest.mark.usefixtures("prefect_server")
def test_the_shipped_flows_go_on(platform: Platform, saved_block: str, name: str) -> None:
    """A VQE with more evaluations replays the ones before; a sweep gets another grid."""
    short = vqe(saved_block, optimizer_options={"maxiter": 6}, seed=3, experiment=name)
    bought = platform.jobs_named(name)
    longer = vqe(
        saved_block, optimizer_options={"maxiter": 9}, seed=3, experiment=name, extend=True
    )
    assert longer.evaluations[:6] == short.evaluations
    assert len(longer.evaluations) == 9
    assert platform.jobs_named(name) == bought + 3
    assert vqe(saved_block, seed=3, experiment=name) == longer

    @flow
    def twice() -> list[int]:
        reports = [
            vqe(
                saved_block,
                optimizer_options={"maxiter": most},
                seed=3,
                experiment=name,
                extend=True,
            )
            for most in (10, 11)
        ]
        return [len(one.evaluations) for one in reports]

    assert twice() == [10, 11]
    assert platform.jobs_named(name) == bought + 5

    circuit = """OPENQASM 3; include "stdgates.inc"; input float theta; bit[1] c; qubit[1] q;
    ry(theta) q[0]; c[0] = measure q[0];"""
    tables = [
        sweep(
            saved_block,
            circuits=[{"name": "ry", "circuit": circuit}],  # type: ignore[list-item]
            grid={"axes": [{"name": "theta", "values": values}]},  # type: ignore[arg-type]
            shots=10,
            experiment=f"{name}-sweep",
            extend=True,
        )
        for values in ([0.0], [0.5, 1.0], [0.5, 1.0])
    ]
    assert [len(one.rows) for one in tables] == [1, 2, 2]
    assert tables[1].rows == tables[2].rows
