"""While an experiment runs and at its end, what was spent stands beside what was expected."""

from __future__ import annotations

import json
import logging

import pytest
from qiskit import QuantumCircuit
from session_support import measured
from support import Platform
from typer.testing import CliRunner

from session_block import QuantumSession
from session_block.cli import app
from session_block.costs.course import cost_course
from session_block.ledger.store import Ledger
from session_block.records.charges import expected_cost
from session_block.records.journal import Journal
from session_block.records.keys import FinalJobUsage, Intent, Outcome


def _sent(journal: Journal, submission: str, expected: list[float] | None) -> None:
    intent = Intent(
        submission=submission,
        generation=1,
        fingerprint="f",
        occurrence=1,
        label=None,
        concurrent=False,
        kind="sampler",
        implementation="executor",
        backend="ibm_x",
        instance="crn:1",
        url="https://x",
        session_id="s",
        tag=submission,
        expected_seconds=expected,
    )
    journal.record(intent)
    journal.record(Outcome.of_job(submission, 1, f"job-{submission}"))


@pytest.fixture
def journal(ledger_url: str) -> Journal:
    """The journal of an experiment that has sent two jobs."""
    journal = Journal(Ledger(ledger_url), "0123456789ab")
    _sent(journal, "aa", [3.0, 1.5, 6.0])
    _sent(journal, "bb", [4.0, 2.0, 8.0])
    return journal


def test_what_was_expected_is_the_sum_of_what_was_sent(journal: Journal) -> None:
    """In a batch; in a session with the gaps, and the idle time as the upper end."""
    batch = cost_course(journal, "batch", 6.0, 0.0, left_seconds=594.0)
    assert str(batch) == "2 jobs: 6 s spent, 7 s expected (3.5 to 14 s), 594 s left"
    session = cost_course(journal, "session", 41.0, 60.0)
    assert (session.expected_seconds, session.as_batch_seconds) == (9.0, 7.0)
    assert (session.low_seconds, session.high_seconds) == (3.9, 84.0)
    assert str(session).endswith("the same as a batch: 7 s")


def test_what_was_not_estimated_is_unknown_and_not_zero(journal: Journal) -> None:
    """A job without an estimate makes the whole unknown; the others are still told apart."""
    _sent(journal, "cc", None)
    course = cost_course(journal, "batch", 6.0, 0.0)
    assert (course.jobs, course.expected_seconds, course.low_seconds) == (3, None, None)
    assert "expected: unknown" in str(course)
    partial = expected_cost(journal)
    assert (partial.jobs, partial.estimated, partial.seconds) == (3, 2, 7.0)


def test_gaps_come_from_when_jobs_ran(journal: Journal) -> None:
    """From the end of what one was charged to when the next began, by the platform's clock."""
    for submission, began in (("aa", "00:00:00"), ("bb", "00:00:05")):
        at = f"2026-11-28T{began}+00:00"
        usage = FinalJobUsage(job_id=f"job-{submission}", seconds=3.0, began_at=at, ended_at=at)
        journal.record(usage)
    course = cost_course(journal, "session", 41.0, 60.0)
    assert course.expected_seconds == 7.0 + 2 * 2.0


@pytest.mark.rest
def test_a_run_is_told_of_its_costs_before_during_and_after(
    platform: Platform,
    block: QuantumSession,
    ledger_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the log before the first job, on request and by a command, and in its report."""
    caplog.set_level(logging.INFO, "session_block")
    circuit: QuantumCircuit = measured()
    with block.model_copy(update={"mode": "batch"}).experiment("e") as experiment:
        for label in ("1", "2"):
            experiment.run_sampler([circuit], shots=8, label=label)
        said = [one for one in caplog.messages if "is expected to cost" in one]
        assert said == [
            "A sampler job is expected to cost 2 s (1 to 4 s; executor, no public record)."
        ]
        now = experiment.costs()
        assert (now.jobs, now.expected_seconds) == (2, pytest.approx(4, abs=0.1))
        assert now.spent_seconds == 4  # as IBM charges two short jobs, by the platform's setting
        report = experiment.report({"energy": -1.0})
    assert platform.jobs_of(experiment.uid) == 2
    assert report is not None
    run = report["run"]
    assert run["low_seconds"] < run["usage_seconds"] < run["high_seconds"]
    assert run["expected_seconds"] == now.expected_seconds
    assert any("has made 2 jobs: 4 s spent, 4 s expected" in one for one in caplog.messages)
    show = ["experiments", "show", experiment.uid, "--ledger-url", ledger_url]
    expected = json.loads(CliRunner().invoke(app, [*show, "--json"]).stdout)["expected"]
    assert (expected["jobs"], expected["estimated"]) == (2, 2)
    page = CliRunner().invoke(app, show, env={"COLUMNS": "200"}).stdout
    assert "expected of its jobs" in page
    assert "4 s (2 to 8" in page
