"""Keep the client's job objects that this process works with."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass

from qiskit_ibm_runtime import RuntimeInvalidStateError, RuntimeJobV2

from session_block import crashpoints
from session_block.client import Connection
from session_block.client.service import connecting
from session_block.errors import JobNotFoundError, SubmissionHeldError
from session_block.records.context import ExperimentContext
from session_block.records.submissions import Generation
from session_block.tags import uid_tag

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """When this process sent a job, and what kind of job it is.

    Attributes:
        at: When the platform accepted it, in seconds of the monotonic clock.
        like: A key that it shares with jobs that take about as long.
    """

    at: float
    like: Hashable


class JobCache:
    """Keeps one experiment's jobs, and fetches missing ones from the platform.

    Args:
        context: The experiment.
        connection: The connection to its instance. Jobs belong to the access token that they were
            fetched with, so the cache is emptied when the connection is renewed.
    """

    def __init__(self, context: ExperimentContext, connection: Connection) -> None:
        self._context = context
        self._connection = connection
        self._renewals = connection.renewals
        self._jobs: dict[str, RuntimeJobV2] = {}
        self._sent: dict[str, Sent] = {}

    def keep(self, job: RuntimeJobV2, like: Hashable) -> None:
        """Keep a job that was just sent; see :class:`Sent`."""
        self._drop_older_connections()
        self._jobs[job.job_id()] = job
        self._sent[job.job_id()] = Sent(self._context.environment.monotonic(), like)

    def job(self, generation: Generation) -> RuntimeJobV2 | None:
        """Return the job of a generation, or ``None`` if the platform does not know it.

        Raises:
            SubmissionHeldError: The job was sent to another instance.
        """
        self._drop_older_connections()
        job_id = str(generation.job_id)
        if job_id not in self._jobs:
            self.check_instance(generation)
            job = self._connection.jobs.get(job_id)
            if job is None:
                return None
            self._jobs[job_id] = job
        return self._jobs[job_id]

    def check_instance(self, generation: Generation) -> None:
        """Check that a generation was sent to the connected instance.

        Raises:
            SubmissionHeldError: It was sent to another instance, so its state is unknown here.
        """
        if generation.intent.instance != self._connection.instance:
            raise SubmissionHeldError(
                f"A job of experiment {self._context.identity} was sent to the instance "
                f"{generation.intent.instance}, but the Block now names "
                f"{self._connection.instance}. Run it with a Block for the first instance, or "
                f"start a new experiment {self._context.identity.anew}.",
                **generation.named(self._context.uid),
            )

    def sent(self, job_id: str) -> Sent | None:
        """Return when this process sent a job; ``None`` if another process sent it."""
        return self._sent.get(job_id)

    def cancel(self, generation: Generation) -> None:
        """Cancel the job of a generation.

        Raises:
            RuntimeInvalidStateError: The job has ended.
            JobNotFoundError: The platform does not know the job.
            ConnectionFailedError: The platform cannot be reached.
        """
        job = self.job(generation)
        if job is None:
            raise JobNotFoundError(
                f"Job {generation.job_id} of experiment {self._context.identity} is not known to "
                "the platform, so it cannot be cancelled.",
                **generation.named(self._context.uid),
            )
        with connecting(f"cancel job {generation.job_id}"), crashpoints.around("cancel job"):
            job.cancel()

    def cancel_pending(self) -> None:
        """Cancel only the queued and running jobs that bear the experiment's tag.

        Those that another owner submitted go on.

        Raises:
            ConnectionFailedError: The platform could not be reached; some may still be pending.
        """
        jobs = self._connection.jobs
        with connecting(f"cancel the pending jobs of experiment {self._context.identity}"):
            for listed in jobs.tagged(uid_tag(self._context.uid)):
                if self._context.is_anothers(listed.tags, self._connection.identity):
                    continue
                job = jobs.get(listed.job_id) if listed.pending else None
                if job is not None:
                    try:
                        with crashpoints.around("cancel job"):
                            job.cancel()
                    except RuntimeInvalidStateError:
                        _logger.info("Job %s ended before it could be cancelled.", listed.job_id)

    def forget(self, job_id: str) -> None:
        """Drop a job that is no longer needed."""
        self._jobs.pop(job_id, None)
        self._sent.pop(job_id, None)

    def _drop_older_connections(self) -> None:
        """Drop jobs of a connection that has been renewed since: their token is refused."""
        if self._renewals != self._connection.renewals:
            self._renewals = self._connection.renewals
            self._jobs.clear()
