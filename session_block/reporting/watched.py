"""What whoever watches an experiment may know of it: its records, and how its platform sees it."""

from __future__ import annotations

import logging
import time
from urllib.parse import urlsplit

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
"""The state of the session, and what is left to spend, are asked for at most so often."""


def job_page(url: str | None, job_id: str) -> str | None:
    """Return the address of a job's page, or ``None`` where there is none.

    Args:
        url: Where its platform is reached.
        job_id: The job.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(_IBM_HOSTS):
        return f"{_IBM_WORKLOADS}{job_id}"
    return f"{parts.scheme}://{parts.netloc}/#{job_id}" if is_loopback(url) else None


class Watched:
    """One experiment as it is watched; asks the platform, but connects to nothing anew.

    Args:
        view: What the ledger tells.
        progress: What the experiment's code tells.
        sessions: Its sessions; asked once the experiment itself has connected.
        budget: What it may spend.
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
        self.details: SessionDetails | None = None
        self.left: Left | None = None

    def refresh(self, *, now: bool = False) -> None:
        """Ask for what changes by itself: the session's state, and what is left to spend."""
        recent = self._asked_at is not None and time.monotonic() - self._asked_at < FRESH_SECONDS
        if not self._connection.is_open or (recent and not now):
            return
        self._asked_at = time.monotonic()
        try:
            self.details = self._sessions.details() if self.view.session_id else None
            self.left = self._budget.left()
        except SessionBlockError as error:
            _logger.info("The report shows what was known before: %s", error)

    def seconds_left(self) -> float | None:
        """Return how long the session can still be open, as it was last asked for."""
        if not self._connection.is_open or self.details is None or not self.details.accepts_jobs:
            return None
        closes_at = self.details.closes_at
        if closes_at is None:
            return None
        return max(0.0, (closes_at - self._connection.account.now()).total_seconds())

    def known_metrics(self, job_id: str) -> JobMetrics | None:
        """Return how a job fared, if it was asked for after it ended."""
        return self._metrics.get(job_id)

    def metrics(self, job_id: str) -> JobMetrics | None:
        """Return how a job fares; ``None`` where the platform does not tell."""
        if not self._connection.is_open:
            return None
        try:
            metrics = self._connection.jobs.metrics(job_id)
        except ConnectionFailedError as error:
            _logger.info("The report does not show how job %s fares: %s", job_id, error)
            return None
        if metrics.usage_seconds is not None:
            self._metrics[job_id] = metrics
        return metrics

    def position(self, job_id: str) -> int | None:
        """Return a job's place in the queue, where the platform tells it."""
        metrics = self.metrics(job_id)
        return None if metrics is None else metrics.position

    def about(self, event: Event) -> str:
        """Return more about something that has happened; for a job also where to look at it."""
        url = self._connection.account.url if self._connection.is_open else None
        page = job_page(url, event.subject) if event.noun == "job" else None
        return ", ".join(text for text in (event.text, page) if text)
