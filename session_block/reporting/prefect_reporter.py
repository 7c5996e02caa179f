"""Shows an experiment in the Prefect UI: logs, events, task-run states, and a report.

Nothing here is on the path between two jobs: events are queued, and a background thread sends them
to Prefect. A failure there is logged and never fails the run.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.events import emit_event

from session_block import prefect_context
from session_block.events import Event, EventKind
from session_block.reporting.prefect_report import ReportWriter
from session_block.reporting.prefect_states import JobStates
from session_block.reporting.results_table import KEY_PREFIX, Row
from session_block.reporting.watched import Watched

EVENT_PREFIX = "session-block."
REPORT_SECONDS = 2.0
"""Minimum seconds between two reports, or two tables; longer if writing one is slow."""

_SHARE = 0.05
"""Largest share of the time to spend on writing each page."""

_CLOSING_SECONDS = 10.0
_SAID = {
    EventKind.SESSION_OPENED: (logging.INFO, "Session %s is opened%s."),
    EventKind.SESSION_REATTACHED: (logging.INFO, "Session %s is used again%s."),
    EventKind.SESSION_RENEWED: (logging.INFO, "Session %s replaces one that ended%s."),
    EventKind.SESSION_CLOSED: (logging.INFO, "Session %s has ended%s."),
    EventKind.JOB_SUBMITTED: (logging.INFO, "Job %s is submitted%s."),
    EventKind.JOB_ADOPTED: (logging.INFO, "Job %s was found again%s."),
    EventKind.JOB_FAILED: (logging.WARNING, "Job %s gave no result%s."),
    EventKind.SUBMISSION_HELD: (logging.WARNING, "Submission %s is held%s."),
    EventKind.EXPERIMENT_STOPPED: (logging.WARNING, "Experiment %s is stopped%s."),
}
"""Level and text of the log message for each kind of event."""

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Page:
    """What is shown, and when it may be written again."""

    write: Callable[[], None]
    due_at: float = 0.0


class PrefectReporter:
    """Reports one experiment to Prefect while its flow run runs.

    Args:
        watched: The experiment's records, and its session and jobs as the platform sees them.
    """

    def __init__(self, watched: Watched) -> None:
        self._view = watched.view
        self._watched = watched
        self._writer = ReportWriter(watched)
        self._states = JobStates(watched.position)
        self._flow_logger = prefect_context.logger() or _logger
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._report: UUID | None = None
        self._table: UUID | None = None
        self._rows: list[Row] = []
        self._submitted = 0
        # In the run's context, so that Prefect attributes events and artifacts to the run.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=lambda: context.run(self._work), name="session-block-reporter", daemon=True
        )
        self._thread.start()

    def observe(self, event: Event) -> None:
        """Log an event and queue it for Prefect; returns at once."""
        about = self._watched.about(event)
        if event.kind in _SAID:
            level, text = _SAID[event.kind]
            logger = prefect_context.logger() or self._flow_logger
            logger.log(level, text, event.subject, f" ({about})" if about else "")
        self._states.observe(event, prefect_context.task_run_id(), about)
        if event.kind is not EventKind.WAIT_ENDED:
            self._queue.put(event)

    def close(self) -> None:
        """Send the queued events, and write the report one last time."""
        self._queue.put(None)
        self._thread.join(_CLOSING_SECONDS)

    def _work(self) -> None:
        look_at, stale = time.monotonic(), set[_Page]()
        pages = (_Page(self._write_table), _Page(self._write_report))
        while True:
            # No event announces a new place in the queue, so poll while a job waits.
            idle = not stale and not self._states.waiting
            received, closed = self._hear(None if idle else look_at)
            stale |= set(pages) if received else set()
            if closed:
                self._guarded(self._write_table)
                self._guarded(lambda: self._write_report(last=True))
                return
            if idle:
                continue
            self._guarded(self._states.tell)
            stale -= {page for page in pages if page in stale and self._is_written(page)}
            look_at = time.monotonic() + REPORT_SECONDS

    def _is_written(self, page: _Page) -> bool:
        """Write a page if it is due, and return whether it was."""
        began = time.monotonic()
        if began < page.due_at:
            return False
        self._guarded(page.write)
        page.due_at = time.monotonic() + (time.monotonic() - began) / _SHARE
        return True

    def _hear(self, until: float | None) -> tuple[bool, bool]:
        """Send events to Prefect until a given time; with ``None``, until the first event.

        Returns:
            Whether there was an event, and whether the reporter is being closed.
        """
        received = False
        while until is not None or not received:
            seconds = None if until is None else max(0.0, until - time.monotonic())
            try:
                event = self._queue.get(timeout=seconds)
            except queue.Empty:
                break
            if event is None:
                return received, True
            received = True
            self._submitted += event.kind is EventKind.JOB_SUBMITTED
            self._guarded(lambda event=event: self._emit(event))  # type: ignore[misc]  # a default
        return received, False

    def _emit(self, event: Event) -> None:
        identity = self._view.identity
        emit_event(
            event=f"{EVENT_PREFIX}{event.kind}",
            resource={
                "prefect.resource.id": f"session-block.experiment.{identity.uid}",
                "prefect.resource.name": str(identity),
                "session-block.experiment": identity.name,
            },
            related=[
                {
                    "prefect.resource.id": f"session-block.{event.noun}.{event.subject}",
                    "prefect.resource.role": event.noun,
                }
            ],
            occurred=event.moment,
            payload={"subject": event.subject, "text": event.text},
        )

    def _write_report(self, *, last: bool = False) -> None:
        text = self._writer.markdown(self._submitted, last=last)
        if self._report is None:
            self._report = self._created(acreate_markdown_artifact, text, "experiment-", "Report")
        else:
            self._update(self._report, text)

    def _write_table(self) -> None:
        rows = self._writer.results()
        if self._table is None and rows:
            self._table = self._created(acreate_table_artifact, rows, KEY_PREFIX, "Results")
        elif self._table is not None and rows != self._rows:
            self._update(self._table, json.dumps(rows))
        self._rows = rows

    @staticmethod
    def _update(artifact: UUID, data: str) -> None:
        with prefect_context.own_client() as client:
            client.update_artifact(artifact, ArtifactUpdate(data=data))

    def _created(
        self, create: Callable[..., Coroutine[Any, Any, UUID]], data: Any, prefix: str, what: str
    ) -> UUID:
        """Create an artifact; the sync function would return a coroutine in an async run."""
        called = f"{what} of {self._watched.title}"
        return asyncio.run(create(data, key=f"{prefix}{self._view.uid}", description=called))

    @staticmethod
    def _guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            _logger.exception("The Prefect UI could not be told; the run goes on.")
