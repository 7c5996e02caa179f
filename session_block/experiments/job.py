"""One job of an experiment, with the interface of Qiskit's primitive jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, TypeVar

from qiskit.primitives import BasePrimitiveJob
from qiskit.primitives.containers import PrimitiveResult

from session_block import aio, prefect_context
from session_block.errors import JobEndedInPassingError, JobWaitTimeoutError
from session_block.records.submissions import Generation
from session_block.references import JobRef, SessionRef

if TYPE_CHECKING:
    from session_block.experiments.assembly import Parts
    from session_block.experiments.replay import Admission
    from session_block.pubs.request import Request
    from session_block.submissions.results import RecordedJob

T = TypeVar("T")
_DONE = "DONE"
_FINAL = frozenset({_DONE, "ERROR", "CANCELLED"})
_logger = logging.getLogger(__name__)


class RunContext:
    """The Prefect run in which this object was made, if there is one."""

    def __init__(self) -> None:
        self._context: Context | None = copy_context() if prefect_context.inside() else None

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in that run, unless this thread is already in a run."""
        if self._context is None or prefect_context.inside():
            return function()
        return self._context.copy().run(function)


class DurableJob(BasePrimitiveJob[PrimitiveResult, str]):  # type: ignore[misc]  # untyped
    """A submission's job. If its session ends before it runs, ``result()`` submits a new one.

    Made by primitives and experiments, after the job's ID is recorded.
    """

    def __init__(
        self,
        request: Request,
        admission: Admission,
        made: Generation | RecordedJob,
        parts: Parts,
    ) -> None:
        super().__init__(str(made.job_id))
        self._request = request
        self._admission = admission
        self._made = made
        self._parts = parts
        self._made_in = RunContext()
        self._result: PrimitiveResult | None = None if isinstance(made, Generation) else made.result

    @property
    def submission(self) -> str:
        """ID of the job's submission."""
        return self._admission.submission

    def reference(self, session: SessionRef) -> JobRef:
        """Return a reference to the job that tasks can pass on.

        Args:
            session: The session's reference.
        """
        return JobRef(
            session=session,
            submission=self.submission,
            generation=self._generation.number,
            job_id=self.job_id(),
            kind=self._request.kind,
            registers=self._request.registers,
        )

    @property
    def _generation(self) -> Generation:
        if isinstance(self._made, Generation):
            return self._made
        return self._parts.here.submitter.read(self.submission).generations[-1]

    def job_id(self) -> str:
        """Return the platform's ID of the job, or of its replacement once there is one."""
        return str(self._made.job_id)

    def result(self, timeout: float | None = None) -> PrimitiveResult:
        """Wait for the job and return its result; a recorded result needs no request.

        Args:
            timeout: Seconds after which the wait ends, but not the job; ``None`` for no limit.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobWaitTimeoutError: The wait timed out; the job continues.
            SubmissionHeldError: The platform no longer knows the job.
        """
        if self._result is None:
            recorded = self._parts.here.results.recorded(self.submission, self._request.registers)
            self._result = recorded if recorded is not None else self._awaited(timeout)
        return self._result

    def status(self) -> str:
        """Return ``QUEUED``, ``RUNNING``, ``DONE``, ``ERROR`` or ``CANCELLED``."""
        if self._result is not None or self._parts.here.results.has_result(self.submission):
            return _DONE
        return self._parts.here.results.status(self._generation)

    def done(self) -> bool:
        """Return whether the job has given its result."""
        return self.status() == _DONE

    def running(self) -> bool:
        """Return whether the job is running."""
        return self.status() == "RUNNING"

    def cancelled(self) -> bool:
        """Return whether the job was cancelled."""
        return self.status() == "CANCELLED"

    def in_final_state(self) -> bool:
        """Return whether the job has ended, with a result or without."""
        return self.status() in _FINAL

    def cancel(self) -> None:
        """Cancel the job. Its result is then an error, also when the experiment is resumed.

        Raises:
            qiskit_ibm_runtime.RuntimeInvalidStateError: The job has already ended.
        """
        self._parts.here.jobs.cancel(self._generation)

    areference = aio.async_twin(reference)
    aresult = aio.async_twin(result)
    astatus = aio.async_twin(status)
    adone = aio.async_twin(done)
    arunning = aio.async_twin(running)
    acancelled = aio.async_twin(cancelled)
    ain_final_state = aio.async_twin(in_final_state)
    acancel = aio.async_twin(cancel)

    def _awaited(self, timeout: float | None) -> PrimitiveResult:
        name = f"{self._request.kind} {self._request.label or self.submission[:8]}"
        # After a timeout this object can wait again, so it keeps its place: an equal request made
        # in the meantime is a separate one.
        with self._parts.here.guard.held(self.submission, unless=JobWaitTimeoutError):
            return self._made_in.call(
                lambda: prefect_context.visibly(name, lambda: self.wait(timeout))
            )

    def wait(self, timeout: float | None = None) -> PrimitiveResult:
        """Wait like :meth:`result`, but not as a separate task run."""
        # This ends: the number of sessions and of temporary failures is limited.
        while True:
            try:
                return self._parts.here.results.result(
                    self.submission, self._generation, timeout, self._request.registers
                )
            except JobEndedInPassingError as error:
                _logger.info("%s", error)
            self._made = self._parts.here.submitter.submit(
                self._request, self.submission, self._admission.asked
            )
