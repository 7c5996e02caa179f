"""Names the states of task runs after the jobs that they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from prefect.states import Running

from session_block import prefect_context
from session_block.events import Event, EventKind

NAMED_AFTER_SECONDS = 1.0
"""Jobs that end sooner than this are not worth the requests."""

_NAMING_SECONDS = 0.2
"""How long the end of a wait is delayed for a state change in progress."""

_PENDING = (EventKind.JOB_QUEUED, EventKind.JOB_RUNNING)


@dataclass
class _Wait:
    """A task run that waits for a job."""

    task_run_id: UUID
    what: EventKind
    message: str
    since: float = field(default_factory=time.monotonic)
    told: str | None = None


class JobStates:
    """Names the state of each task run that waits for a job: queued, its place, or running.

    Args:
        position: Returns a job's place in the queue, or ``None`` if the platform does not say.
    """

    def __init__(self, position: Callable[[str], int | None]) -> None:
        self._position = position
        self._waits: dict[str, _Wait] = {}
        self._naming = threading.Lock()

    @property
    def waiting(self) -> bool:
        """Whether any task run waits for a job."""
        return bool(self._waits)

    def observe(self, event: Event, task_run_id: UUID | None, message: str) -> None:
        """Record what happened to a job, or that nobody waits for it any more.

        Args:
            event: What happened.
            task_run_id: The task run that waits for the job; this is called in its thread.
            message: The message of the task run's state.
        """
        if event.kind in _PENDING and task_run_id is not None:
            known = self._waits.get(event.subject)
            if known is None or known.task_run_id != task_run_id:
                self._waits[event.subject] = _Wait(task_run_id, event.kind, message)
            else:
                known.what = event.kind
        elif event.kind is EventKind.WAIT_ENDED and event.subject in self._waits:
            # A state set after the task run has ended would replace its final state.
            free = self._naming.acquire(timeout=_NAMING_SECONDS)
            self._waits.pop(event.subject, None)
            if free:
                self._naming.release()

    def tell(self) -> None:
        """Set the states whose names have changed."""
        for job_id, wait in list(self._waits.items()):
            if time.monotonic() - wait.since < NAMED_AFTER_SECONDS:
                continue
            name = self._name(job_id, wait)
            with self._naming:
                if name != wait.told and job_id in self._waits:
                    _name_state(wait.task_run_id, name, wait.message)
                    wait.told = name

    def _name(self, job_id: str, wait: _Wait) -> str:
        if wait.what is EventKind.JOB_RUNNING:
            return "Running on QPU"
        position = self._position(job_id)
        return "Queued" if position is None else f"Queued at place {position}"


def _name_state(task_run_id: UUID, name: str, message: str) -> None:
    with prefect_context.own_client() as client:
        client.set_task_run_state(task_run_id, Running(name=name, message=message), force=True)
