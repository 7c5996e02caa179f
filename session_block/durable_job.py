"""One job of an experiment, with the face of Qiskit's own primitive jobs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qiskit.primitives import BasePrimitiveJob
from qiskit.primitives.containers import PrimitiveResult

from session_block import runs
from session_block.errors import JobEndedInPassingError

if TYPE_CHECKING:
    from session_block.machinery import Machinery
    from session_block.request import Request
    from session_block.submission_records import Generation
    from session_block.turns import Turn, Turns

_DONE = "DONE"
_FINAL = frozenset({_DONE, "ERROR", "CANCELLED"})
_logger = logging.getLogger(__name__)


class DurableJob(BasePrimitiveJob[PrimitiveResult, str]):  # type: ignore[misc]  # untyped
    """A submission's job. When its session ends first, another one takes its place in ``result()``.

    Made by the primitives and by experiments, after the job's ID is recorded.
    """

    def __init__(
        self,
        request: Request,
        turn: Turn,
        generation: Generation,
        *,
        machinery: Machinery,
        turns: Turns,
    ) -> None:
        super().__init__(str(generation.job_id))
        self._request = request
        self._turn = turn
        self._generation = generation
        self._machinery = machinery
        self._turns = turns
        self._result: PrimitiveResult | None = None

    @property
    def submission(self) -> str:
        """ID of the submission that it was made for."""
        return self._turn.submission

    @property
    def generation(self) -> Generation:
        """The attempt at the submission that made it."""
        return self._generation

    def job_id(self) -> str:
        """Return the platform's ID of the job; that of its replacement once there is one."""
        return str(self._generation.job_id)

    def result(self, timeout: float | None = None) -> PrimitiveResult:
        """Wait for the job and return its result; a recorded one costs no request.

        Args:
            timeout: Seconds after which the wait ends, and not the job; ``None`` to wait on.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobWaitTimeoutError: The time is over; the job goes on.
            SubmissionHeldError: The platform does not know the job any more.
        """
        if self._result is None:
            recorded = self._machinery.waiter.recorded(self.submission)
            self._result = recorded if recorded is not None else self._awaited(timeout)
        return self._result

    def status(self) -> str:
        """Return ``QUEUED``, ``RUNNING``, ``DONE``, ``ERROR`` or ``CANCELLED``."""
        if self._result is not None or self._machinery.waiter.has_result(self.submission):
            return _DONE
        return self._machinery.waiter.status(self._generation)

    def done(self) -> bool:
        """Return whether the job has given its result."""
        return self.status() == _DONE

    def running(self) -> bool:
        """Return whether the job runs now."""
        return self.status() == "RUNNING"

    def cancelled(self) -> bool:
        """Return whether the job was cancelled."""
        return self.status() == "CANCELLED"

    def in_final_state(self) -> bool:
        """Return whether the job has ended, in whatever way."""
        return self.status() in _FINAL

    def cancel(self) -> None:
        """Cancel the job; its result is then an error, here and when the experiment is resumed.

        Raises:
            qiskit_ibm_runtime.RuntimeInvalidStateError: It has ended before.
        """
        self._machinery.submitter.cancel(self._generation)

    def _awaited(self, timeout: float | None) -> PrimitiveResult:
        name = f"{self._request.kind} {self._turn.about['label'] or self.submission[:8]}"
        try:
            result = runs.visibly(name, lambda: self.wait(timeout))
        except BaseException:
            self._turns.leave(self.submission)
            raise
        self._turns.keep(self.submission)
        return result

    def wait(self, timeout: float | None = None) -> PrimitiveResult:
        """Wait like :meth:`result`, but not as a task run of its own."""
        # As often as the Block lets sessions be opened, and jobs fail in passing.
        while True:
            try:
                return self._machinery.waiter.result(self.submission, self._generation, timeout)
            except JobEndedInPassingError as error:
                _logger.info("%s", error)
            self._generation = self._machinery.submitter.submit(
                self._request, self.submission, self._turn.about
            )
