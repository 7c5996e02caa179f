"""IBM Quantum as public records tell of it, for one account: a model on virtual time.

It shares no code with the local platform, so that a guess made twice is seen. Where the records are
silent, a world decides by its seed, and both answers must be survived: what becomes of the queued
jobs of a dedicated session that is cancelled, and which word tells of its end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 12, 1, tzinfo=UTC)
INSTANCE = "crn:v1:bluemix:public:quantum-computing:us-east:a/simulated:instance::"
BACKEND = "ibm_simulated"
INTERACTIVE_SECONDS = 60.0
UNUSED_SECONDS = 1800.0
JOB_SECONDS = (0.05, 0.1, 0.2, 0.4, 3.0, 20.0)
"""How long jobs take. Most are short, because each look at a job costs the simulation time."""

ACTIVE_STATES = ("Queued", "Running")

CLOSED_EARLY = "session_closed_early"
IDLED = "session_inactivated_by_interactive_ttl"


@dataclass(frozen=True)
class Answer:
    """What the platform answers to one request."""

    status: int
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The body as text."""
        return json.dumps(self.body) if self.text is None else self.text


def refused(status: int, code: int, message: str) -> Answer:
    """Return a refusal in IBM's own form."""
    error = {"code": code, "message": message, "more_info": "", "solution": ""}
    return Answer(status, {"errors": [error], "trace": "simulated"})


@dataclass
class Job:
    """One job, with what only the world knows of it.

    Attributes:
        content: What it runs.
        fate: What becomes of it once it has run: ``Completed``, or how it fails.
        listed_at: From when on listings show it.
        seconds: How long it runs.
        parent: The job that the same call of the client made before; ``None`` for the first.
        known: Whether the platform still knows it.
        empty_reads: How many more reads of its results come back empty.
    """

    id: str
    content: str
    tags: tuple[str, ...]
    session: str | None
    created: float
    listed_at: float
    seconds: float
    sender: str
    status: str = "Queued"
    reason: str | None = None
    code: int | None = None
    started: float | None = None
    ended: float | None = None
    fate: tuple[str, str | None, int | None] = ("Completed", None, None)
    parent: str | None = None
    known: bool = True
    empty_reads: int = 0

    @property
    def pending(self) -> bool:
        """Whether it is queued or running."""
        return self.status in ACTIVE_STATES

    def end(
        self, now: float, status: str, reason: str | None = None, code: int | None = None
    ) -> None:
        """End the job."""
        self.status, self.reason, self.code, self.ended = status, reason, code, now


@dataclass
class Session:
    """One session or batch.

    Attributes:
        wait: How long its first job waits for the backend.
        ended_by: Who or what ended it, as only the world knows.
        draining_since: When it was asked to take no more jobs.
    """

    id: str
    mode: str
    max_time: float
    created: float
    wait: float
    opener: str
    state: str = "open"
    accepting: bool = True
    started: float | None = None
    closed: float | None = None
    last_started: float | None = None
    last_completed: float | None = None
    reason: str | None = "session_created"
    ended_by: str | None = None
    draining_since: float = 0.0

    def close(self, now: float, reason: str | None, by: str) -> None:
        """End it: no job is taken or started from now on."""
        if self.state != "closed":
            self.state, self.closed, self.reason = "closed", now, reason
            self.accepting = False
            self.ended_by = self.ended_by or by


class Platform:
    """Answers requests at a moment, after all that is due until then has happened.

    Args:
        random: Decides how long jobs take, and how long sessions wait.
        dying: What becomes of the queued jobs of a cancelled session, and of one at its end:
            ``cancelled`` or ``failed``.
        words: Whether ``state_reason`` has a word for the ends that no record tells of.
    """

    def __init__(self, random: random.Random, *, dying: str, words: bool) -> None:
        self.jobs: dict[str, Job] = {}
        self.listed: dict[str, float] = {}
        """When jobs with a tag were listed last."""
        self.sessions: dict[str, Session] = {}
        self.limit_reached = False
        self.limit_by: float | None = None
        self.lag: Callable[[], float] = lambda: 0.0
        self.fate: Callable[[], tuple[str, str | None, int | None]] | None = None
        self.on_job: Callable[[Job, float], None] = lambda *_: None
        self.on_session: Callable[[Session, float], None] = lambda *_: None
        self.on_close: Callable[[Session, str], None] = lambda *_: None
        self.on_results: Callable[[Job, str], None] = lambda *_: None
        self._random = random
        self._dying = dying
        self._words = words
        self._ids = 0

    # What happens by itself

    def advance(self, now: float) -> None:
        """Let everything happen that is due until ``now``, in its order."""
        while (moment := self._next_change()) is not None and moment <= now:
            self._change(moment)

    def _next_change(self) -> float | None:
        moments = [moment for moment, _ in self._changes()]
        return min(moments, default=None)

    def _change(self, moment: float) -> None:
        for due, happen in list(self._changes()):
            if due == moment:
                happen(moment)
                return

    def _changes(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        """Yield all that will happen by itself, with its moment."""
        for session in self.sessions.values():
            if session.state == "closed" and not self._pending_of(session):
                continue
            yield from self._changes_of(session)
        for job in self.jobs.values():
            if job.status == "Running":
                assert job.started is not None
                yield job.started + job.seconds, lambda now, job=job: self._finish(job, now)
            elif job.status == "Queued" and job.session is None:
                yield job.created + 1.0, lambda now, job=job: self._start(job, now)

    def _changes_of(self, session: Session) -> Iterator[tuple[float, Callable[[float], None]]]:
        pending = self._pending_of(session)
        running = [job for job in pending if job.status == "Running"]
        if session.state != "closed":
            if session.started is not None:
                end = session.started + session.max_time
                yield end, lambda now: self._end_by_time(session, now)
            else:
                yield session.created + UNUSED_SECONDS, lambda now: self._end_by_time(session, now)
            if not session.accepting and not pending:
                drained = max(session.draining_since, session.last_completed or 0.0)
                yield drained, lambda now: session.close(now, CLOSED_EARLY, "drained")
        if not running and pending and session.state != "closed":
            first = pending[0]
            ready = first.created
            if session.state in {"open", "inactive"}:
                ready += session.wait
            yield (
                max(ready, session.last_completed or 0.0),
                lambda now: self._start(first, now),
            )
        idle = session.last_completed
        if session.state == "active" and not pending and idle is not None:
            yield idle + INTERACTIVE_SECONDS, lambda _: self._idle(session)

    def _pending_of(self, session: Session) -> list[Job]:
        return [job for job in self.jobs.values() if job.session == session.id and job.pending]

    def _start(self, job: Job, now: float) -> None:
        job.status, job.started = "Running", now
        if job.session is not None:
            session = self.sessions[job.session]
            session.state, session.last_started = "active", now
            session.reason = None
            if session.started is None:
                session.started = now

    def _finish(self, job: Job, now: float) -> None:
        status, reason, code = job.fate
        job.end(now, status, reason, code)
        if job.session is not None:
            self.sessions[job.session].last_completed = now

    def _idle(self, session: Session) -> None:
        session.state, session.reason = "inactive", IDLED

    def _end_by_time(self, session: Session, now: float) -> None:
        session.close(now, "session_max_ttl_reached" if self._words else None, "time")
        self._drop_queued(session, now)

    def _drop_queued(self, session: Session, now: float) -> None:
        for job in self._pending_of(session):
            if job.status == "Queued":
                if session.mode == "batch" or self._dying == "failed":
                    job.end(now, "Failed", "Session has been closed.", 1217)
                else:
                    job.end(now, "Cancelled")

    # What people do, and what the instance's limit does

    def close(self, session: Session, now: float, by: str) -> None:
        """Take no more jobs; what is queued still runs."""
        self.advance(now)
        if session.accepting:
            session.accepting, session.draining_since = False, now
            session.ended_by = session.ended_by or by
        self.advance(now)

    def cancel(self, session: Session, now: float, by: str) -> None:
        """End a session and all that is queued in it."""
        self.advance(now)
        if session.state != "closed":
            session.ended_by = session.ended_by or by
        session.close(now, CLOSED_EARLY, by)
        self._drop_queued(session, now)

    def reach_limit(self, now: float) -> None:
        """End all sessions at once, since the instance's limit is reached."""
        self.advance(now)
        self.limit_reached = True
        for session in self.sessions.values():
            if session.state != "closed":
                session.close(now, "instance_limit_reached" if self._words else None, "limit")
                self._drop_queued(session, now)

    def raise_limit(self) -> None:
        """Let the instance be used again."""
        self.limit_reached = False

    # What it answers

    def answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, list[str]],
        body: Any,
        now: float,
        sender: str,
        parent: str | None = None,
    ) -> Answer:
        """Answer one request at a moment.

        Args:
            method: The HTTP method.
            path: The path after the version.
            query: The query's values by their names.
            body: The JSON body; ``None`` without one.
            now: The moment.
            sender: Who sends it, for the world.
            parent: The job or session that the same call made before, as only the world knows.
        """
        self.advance(now)
        match [method, *path.strip("/").split("/")]:
            case [_, "sessions", *_]:
                return self._answer_of_sessions(method, path, body, now, sender)
            case ["POST", "jobs"]:
                return self._post_job(body, now, sender, parent)
            case ["GET", "jobs"]:
                return self._list_jobs(query, now)
            case ["GET", "jobs", job_id]:
                return self._of_job(job_id, self._job)
            case ["GET", "jobs", job_id, "results"]:
                return self._of_job(job_id, lambda job: self._results(job, sender))
            case ["GET", "jobs", job_id, "metrics"]:
                return self._of_job(job_id, self._metrics)
            case ["POST", "jobs", job_id, "cancel"]:
                return self._of_job(job_id, lambda job: self._cancel_job(job, now))
        return self._answer_of_account(path)

    def _answer_of_account(self, path: str) -> Answer:
        match path:
            case "/workloads":
                return Answer(200, {"workloads": [], "total_count": 0})
            case "/instances/usage":
                usage = {
                    "instance_id": INSTANCE,
                    "plan_id": "simulated",
                    "usage_consumed_seconds": 1,
                    "usage_limit_reached": self.limit_reached,
                }
                return Answer(200, usage)
            case "/token":
                return Answer(200, {})
        return Answer(404, text="not found")

    def _answer_of_sessions(
        self, method: str, path: str, body: Any, now: float, sender: str
    ) -> Answer:
        parts = path.strip("/").split("/")
        if method == "POST":
            return self._post_session(body, now, sender)
        session = self.sessions.get(parts[1])
        if session is None:
            return refused(404, 1209, "Session not found.")
        match [method, *parts[2:]]:
            case ["GET"]:
                return Answer(200, self._details(session, now))
            case ["PATCH"]:
                return self._patch(session, body, now, sender)
            case ["DELETE", "close"]:
                return self._delete(session, now, sender)
        return Answer(404, text="not found")

    def _post_job(self, body: Any, now: float, sender: str, parent: str | None) -> Answer:
        if self.limit_reached:
            return refused(409, 1353, "The instance's usage limit has been reached.")
        session = None
        if body.get("session_id"):
            session = self.sessions.get(body["session_id"])
            if session is None:
                return refused(404, 1209, "Session not found.")
            if session.state == "closed" or not session.accepting:
                return refused(400, 1217, "Session has been closed.")
        self._ids += 1
        job = Job(
            id=f"sim{self._ids:017d}",
            content=body["params"]["content"],
            tags=tuple(body.get("tags") or ()),
            session=None if session is None else session.id,
            created=now,
            listed_at=now + self.lag(),
            seconds=self._random.choice(JOB_SECONDS),
            sender=sender,
            parent=parent,
        )
        if self.fate is not None:
            job.fate = self.fate()
        self.jobs[job.id] = job
        self.on_job(job, now)
        return Answer(200, {"id": job.id, "backend": BACKEND, "session_id": job.session})

    def _list_jobs(self, query: Mapping[str, list[str]], now: float) -> Answer:
        found = [job for job in self.jobs.values() if job.listed_at <= now and job.known]
        for tag in query.get("tags", []):
            self.listed[tag] = now
            found = [job for job in found if tag in job.tags]
        for session_id in query.get("session_id", []):
            found = [job for job in found if job.session == session_id]
        if query.get("sort") != ["ASC"]:
            found = found[::-1]
        limit = int(query.get("limit", ["200"])[0])
        offset = int(query.get("offset", ["0"])[0])
        page = found[offset : offset + limit]
        listed = [self._shown(job) for job in page]
        return Answer(200, {"jobs": listed, "count": len(found), "limit": limit, "offset": offset})

    def _of_job(self, job_id: str, answer: Callable[[Job], Answer]) -> Answer:
        job = self.jobs.get(job_id)
        if job is None or not job.known:
            return refused(404, 1291, "Job not found.")
        return answer(job)

    def _job(self, job: Job) -> Answer:
        return Answer(200, self._shown(job))

    @staticmethod
    def _shown(job: Job) -> dict[str, Any]:
        state: dict[str, Any] = {"status": job.status}
        if job.reason is not None:
            state |= {"reason": job.reason, "reason_code": job.code, "reason_solution": "-"}
        return {
            "id": job.id,
            "backend": BACKEND,
            "state": state,
            "status": job.status,
            "session_id": job.session,
            "tags": list(job.tags),
            "created": stamp(job.created),
            "program": {"id": "estimator"},
            "private": False,
        }

    def _results(self, job: Job, sender: str) -> Answer:
        if job.status == "Failed":
            return Answer(200, text=str(job.reason))
        if job.status != "Completed" or job.empty_reads > 0:
            job.empty_reads -= 1
            return Answer(204, text="")
        self.on_results(job, sender)
        return Answer(200, text=result_text(value_of(job)))

    @staticmethod
    def _metrics(job: Job) -> Answer:
        moments = {"created": job.created, "running": job.started, "finished": job.ended}
        done = job.ended is not None
        seconds = 0.0 if job.started is None or job.ended is None else job.ended - job.started
        return Answer(
            200,
            {
                "timestamps": {
                    name: None if moment is None else stamp(moment)
                    for name, moment in moments.items()
                },
                "usage": {
                    "qpu_charge_time_seconds": round(seconds),
                    "status": "ok" if done else "pending",
                },
            },
        )

    @staticmethod
    def _cancel_job(job: Job, now: float) -> Answer:
        if not job.pending:
            return refused(409, 1218, "Job is not in a state that can be cancelled.")
        job.end(now, "Cancelled")
        return Answer(204, text="")

    def _post_session(self, body: Any, now: float, sender: str) -> Answer:
        if self.limit_reached:
            return refused(409, 1353, "The instance's usage limit has been reached.")
        self._ids += 1
        session = Session(
            id=f"5e551045-0000-4000-8000-{self._ids:012d}",
            mode=body.get("mode", "dedicated"),
            max_time=float(body.get("max_ttl", 28800)),
            created=now,
            wait=self._random.choice([0.0, 2.0, 90.0]),
            opener=sender,
        )
        self.sessions[session.id] = session
        self.on_session(session, now)
        return Answer(200, self._details(session, now))

    @staticmethod
    def _details(session: Session, now: float) -> dict[str, Any]:
        def told(moment: float | None) -> str | None:
            return None if moment is None else stamp(moment)

        started = session.started
        active = 0.0 if started is None else (session.closed or now) - started
        return {
            "id": session.id,
            "backend_name": BACKEND,
            "interactive_ttl": int(INTERACTIVE_SECONDS),
            "max_ttl": int(session.max_time),
            "active_ttl": int(session.max_time),
            "state": session.state,
            "state_reason": session.reason,
            "accepting_jobs": session.accepting,
            "last_job_started": told(session.last_started),
            "last_job_completed": told(session.last_completed),
            "started_at": told(started),
            "closed_at": told(session.closed),
            "activated_at": told(started),
            "mode": session.mode,
            "elapsed_time": round(active),
            "timestamps": [{"status": "open", "timestamp": stamp(session.created)}],
        }

    def _patch(self, session: Session, body: Any, now: float, sender: str) -> Answer:
        if body.get("accepting_jobs") is False:
            self.on_close(session, sender)
            self.close(session, now, sender)
        else:
            session.accepting = True
        return Answer(204, text="")

    def _delete(self, session: Session, now: float, sender: str) -> Answer:
        self.on_close(session, sender)
        self.cancel(session, now, sender)
        return Answer(204, text="")


def stamp(moment: float) -> str:
    """Return a moment as IBM writes it."""
    return (
        (EPOCH + timedelta(seconds=moment))
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def value_of(job: Job) -> float:
    """Return what a job's result says: another job of the same content says something else."""
    return random.Random(f"{job.content}/{job.id}").random()  # noqa: S311 - no secret


_TEMPLATE: list[str] = []
_PLACE = 0.123456789


def result_text(value: float) -> str:
    """Return a result as the platform stores it, with one expectation value."""
    if not _TEMPLATE:
        from qiskit.primitives import DataBin, PrimitiveResult, PubResult
        from qiskit_ibm_runtime.json import RuntimeEncoder

        data = DataBin(evs=_PLACE, stds=0.0)
        _TEMPLATE.append(json.dumps(PrimitiveResult([PubResult(data)]), cls=RuntimeEncoder))
    return _TEMPLATE[0].replace(repr(_PLACE), repr(value))
