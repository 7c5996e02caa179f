"""What a reporter can know of an experiment: its records, and what the platform says of it."""

from __future__ import annotations

import logging
import time
from urllib.parse import urlsplit

from session_block import prefect_context
from session_block.account import is_loopback
from session_block.client import JobMetrics
from session_block.costs.budget import Budget, Left
from session_block.errors import ConnectionFailedError, SessionBlockError
from session_block.events import Event, Progress
from session_block.records.views import ExperimentView
from session_block.references import SessionDetails
from session_block.sessions.manager import SessionManager

_IBM_HOSTS = ".cloud.ibm.com"

_IBM_WORKLOADS = "https://quantum.cloud.ibm.com/workloads/"

_logger = logging.getLogger(__name__)

FRESH_SECONDS = 15.0
"""Minimum seconds between two requests for the session's state and the remaining budget."""


def workload_page(url: str | None, workload_id: str) -> str | None:
    """Return the URL of the web page of a job or a session, or ``None`` if it has none.

    Args:
        url: The platform's URL.
        workload_id: The job, or the session or batch.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(_IBM_HOSTS):
        return f"{_IBM_WORKLOADS}{workload_id}"
    return f"{parts.scheme}://{parts.netloc}/#{workload_id}" if is_loopback(url) else None


class Watched:
    """One experiment as its reporter sees it; asks the platform, but opens no connection.

    Args:
        view: The experiment's records in the ledger.
        progress: The progress that the experiment's code reports.
        sessions: Its sessions; asked once the experiment itself has connected.
        budget: Its budget.

    Attributes:
        title: What people call the experiment.
        details: Its session, as of the last refresh.
        left: What its budget leaves, as of the last refresh.
    """

    def __init__(
        self,
        view: ExperimentView,
        progress: Progress,
        sessions: SessionManager,
        budget: Budget,
    ) -> None:
        self.view = view
        self.progress = progress
        self._sessions = sessions
        self._connection = sessions.connection
        self._budget = budget
        self._metrics: dict[str, JobMetrics] = {}
        self._asked_at: float | None = None
        self.title = _title(view)
        self.details: SessionDetails | None = None
        self.left: Left | None = None

    def refresh(self, *, now: bool = False) -> None:
        """Ask for what changes without an event: the session's state and the remaining budget."""
        recent = self._asked_at is not None and time.monotonic() - self._asked_at < FRESH_SECONDS
        if not self._connection.is_open or (recent and not now):
            return
        self._asked_at = time.monotonic()
        try:
            self.details = self._sessions.details() if self.view.session_id else None
            self.left = self._budget.left()
        except SessionBlockError as error:
            _logger.info("The report shows the previous session state and budget: %s", error)

    def seconds_left(self) -> float | None:
        """Return how long the session can stay open, as of the last refresh."""
        if not self._connection.is_open or self.details is None or not self.details.accepts_jobs:
            return None
        closes_at = self.details.closes_at
        if closes_at is None:
            return None
        return max(0.0, (closes_at - self._connection.account.now()).total_seconds())

    def known_metrics(self, job_id: str) -> JobMetrics | None:
        """Return the metrics of a job, if they were fetched after it ended."""
        return self._metrics.get(job_id)

    def metrics(self, job_id: str) -> JobMetrics | None:
        """Return the current metrics of a job; ``None`` if the platform does not give them."""
        if not self._connection.is_open:
            return None
        try:
            metrics = self._connection.jobs.metrics(job_id)
        except ConnectionFailedError as error:
            _logger.info("The report does not show the metrics of job %s: %s", job_id, error)
            return None
        if metrics.usage_seconds is not None:
            self._metrics[job_id] = metrics
        return metrics

    def position(self, job_id: str) -> int | None:
        """Return a job's place in the queue; ``None`` if the platform does not say."""
        metrics = self.metrics(job_id)
        return None if metrics is None else metrics.position

    def about(self, event: Event) -> str:
        """Return the details of an event; for a job also the URL of its page."""
        url = self._connection.account.url if self._connection.is_open else None
        page = workload_page(url, event.subject) if event.noun == "job" else None
        return ", ".join(text for text in (event.text, page) if text)


def _title(view: ExperimentView) -> str:
    """Return the experiment's name; one without a name is called after its flow run."""
    identity = view.identity
    run = None if identity.named else prefect_context.flow_run_title()
    return run or identity.name + f" (number {identity.number})" * (identity.number > 1)
