"""The client's jobs that this process works with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from qiskit_ibm_runtime import RuntimeInvalidStateError, RuntimeJobV2

from session_block import crashpoints
from session_block.client.service import connecting
from session_block.errors import JobNotFoundError
from session_block.records.submissions import Generation
from session_block.sessions.manager import SessionManager
from session_block.submissions.settle import Settler

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """A job that this process has sent.

    Attributes:
        at: When the platform had accepted it, by :func:`time.monotonic`.
        like: What it has in common with the jobs that take as long.
    """

    at: float
    like: Hashable


class JobCache:
    """Keeps one experiment's jobs, and asks the platform for those that it does not have.

    Args:
        experiment: The experiment's UID.
        keeper: The keeper of its sessions.
        settler: Knows at which instance a job was submitted.
    """

    def __init__(
        self, experiment: str, keeper: Callable[[], SessionManager], settler: Settler
    ) -> None:
        self._experiment = experiment
        self._keeper = keeper
        self._settler = settler
        self._jobs: dict[str, RuntimeJobV2] = {}
        self._sent: dict[str, Sent] = {}

    def keep(self, job: RuntimeJobV2, like: Hashable) -> None:
        """Keep a job that was sent just now; see :class:`Sent`."""
        self._jobs[job.job_id()] = job
        self._sent[job.job_id()] = Sent(time.monotonic(), like)

    def job(self, generation: Generation) -> RuntimeJobV2 | None:
        """Return the job of a generation, or ``None`` when the platform does not know it."""
        job_id = str(generation.job_id)
        if job_id not in self._jobs:
            self._settler.check_instance(generation)
            job = self._keeper().connection.jobs.get(job_id)
            if job is None:
                return None
            self._jobs[job_id] = job
        return self._jobs[job_id]

    def sent(self, job_id: str) -> Sent | None:
        """Return when this process sent a job; ``None`` if another one did."""
        return self._sent.get(job_id)

    def cancel(self, generation: Generation) -> None:
        """Cancel the job of a generation.

        Raises:
            RuntimeInvalidStateError: It has ended.
            JobNotFoundError: The platform does not know it.
            ConnectionFailedError: The platform cannot be reached.
        """
        job = self.job(generation)
        if job is None:
            raise JobNotFoundError(
                f"Job {generation.job_id} of experiment {self._experiment} is not known to the "
                "platform, so it cannot be cancelled.",
                **generation.named(self._experiment),
            )
        with connecting(f"cancel job {generation.job_id}"), crashpoints.around("cancel job"):
            job.cancel()

    def cancel_pending(self, experiment_tag: str) -> None:
        """Cancel the queued and running jobs that bear the experiment's tag, and no others.

        Raises:
            ConnectionFailedError: The platform could not be reached; some may be pending still.
        """
        connection = self._keeper().connection
        with connecting(f"cancel the pending jobs of experiment {self._experiment}"):
            for listed in connection.jobs.tagged(experiment_tag):
                job = connection.jobs.get(listed.job_id) if listed.pending else None
                if job is not None:
                    try:
                        with crashpoints.around("cancel job"):
                            job.cancel()
                    except RuntimeInvalidStateError:
                        _logger.info("Job %s ended before it could be cancelled.", listed.job_id)

    def forget(self, job_id: str) -> None:
        """Let go of a job that is done with."""
        self._jobs.pop(job_id, None)
        self._sent.pop(job_id, None)

    def forget_all(self) -> None:
        """Let go of all jobs: they belong to a connection that is no more."""
        self._jobs.clear()
