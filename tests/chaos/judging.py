"""Counts at the platform's server what became of a run, and compares it with the ledger."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from support import tagged

from session_block.ledger.store import Fact, Ledger

from .harness import Ending, Run

_PAGE = 200
_NAME, _UID = "qs-exp:", "qs-uid:"
_SUBMISSION = re.compile(r"qs-sub:(?P<uid>[^.]+)\.(?P<submission>[^.]+)\.\d+(\..+)?")
_UNDONE = frozenset({"failed", "cancelled"})
_OVER = frozenset({"completed", *_UNDONE})


@dataclass(frozen=True)
class Allowed:
    """What a run may have besides what the uninterrupted one has.

    Attributes:
        twins: Twins, as its fault makes IBM's client send a POST again, or pauses a process.
        orphans: Sessions that hold no job, as its opening is cut off.
        sessions: How many sessions may hold jobs.
        left_open: A session may stay open, since nobody remembers it.
        replaced: Jobs that end without a result, as their session ends, are replaced.
        raises: Exceptions with which an attempt may end before the right end is reached.
        error: The documented exception that is the right end.
        submissions: How many submissions are made until then.
    """

    twins: bool = False
    orphans: bool = False
    sessions: int = 1
    left_open: bool = False
    replaced: bool = False
    raises: frozenset[str] = frozenset()
    error: str | None = None
    submissions: int | None = None


@dataclass(frozen=True)
class Reference:
    """What the uninterrupted run did: its result, submissions, passages and requests."""

    result: Mapping[str, Any]
    submissions: frozenset[str]
    passages: tuple[str, ...] = ()
    requests: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was counted; ``problems`` says in words what is behind it."""

    double: int = 0
    lost: int = 0
    mismatched: int = 0
    twins: int = 0
    orphans: int = 0
    attempts: int = 0
    unreached: bool = False
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is double, lost or different."""
        return not (self.double or self.lost or self.mismatched)

    def _add(self, counter: str, count: int, problem: str) -> None:
        if count:
            setattr(self, counter, getattr(self, counter) + count)
            self.problems.append(problem)

    def double_job(self, problem: str) -> None:
        """Count a job too many."""
        self._add("double", 1, problem)

    def lost_job(self, problem: str) -> None:
        """Count a job, or a result, that is gone."""
        self._add("lost", 1, problem)

    def mismatch(self, problem: str) -> None:
        """Note that the run ended otherwise than it should have."""
        self._add("mismatched", 0 if self.mismatched else 1, problem)
        if problem not in self.problems:
            self.problems.append(problem)


def jobs_of(run: Run) -> list[dict[str, Any]]:
    """Return all jobs that the server ever saw of a run's experiments, oldest first."""
    found: list[dict[str, Any]] = []
    offset = 0
    while page := run.rig.platform.jobs(limit=_PAGE, offset=offset):
        found += [job for job in page if tagged(job, run.name)]
        offset += _PAGE
        # A run's jobs follow each other: no other run is on this platform meanwhile.
        if not tagged(page[-1], run.name):
            break
    return found[::-1]


def by_submission(jobs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the jobs of each submission, over all its generations.

    A submission is known by its ID and its experiment's number: a flow run has several experiments,
    which are counted in the order of their first jobs.
    """
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    numbers = _numbers(jobs)
    for job in jobs:
        match = next(filter(None, map(_SUBMISSION.fullmatch, job["tags"])), None)
        number = numbers[_tag(job, _NAME)]
        grouped[f"{number}.{match['submission']}" if match else f"untagged {job['id']}"].append(job)
    return dict(grouped)


def facts_of(run: Run, jobs: list[dict[str, Any]]) -> list[Fact]:
    """Return what the ledger holds about the experiments whose tags the jobs bear.

    Each fact bears its experiment's number in place of the UID.
    """
    numbers = _numbers(jobs)
    experiments = {_tag(job, _UID): numbers[_tag(job, _NAME)] for job in jobs}
    ledger = Ledger(run.ledger_url)
    try:
        return [
            replace(fact, experiment=str(number))
            for uid, number in experiments.items()
            for fact in ledger.facts(uid)
        ]
    finally:
        ledger.close()


def _numbers(jobs: list[dict[str, Any]]) -> dict[str, int]:
    names = dict.fromkeys(_tag(job, _NAME) for job in jobs)
    return {name: number for number, name in enumerate(names, 1)}


def _tag(job: Mapping[str, Any], beginning: str) -> str:
    """Return the rest of the job's tag that begins so."""
    found = next((tag for tag in job["tags"] if tag.startswith(beginning)), "")
    return str(found.removeprefix(beginning))


def _submission(fact: Fact) -> str:
    """Return the submission that a fact is about, as :func:`by_submission` knows it."""
    return f"{fact.experiment}.{fact.key.split('/')[1]}"


def judge(run: Run, allowed: Allowed, endings: list[Ending], reference: Reference) -> Verdict:
    """Count at the server, and compare with the ledger and the uninterrupted run."""
    verdict = Verdict(attempts=len(endings))
    jobs = jobs_of(run)
    facts = facts_of(run, jobs)
    grouped = by_submission(jobs)
    for submission, its_jobs in grouped.items():
        if submission in reference.submissions:
            _judge_submission(verdict, allowed, submission, its_jobs, facts)
        else:
            verdict.double_job(f"submission {submission} is not one of the uninterrupted run")
    _judge_losses(verdict, allowed, grouped, facts, reference)
    _judge_ends(verdict, allowed, endings, reference)
    _judge_sessions(verdict, allowed, run, jobs)
    if verdict.twins and not allowed.twins:
        verdict.double_job(f"{verdict.twins} twins, though nothing makes the client send again")
    return verdict


def _judge_submission(
    verdict: Verdict,
    allowed: Allowed,
    submission: str,
    jobs: list[dict[str, Any]],
    facts: list[Fact],
) -> None:
    chosen = [
        str(fact.body["job_id"])
        for fact in facts
        if fact.key.startswith(("result/", "outcome/"))
        and _submission(fact) == submission
        and "job_id" in fact.body
    ]
    result = next(
        (f for f in facts if f.key.startswith("result/") and _submission(f) == submission), None
    )
    best = str(result.body["job_id"]) if result is not None else (chosen or [jobs[0]["id"]])[-1]
    twins = {
        fact.key.rsplit("/", 1)[1]
        for fact in facts
        if fact.key.startswith("twin/") and _submission(fact) == submission
    }
    for job in jobs:
        if job["id"] == best:
            continue
        if job["id"] in twins and job["state"] in _OVER:
            verdict.twins += 1
        elif not (allowed.replaced and job["state"] in _UNDONE and job["id"] in chosen):
            known = "recorded twin" if job["id"] in twins else "unrecorded"
            verdict.double_job(f"job {job['id']} of {submission}: {job['state']}, {known}")


def _judge_losses(
    verdict: Verdict,
    allowed: Allowed,
    grouped: Mapping[str, list[dict[str, Any]]],
    facts: list[Fact],
    reference: Reference,
) -> None:
    at_server = {job["id"] for jobs in grouped.values() for job in jobs}
    for fact in facts:
        if "job_id" in fact.body and fact.body["job_id"] not in at_server:
            verdict.lost_job(f"the server does not know the job of {fact.key}")
    results = {_submission(fact) for fact in facts if fact.key.startswith("result/")}
    outcomes = {str(fact.body.get("job_id")) for fact in facts if fact.key.startswith("outcome/")}
    if allowed.error is None:
        for submission in reference.submissions - results:
            verdict.lost_job(f"there is no result of {submission}")
    elif len(grouped) != allowed.submissions:
        verdict.lost_job(f"{len(grouped)} submissions instead of {allowed.submissions}")
    for submission, jobs in grouped.items():
        if not outcomes & {job["id"] for job in jobs}:
            verdict.lost_job(f"no job of {submission} is recorded")


def _judge_ends(
    verdict: Verdict, allowed: Allowed, endings: list[Ending], reference: Reference
) -> None:
    for number, ending in enumerate(endings, 1):
        what = f"attempt {number} ended with {ending.code} {ending.error or ''} {ending.message}"
        expected = ending.error is None or ending.error in {*allowed.raises, allowed.error}
        if ending.hung:
            verdict.mismatch(f"attempt {number} did not end")
        elif not (ending.killed or ending.result is not None or ending.error) or not expected:
            verdict.mismatch(what)
        if ending.result is not None and ending.result != reference.result:
            verdict.mismatch(f"attempt {number} ended with another result")
    last = endings[-1]
    if last.error != allowed.error or (allowed.error is None and last.result is None):
        verdict.mismatch(f"it ended with {last.error or last.code}, not {allowed.error or 'right'}")


def _judge_sessions(
    verdict: Verdict, allowed: Allowed, run: Run, jobs: list[dict[str, Any]]
) -> None:
    count = run.rig.platform.stats()["sessions"]["total"] - run.sessions_before
    new = run.rig.platform.sessions(limit=count) if count else []
    used = [session for session in new if session["jobs"]]
    verdict.orphans = len(new) - len(used)
    if {job["session_id"] for job in jobs} - {None} != {session["id"] for session in used}:
        verdict.mismatch("jobs and sessions do not belong together")
    if len(used) > allowed.sessions:
        verdict.mismatch(f"{len(used)} sessions hold jobs")
    if verdict.orphans and not allowed.orphans:
        verdict.mismatch(f"{verdict.orphans} sessions hold no job")
    still_open = [session["id"] for session in used if session["state"] != "closed"]
    if still_open and not (allowed.left_open or allowed.error):
        verdict.mismatch(f"sessions are left open: {', '.join(still_open)}")
