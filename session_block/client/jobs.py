"""The jobs of one instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qiskit_ibm_runtime import QiskitRuntimeService, RuntimeJobNotFound, RuntimeJobV2
from qiskit_ibm_runtime.exceptions import IBMRuntimeError

from session_block import crashpoints
from session_block.client.connecting import connecting

_LISTING_PAGE = 100


@dataclass(frozen=True)
class ListedJob:
    """A job as the platform's listing shows it, oldest first."""

    job_id: str
    created: str
    status: str
    session_id: str | None
    tags: tuple[str, ...]
    backend: str | None = None

    @property
    def pending(self) -> bool:
        """Whether the job is queued or running."""
        return self.status.casefold() in {"queued", "running"}

    @property
    def can_give_a_result(self) -> bool:
        """Whether the job has a result or may still get one."""
        return self.status.casefold() not in {"failed", "cancelled"}


class Jobs:
    """Finds jobs.

    Args:
        service: The client's service.
        api: Gives its HTTP layer for the instance.
    """

    def __init__(self, service: QiskitRuntimeService, api: Callable[[], Any]) -> None:
        self._service = service
        self._api = api

    def get(self, job_id: str) -> RuntimeJobV2 | None:
        """Return a job, or ``None`` when the instance knows none of this ID."""
        with connecting(f"look up job {job_id}"), crashpoints.around("ask job"):
            try:
                return self._service.job(job_id)
            except RuntimeJobNotFound:
                return None

    def tagged(self, tag: str) -> list[ListedJob]:
        """List every job that bears a tag, oldest first, whatever its session, state or age.

        Raises:
            RequestsApiError: The listing failed, so nothing can be said about what it would hold.
        """
        return self._listed(job_tags=[tag])

    def of_session(self, session_id: str) -> list[ListedJob]:
        """List every job of a session, oldest first.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        with connecting(f"list the jobs of session {session_id}"), _whole_listing():
            return self._listed(session_id=session_id)

    def named(self, tag: str) -> list[ListedJob]:
        """List the jobs that bear a tag, for an experiment that is being opened.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        with connecting(f"list the jobs tagged {tag!r}"), _whole_listing():
            return self.tagged(tag)

    def usage_seconds(self, job_id: str) -> float | None:
        """Return the seconds that a job is charged with, or ``None`` while that is not final.

        Raises:
            ConnectionFailedError: The platform does not tell.
        """
        with connecting(f"read the usage of job {job_id}"):
            usage = self._api().job_metadata(job_id).get("usage") or {}
        if usage.get("status", "pending") == "pending":
            return None
        return float(usage.get("qpu_charge_time_seconds") or 0.0)

    def _listed(self, **filters: Any) -> list[ListedJob]:
        jobs: list[ListedJob] = []
        while True:
            with crashpoints.around("list jobs"):
                page = self._api().jobs_get(
                    limit=_LISTING_PAGE, skip=len(jobs), descending=False, **filters
                )["jobs"]
            jobs.extend(
                ListedJob(
                    job_id=job["id"],
                    created=job["created"],
                    status=job["state"]["status"],
                    session_id=job.get("session_id"),
                    tags=tuple(job.get("tags") or ()),
                    backend=job.get("backend"),
                )
                for job in page
            )
            if len(page) < _LISTING_PAGE:
                return jobs


@contextmanager
def _whole_listing() -> Iterator[None]:
    """Turn what an incomplete listing makes of its reader into an error of the client."""
    try:
        yield
    except (KeyError, ValueError) as error:
        raise IBMRuntimeError(f"the listing is incomplete: {error!r}") from error


def reason_of(job: RuntimeJobV2) -> str:
    """Return why a job failed, also when the client could not read the job's results for it."""
    return str(job.error_message() or job._reason or "")  # noqa: SLF001


def is_known_to_have_failed(job: RuntimeJobV2) -> bool:
    """Whether the client has seen the job's failure, without asking again."""
    return bool(job._status == "ERROR")  # noqa: SLF001
