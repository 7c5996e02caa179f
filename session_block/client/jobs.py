"""The jobs of one instance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from qiskit_ibm_runtime import QiskitRuntimeService, RuntimeJobNotFound, RuntimeJobV2

from session_block import crashpoints
from session_block.client.service import connecting, readable
from session_block.errors import ConnectionFailedError
from session_block.references import Implementation, checked_id

_logger = logging.getLogger(__name__)

_LISTING_PAGE = 100
_FAMILIES: Mapping[str, Implementation] = {
    "sampler": "v2",
    "estimator": "v2",
    "executor": "executor",
}
"""Which family of primitives sends a program [client source]."""


@dataclass(frozen=True)
class ListedJob:
    """A job as the platform's listing shows it."""

    job_id: str
    created: str
    status: str
    session_id: str | None
    tags: tuple[str, ...]
    backend: str | None = None
    program: str | None = None

    @property
    def pending(self) -> bool:
        """Whether the job is queued or running."""
        return self.status.casefold() in {"queued", "running"}

    @property
    def can_give_a_result(self) -> bool:
        """Whether the job has a result or may still get one."""
        return self.status.casefold() not in {"failed", "cancelled"}

    @property
    def family(self) -> Implementation | None:
        """The family of the client's primitives that sent it; ``None`` for other programs."""
        return _FAMILIES.get(self.program or "")


@dataclass(frozen=True)
class Duration:
    """How long a job took, in seconds.

    Attributes:
        queued: From its acceptance until it began to run.
        ran: From then until its end.
    """

    queued: float
    ran: float


@dataclass(frozen=True)
class JobMetrics:
    """A job's metrics from the platform; times are by the platform's clock.

    Attributes:
        created: When the job was accepted.
        running: When it began to run; ``None`` before.
        finished: When it ended; ``None`` before.
        usage_seconds: The usage charged for it; ``None`` until that is final.
        position: Its place in the queue, counted from 1, if the platform gives it.
    """

    created: datetime | None
    running: datetime | None
    finished: datetime | None
    usage_seconds: float | None
    position: int | None

    @property
    def duration(self) -> Duration | None:
        """How long the job took; ``None`` if it has not ended, or never ran."""
        if self.created is None or self.running is None or self.finished is None:
            return None
        return Duration(
            queued=(self.running - self.created).total_seconds(),
            ran=(self.finished - self.running).total_seconds(),
        )

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read the platform's answer."""
        times = content.get("timestamps") or {}
        usage = content.get("usage") or {}
        settled = usage.get("status", "pending") != "pending"
        return cls(
            created=_moment(times.get("created")),
            running=_moment(times.get("running")),
            finished=_moment(times.get("finished")),
            usage_seconds=float(usage.get("qpu_charge_time_seconds") or 0.0) if settled else None,
            position=content.get("position_in_queue"),
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


class Jobs:
    """Finds an instance's jobs.

    Args:
        service: The client's service.
        api: Returns the service's HTTP layer for the instance.
    """

    def __init__(self, service: QiskitRuntimeService, api: Callable[[], Any]) -> None:
        self._service = service
        self._api = api

    def get(self, job_id: str) -> RuntimeJobV2 | None:
        """Return a job, or ``None`` if the instance has no job with this ID."""
        with connecting(f"look up job {checked_id('job', job_id)}"):
            try:
                with crashpoints.around("ask job"):
                    return self._service.job(job_id)
            except RuntimeJobNotFound:
                return None

    def status(self, job: RuntimeJobV2) -> str:
        """Return a job's state, from a new request, in the client's words.

        Raises:
            RequestsApiError: The platform did not answer.
            UnreadableAnswerError: Its answer shows no state.
        """
        with readable(), crashpoints.around("ask job"):
            return str(job.status())

    def tagged(self, tag: str) -> list[ListedJob]:
        """List every job with a tag, oldest first, whatever its session, state or age.

        Raises:
            RequestsApiError: The listing failed, so nothing is known about the jobs.
            UnreadableAnswerError: It was incomplete, so nothing is known either.
        """
        return self._listed(job_tags=[tag])

    def newest(self, tag: str) -> list[ListedJob]:
        """List the newest jobs with a tag, one page of the listing, oldest of them first.

        Raises:
            RequestsApiError: The listing failed, so nothing is known about the jobs.
            UnreadableAnswerError: It was incomplete, so nothing is known either.
        """
        with readable():
            return self._page(0, {"job_tags": [tag]}, descending=True)[::-1]

    def of_session(self, session_id: str) -> list[ListedJob]:
        """List every job of a session, oldest first.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        with connecting(f"list the jobs of session {checked_id('session', session_id)}"):
            return self._listed(session_id=session_id)

    def named(self, tag: str, *, newest: bool = False) -> list[ListedJob]:
        """List the jobs with a tag, for an experiment that is being opened.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        with connecting(f"list the jobs tagged {tag!r}"):
            return self.newest(tag) if newest else self.tagged(tag)

    def metrics(self, job_id: str) -> JobMetrics:
        """Return a job's metrics.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        with connecting(f"read the metrics of job {checked_id('job', job_id)}"):
            return JobMetrics.of(self._api().job_metadata(job_id))

    def advice(self, job_id: str) -> str | None:
        """Return what IBM advises after a job's failure, its ``reason_solution`` [spec, real].

        The client leaves it out. ``None`` if the platform says nothing, or does not answer.
        """
        try:
            with connecting(f"read why job {checked_id('job', job_id)} failed"):
                state = self._api().job_get(job_id).get("state") or {}
        except ConnectionFailedError as error:
            _logger.info("%s", error)  # that the job failed is known, and says more
            return None
        advice = state.get("reason_solution")
        return advice if isinstance(advice, str) and advice else None

    def _listed(self, **filters: Any) -> list[ListedJob]:
        jobs: list[ListedJob] = []
        while True:
            with readable():
                page = self._page(len(jobs), filters)
            jobs.extend(page)
            if len(page) < _LISTING_PAGE:
                return jobs

    def _page(
        self, skip: int, filters: Mapping[str, Any], *, descending: bool = False
    ) -> list[ListedJob]:
        with crashpoints.around("list jobs"):
            page = self._api().jobs_get(
                limit=_LISTING_PAGE, skip=skip, descending=descending, **filters
            )["jobs"]
        return [
            ListedJob(
                job_id=str(job["id"]),
                created=job["created"],
                status=str(job["state"]["status"]),
                session_id=job.get("session_id"),
                tags=tuple(job.get("tags") or ()),
                backend=job.get("backend"),
                program=(job.get("program") or {}).get("id"),
            )
            for job in page
        ]


def reason_of(job: RuntimeJobV2) -> str:
    """Return why a job failed, with IBM's code, even if the client could not read its results."""
    said, reason = str(job.error_message() or ""), str(job._reason or "")  # noqa: SLF001
    # Of one that ran too long the client says so, and leaves out what IBM says.
    parts = (said, "" if reason in said else reason)
    return " ".join(" ".join(parts).split())


def is_known_to_have_failed(job: RuntimeJobV2) -> bool:
    """Whether the client already knows that the job failed; makes no request."""
    return bool(job._status == "ERROR")  # noqa: SLF001
