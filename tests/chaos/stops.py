"""Stops: a person or the cost limit ends the session, or the experiment is cancelled, anywhere.

Nothing is bought until the experiment is resumed, whoever is killed in between; then it ends where
the uninterrupted run does. The mirror images, sessions that end by time, are in other groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from .harness import Ending, Rig, Run
from .judging import Allowed, Reference, Verdict, judge
from .scenarios import Attempt, Play, Scenario, disturbed

_STOPPED = "ExperimentStoppedError"
_ALLOWED = Allowed(
    sessions=2,
    replaced=True,
    left_open=True,
    raises=frozenset({_STOPPED, "SessionClosedError", "JobCancelledError"}),
)
_BY = ("close", "cancel", "cost_limit")
_SUBMIT = {"method": "POST", "path": "/jobs", "nth": 3}
_WAITING: Mapping[str, Mapping[str, Any]] = {
    "waiting": {"method": "GET", "path": "/jobs/{job_id}", "nth": 5},
    "fetching": {"method": "GET", "path": "/jobs/{job_id}/results", "nth": 3},
}
_LOOK = {"method": "GET", "path": "/sessions/{session_id}"}
_JUDGING = (
    "look at session, before:1",
    "look at session, after:1",
    "record stopped, before:1",
    "record stopped, after:1",
    "record session-end, before:1",
    "record session-end, after:1",
)
"""What a worker passes that finds its session ended."""

_CANCELLING = (
    "record stopped, after:1",
    "record session-closing, before:1",
    "record session-closing, after:1",
    "close session, before:1",
    "close session, after:1",
    "record session-end, after:1",
)
"""What a cancellation passes once it is a stop."""


def stops() -> Iterator[Scenario]:
    """Yield stops in each phase, under kills, with two workers, and by our own cancellation."""
    for by in _BY:
        end = {"kind": "end_session", "by": by}
        yield _scenario(f"{by}, submitting", _stopped(Attempt(rules=({**end, **_SUBMIT},))))
        for phase, where in _WAITING.items():
            stop = {"kind": "signal", "pid": "child", "signal": "SIGSTOP", **where}
            attempt = Attempt(rules=(stop,), at_stop=partial(_end, by))
            yield _scenario(f"{by}, {phase}", _stopped(attempt))
        for passage in _JUDGING:
            attempt = Attempt(kill_at=passage, rules=({**end, **_SUBMIT},))
            yield _scenario(f"{by}, killed at {passage}", _stopped(attempt), kills=1)
        for passage in ("submit, before:4", "submit, after:4", "ask job, before:5"):
            attempts = (Attempt(kill_at=passage), Attempt(rules=({**end, **_LOOK},)))
            name = f"{by}, between two attempts, killed at {passage}"
            yield _scenario(name, _stopped(*attempts), kills=1)
        yield _scenario(f"{by}, two workers", _two_workers({**end, **_SUBMIT}))
    for passage in _CANCELLING:
        yield _scenario(f"cancelled, killed at {passage}", _cancelled(passage), kills=2)


def _end(by: Any, rig: Rig) -> Callable[[], None]:
    """End the session of a process that is stopped meanwhile."""
    [session] = rig.platform.sessions(limit=1)
    rig.platform.end_session(session["id"], by)
    return lambda: None


def _scenario(name: str, play: Play, *, kills: int = 0) -> Scenario:
    return Scenario("stops", name, play, _ALLOWED, kills=kills, strict=False, judge=_judge)


def _stopped(*attempts: Attempt) -> Play:
    def play(run: Run) -> list[Ending]:
        endings = []
        for attempt in attempts:
            endings.append(disturbed(run, attempt))
            run.clear_faults()
        return [*endings, *_refused_and_resumed(run)]

    return play


def _two_workers(rule: Mapping[str, Any]) -> Play:
    def play(run: Run) -> list[Ending]:
        workers = [run.start(rules=(rule,)), run.start()]
        endings = [worker.end() for worker in workers]
        run.clear_faults()
        return [*endings, *_refused_and_resumed(run)]

    return play


def _cancelled(passage: str) -> Play:
    def play(run: Run) -> list[Ending]:
        endings = [
            run.start(kill_at="submit, after:4").end(),
            run.start(deed="cancel", kill_at=passage).end(),
        ]
        return [*endings, *_refused_and_resumed(run)]

    return play


def _refused_and_resumed(run: Run) -> list[Ending]:
    """Try twice, which must buy nothing; then resume, and run to the end."""
    before = _bought(run)
    refused = [run.start().end(), run.start().end()]
    for ending in refused:
        if ending.error != _STOPPED:
            run.notes.append(f"after the stop an attempt ended with {ending}")
    if _bought(run) != before:
        run.notes.append(f"{before} jobs and sessions at the stop, {_bought(run)} after it")
    run.rig.platform.set_usage_limit(str(run.rig.platform.info.instance), None)
    return [*refused, run.start(deed="resume").end(), run.start().end()]


def _bought(run: Run) -> tuple[int, int]:
    stats = run.rig.platform.stats()
    return stats["jobs"]["total"], stats["sessions"]["total"]


def _judge(run: Run, allowed: Allowed, endings: list[Ending], reference: Reference) -> Verdict:
    *others, resuming, last = endings
    verdict = judge(run, allowed, [*others, last], reference)
    if resuming.result is None:
        verdict.mismatch(f"the resumption ended with {resuming}")
    for note in run.notes:
        verdict.double_job(note)
    return verdict
