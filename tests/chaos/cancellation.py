"""An experiment that is cancelled, from another process, wherever it is and whatever happens.

Nothing may be left that costs: no job that waits, no session that is open.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from session_block.crashpoints import CRASH_LOG

from .harness import Ending, Rig, Run
from .judging import Allowed, Reference, Verdict, by_submission, facts_of, jobs_of
from .reference import numbered
from .scenarios import OPENING, Play, Scenario

_EVERY = 3
_END_SECONDS = 10.0
_GOES_ON = Allowed(
    raises=frozenset({"ExperimentStoppedError", "SessionClosedError", "JobCancelledError"})
)
"""A worker that wakes up in a cancelled experiment says so."""


def cancellations(rig: Rig, reference: Reference) -> Iterator[Scenario]:
    """Yield cancellations of a worker that was killed, one that is stopped, and killed ones."""
    for passage in reference.passages[::_EVERY]:
        yield _scenario(f"killed at {passage}", _after_kill(passage), passage, kills=1)
    for passage in _passages(rig):
        yield _scenario(f"itself killed at {passage}", _killed(passage), passage, kills=2)
    for nth in (1, 4, 8):
        for effect in ("before", "after"):
            name = f"while a worker is in POST {nth}, {effect}"
            yield Scenario("cancellation", name, _beside(nth, effect), _GOES_ON, judge=judge)


def _scenario(name: str, play: Play, passage: str, *, kills: int) -> Scenario:
    allowed = Allowed(orphans=passage.startswith(OPENING))
    return Scenario("cancellation", name, play, allowed, kills=kills, strict=False, judge=judge)


def _after_kill(passage: str) -> Play:
    return lambda run: [run.start(kill_at=passage).end(), run.start(deed="cancel").end()]


def _killed(passage: str) -> Play:
    def play(run: Run) -> list[Ending]:
        return [
            run.start(kill_at="submit, after:4").end(),
            run.start(deed="cancel", kill_at=passage).end(),
            run.start(deed="cancel").end(),
        ]

    return play


def _beside(nth: int, effect: str) -> Play:
    where = {"method": "POST", "path": "/jobs", "nth": nth, "effect": effect}
    stop = {"kind": "signal", "pid": "child", "signal": "SIGSTOP", **where}

    def play(run: Run) -> list[Ending]:
        worker = run.start(rules=(stop,))
        ending = worker.wait()
        if ending is not None:
            raise RuntimeError(f"the worker was not stopped: {ending}")
        cancelling = run.start(deed="cancel").end()
        worker.resume()
        return [worker.end(), cancelling]

    return play


def _passages(rig: Rig) -> tuple[str, ...]:
    """Return what a cancellation passes."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "passages"
        run = rig.begin("cancelled")
        run.start(kill_at="submit, after:4").end()
        run.start(deed="cancel", environment={CRASH_LOG: str(log)}).end()
        return numbered(log.read_text("utf-8").splitlines())


def judge(run: Run, allowed: Allowed, endings: list[Ending], reference: Reference) -> Verdict:
    """Count at the server what a cancelled experiment has left."""
    verdict = Verdict(attempts=len(endings))
    jobs = _ended_jobs(run)
    facts = facts_of(run, jobs)
    for submission, its_jobs in by_submission(jobs).items():
        if submission not in reference.submissions or len(its_jobs) > 1:
            verdict.double_job(f"submission {submission} has {len(its_jobs)} jobs")
    recorded = {str(fact.body["job_id"]) for fact in facts if "job_id" in fact.body}
    for unknown in recorded - {job["id"] for job in jobs}:
        verdict.lost_job(f"the server does not know job {unknown}")
    for job in jobs:
        if job["state"] in ("queued", "running"):
            verdict.mismatch(f"job {job['id']} is {job['state']}")
    _judge_sessions(verdict, allowed, run)
    for ending in endings:
        if ending.hung or not (ending.killed or ending.result or ending.error in allowed.raises):
            verdict.mismatch(f"an attempt ended with {ending}")
    if endings[-1].result is None:
        verdict.mismatch(f"the cancellation ended with {endings[-1]}")
    return verdict


def _ended_jobs(run: Run) -> list[dict[str, Any]]:
    """Return the jobs once none runs: what has begun to run may finish."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        jobs = jobs_of(run)
        if time.monotonic() > deadline or all(job["state"] != "running" for job in jobs):
            return jobs
        time.sleep(0.1)


def _judge_sessions(verdict: Verdict, allowed: Allowed, run: Run) -> None:
    count = run.rig.platform.stats()["sessions"]["total"] - run.sessions_before
    sessions: list[Mapping[str, Any]] = run.rig.platform.sessions(limit=count) if count else []
    for session in sessions:
        if session["state"] == "closed":
            continue
        if session["jobs"] or not allowed.orphans:
            verdict.mismatch(f"session {session['id']} is {session['state']}")
        else:
            verdict.orphans += 1
