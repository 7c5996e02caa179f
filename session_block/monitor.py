"""What people see of an experiment in the Prefect UI: events, and a report that is kept up to date.

Nothing here lies on the path between two jobs: notices are queued, and a thread of its own tells
Prefect. What fails there is logged, and never fails the run.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.events import emit_event

from session_block.monitor_report import ReportWriter
from session_block.notices import Happening, Notice
from session_block.references import SessionDetails
from session_block.views import ExperimentView

EVENT_PREFIX = "session-block."
REPORT_SECONDS = 2.0
"""The report is written at most so often; less often where writing it takes long."""

_SHARE = 0.05
"""The share of the time that may go into writing it."""

SESSION_SECONDS = 15.0
"""The session's state is asked for at most so often."""

_CLOSING_SECONDS = 10.0
_logger = logging.getLogger(__name__)


class Monitor:
    """Watches one experiment within a flow run.

    Args:
        view: What the ledger tells of the experiment.
        details: Asks for the state of its session.
    """

    def __init__(self, view: ExperimentView, details: Callable[[], SessionDetails | None]) -> None:
        self._view = view
        self._writer = ReportWriter(view)
        self._ask = details
        self._queue: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._artifact: UUID | None = None
        self._details: SessionDetails | None = None
        self._asked_at = 0.0
        self._submitted = 0
        self._replayed = view.recorded_results
        # The run's context, so that Prefect knows whose events and artifacts these are.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=lambda: context.run(self._work), name="session-block-monitor", daemon=True
        )
        self._thread.start()

    def notice(self, notice: Notice) -> None:
        """Take note of something that happened; returns at once."""
        self._queue.put(notice)

    def close(self) -> None:
        """Tell what is still to be told, and write the report a last time."""
        self._queue.put(None)
        self._thread.join(_CLOSING_SECONDS)

    def _work(self) -> None:
        going, due = True, time.monotonic()
        while going:
            going = self._take_notice(max(0.0, due - time.monotonic()))
            while going and not self._queue.empty():
                going = self._take_notice(0.0)
            if not going or time.monotonic() >= due:
                began = time.monotonic()
                self._guarded(self._write_report)
                took = time.monotonic() - began
                due = time.monotonic() + max(REPORT_SECONDS, took / _SHARE)

    def _take_notice(self, seconds: float) -> bool:
        """Tell one notice; say whether more may come. Without any to come soon it waits for one."""
        try:
            notice = self._queue.get(timeout=seconds) if seconds else self._queue.get()
        except queue.Empty:
            return True
        if notice is None:
            return False
        self._submitted += notice.what is Happening.JOB_SUBMITTED
        self._guarded(lambda: self._emit(notice))
        return True

    def _emit(self, notice: Notice) -> None:
        identity = self._view.identity
        emit_event(
            event=f"{EVENT_PREFIX}{notice.what}",
            resource={
                "prefect.resource.id": f"session-block.experiment.{identity.uid}",
                "prefect.resource.name": str(identity),
                "session-block.experiment": identity.name,
            },
            related=[
                {
                    "prefect.resource.id": f"session-block.{notice.what.split('.')[0]}."
                    f"{notice.subject}",
                    "prefect.resource.role": notice.what.split(".")[0],
                }
            ],
            occurred=notice.moment,
            payload={"subject": notice.subject, "text": notice.text},
        )

    def _write_report(self) -> None:
        if time.monotonic() - self._asked_at > SESSION_SECONDS or self._details is None:
            self._details = self._ask()
            self._asked_at = time.monotonic()
        text = self._writer.markdown(
            self._details, replayed=self._replayed, submitted=self._submitted
        )
        if self._artifact is None:
            made = create_markdown_artifact(
                text,
                key=f"experiment-{self._view.uid}",
                description=f"Experiment {self._view.identity}",
            )
            # This thread has no event loop, so that Prefect answers at once.
            self._artifact = cast(UUID, made)
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._artifact, ArtifactUpdate(data=text))

    @staticmethod
    def _guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            _logger.exception("The Prefect UI could not be told; the run goes on.")
