"""One job of an experiment, with the interface of Qiskit's primitive jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from qiskit.primitives import BasePrimitiveJob
from qiskit_ibm_runtime import IBMBackend

from session_block import aio, prefect_context
from session_block.client.service import connecting
from session_block.errors import (
    InvalidInputError,
    JobCancelledError,
    JobEndedInPassingError,
    JobFailedError,
    JobNotFoundError,
    JobWaitTimeoutError,
)
from session_block.records.submissions import Generation
from session_block.references import JobRef, SessionRef

if TYPE_CHECKING:
    from session_block.experiments.assembly import Parts
    from session_block.experiments.replay import Admission
    from session_block.pubs.request import Request
    from session_block.records.identity import Identity
    from session_block.submissions.results import RecordedJob

T = TypeVar("T")
_DONE = "DONE"
_ERROR = "ERROR"
_CANCELLED = "CANCELLED"
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


class DurableJob(BasePrimitiveJob[Any, str]):  # type: ignore[misc]  # untyped
    """A submission's job. If its session ends before it runs, ``result()`` submits a new one.

    Made by primitives and experiments, after the job's ID is recorded. It has what libraries read
    of the client's jobs; for all else, ``experiment.service.job(job.job_id())`` is the client's.

    Examples:
        >>> job = sampler.run([circuit], shots=1000)
        >>> job.result()[0].data.meas.num_shots
        1000
        >>> experiment.service.job(job.job_id()).job_id() == job.job_id()  # the client's own object
        True
    """

    JOB_FINAL_STATES = (_DONE, _CANCELLED, _ERROR)

    def __init__(
        self,
        request: Request,
        admission: Admission,
        made: Generation | RecordedJob,
        parts: Parts,
        experiment: Identity,
    ) -> None:
        super().__init__(str(made.job_id))
        self._request = request
        self._admission = admission
        self._made = made
        self._parts = parts
        self._experiment = experiment
        self._made_in = RunContext()
        self._result: Any | None = None if isinstance(made, Generation) else made.result

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return the job itself: it stands for one job at the platform."""
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise InvalidInputError(
            f"Job {self.job_id()} of experiment {self._experiment} cannot be pickled: it holds "
            "this process's connections. Pass job.reference(experiment.session_ref), a JobRef, to "
            "the task session_block.tasks.fetch_result, also in another process; or return "
            "job.result().",
            experiment=self._experiment.uid,
            submission=self.submission,
            session_id=self.session_id,
            job_id=self.job_id(),
        )

    @property
    def submission(self) -> str:
        """ID of the job's submission.

        Examples:
            >>> job.submission == Experiment.load("example").submissions()[-1]["submission"]
            True
        """
        return self._admission.submission

    @property
    def places(self) -> list[int] | None:
        """The places of its PUBs in a request of several jobs; ``None`` if it answers it all.

        Examples:
            >>> job.places is None
            True
            >>> [part.places for part in parted.parts]
            [[0], [1]]
        """
        part = self._request.part
        return None if part is None else list(part.places)

    def reference(self, session: SessionRef) -> JobRef:
        """Return a reference to the job that tasks can pass on.

        Args:
            session: The session's reference.

        Examples:
            >>> reference = job.reference(experiment.session_ref)
            >>> experiment.fetch_result(reference)[0].data.meas.num_shots
            1000
        """
        return JobRef(
            session=session,
            submission=self.submission,
            generation=self._generation.number,
            job_id=self.job_id(),
            kind=self._request.kind,
            registers=self._request.registers,
            places=self.places,
        )

    @property
    def _generation(self) -> Generation:
        if isinstance(self._made, Generation):
            return self._made
        return self._parts.here.submitter.read(self.submission).generations[-1]

    def job_id(self) -> str:
        """Return the platform's ID of the job, or of its replacement once there is one.

        Examples:
            >>> job = sampler.run([circuit], shots=1000)
            >>> job.job_id() == job.reference(experiment.session_ref).job_id
            True
        """
        return str(self._made.job_id)

    def backend(self) -> IBMBackend:
        """Return the backend of the experiment's jobs, as the client's object.

        Raises:
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> backend = job.backend()
            >>> backend.name
            'ibm_manila'
        """
        return self._parts.here.sessions.backend

    @property
    def session_id(self) -> str | None:
        """The platform's ID of the session or batch it was sent to; ``None`` in job mode.

        Examples:
            >>> job = sampler.run([circuit])
            >>> job.session_id == experiment.session_id
            True
        """
        return self._generation.intent.session_id

    @property
    def inputs(self) -> dict[str, Any]:
        """What was requested; of primitives the PUBs as tuples, under ``pubs``.

        A tuple is ``(circuit, parameter_values, shots)`` for the Sampler, and ``(circuit,
        observables, parameter_values, precision)`` for the Estimator, with circuits as they were
        given to ``run``.

        Examples:
            >>> [(bell_pair, values, shots)] = job.inputs["pubs"]
            >>> shots
            1000
        """
        return self._request.inputs

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job and return its result; a recorded result needs no request.

        It is Qiskit's ``PrimitiveResult``, or for another program what the client's job returns.

        Args:
            timeout: Seconds after which the wait ends, but not the job; ``None`` for no limit.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobWaitTimeoutError: The wait timed out; the job continues.
            SubmissionHeldError: The platform no longer knows the job.

        Examples:
            >>> result = job.result()
            >>> sorted(result[0].data.meas.get_counts())
            ['00', '11']
        """
        if self._result is None:
            recorded = self._parts.here.results.recorded(self.submission, self._request.registers)
            self._result = recorded if recorded is not None else self._awaited(timeout)
        return self._result

    def status(self) -> str:
        """Return ``QUEUED``, ``RUNNING``, ``DONE``, ``ERROR`` or ``CANCELLED``.

        Examples:
            >>> result = job.result()
            >>> job.status()
            'DONE'
        """
        if self._result is not None or self._parts.here.results.has_result(self.submission):
            return _DONE
        return self._parts.here.results.status(self._generation)

    def done(self) -> bool:
        """Return whether the job has given its result.

        Examples:
            >>> result = job.result()
            >>> job.done()
            True
        """
        return self.status() == _DONE

    def errored(self) -> bool:
        """Return whether the job has failed.

        Examples:
            >>> result = job.result()
            >>> job.errored()
            False
        """
        return self.status() == _ERROR

    def error_message(self) -> str | None:
        """Return the platform's reason why the job failed; ``None`` if it did not.

        Raises:
            JobNotFoundError: The platform no longer knows the job.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> result = job.result()
            >>> job.error_message() is None
            True
        """
        return None if self.done() else self._asked("error_message")

    def usage(self) -> float:
        """Return the seconds charged for the job, 0 until the platform has settled them.

        Raises:
            JobNotFoundError: The platform no longer knows the job.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> result = job.result()
            >>> seconds = job.usage()
            >>> seconds > 0
            True
        """
        return float(self._asked("usage") or 0)

    def metrics(self) -> dict[str, Any]:
        """Return the platform's metrics of the job, such as its ``timestamps`` and ``usage``.

        Raises:
            JobNotFoundError: The platform no longer knows the job.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> result = job.result()
            >>> metrics = job.metrics()
            >>> sorted(metrics["timestamps"])
            ['created', 'finished', 'running']
        """
        return dict(self._asked("metrics"))

    def wait_for_final_state(self, timeout: float | None = None) -> None:
        """Wait until the job has ended, with a result or without.

        Args:
            timeout: Seconds after which the wait ends, but not the job; ``None`` for no limit.

        Raises:
            JobWaitTimeoutError: The wait timed out; the job continues.
            SubmissionHeldError: The platform no longer knows the job.

        Examples:
            >>> job.wait_for_final_state(timeout=600)
            >>> job.status()
            'DONE'
        """
        with suppress(JobFailedError, JobCancelledError):
            self.result(timeout)

    def running(self) -> bool:
        """Return whether the job is running.

        Examples:
            >>> result = job.result()
            >>> job.running()
            False
        """
        return self.status() == "RUNNING"

    def cancelled(self) -> bool:
        """Return whether the job was cancelled.

        Examples:
            >>> result = job.result()
            >>> job.cancelled()
            False
        """
        return self.status() == _CANCELLED

    def in_final_state(self) -> bool:
        """Return whether the job has ended, with a result or without.

        Examples:
            >>> result = job.result()
            >>> job.in_final_state()
            True
        """
        return self.status() in self.JOB_FINAL_STATES

    def cancel(self) -> None:
        """Cancel the job. Its result is then an error, also when the experiment is resumed.

        Raises:
            qiskit_ibm_runtime.RuntimeInvalidStateError: The job has already ended.

        Examples:
            >>> queued_job.cancel()
            >>> queued_job.status()
            'CANCELLED'
        """
        self._parts.here.jobs.cancel(self._generation)

    abackend = aio.async_twin(backend)
    aerrored = aio.async_twin(errored)
    aerror_message = aio.async_twin(error_message)
    ausage = aio.async_twin(usage)
    ametrics = aio.async_twin(metrics)
    await_for_final_state = aio.async_twin(wait_for_final_state)
    areference = aio.async_twin(reference)
    aresult = aio.async_twin(result)
    astatus = aio.async_twin(status)
    adone = aio.async_twin(done)
    arunning = aio.async_twin(running)
    acancelled = aio.async_twin(cancelled)
    ain_final_state = aio.async_twin(in_final_state)
    acancel = aio.async_twin(cancel)

    def _asked(self, method: str) -> Any:
        """Call a method of the client's own job."""
        found = self._parts.here.jobs.job(self._generation)
        if found is None:
            raise JobNotFoundError(
                f"Job {self.job_id()} of experiment {self._experiment} is not known to the "
                "platform any more. A recorded result is still in the ledger: job.result().",
                **self._generation.named(self._experiment.uid),
            )
        with connecting(f"ask for the {method.replace('_', ' ')} of job {self.job_id()}"):
            return getattr(found, method)()

    def _awaited(self, timeout: float | None) -> Any:
        name = f"{self._request.kind} {self._request.label or self.submission[:8]}"
        # After a timeout this object can wait again, so it keeps its place: an equal request made
        # in the meantime is a separate one.
        with self._parts.here.guard.held(self.submission, unless=JobWaitTimeoutError):
            return self._made_in.call(
                lambda: prefect_context.visibly(name, lambda: self.wait(timeout))
            )

    def wait(self, timeout: float | None = None) -> Any:
        """Wait like :meth:`result`, but not as a separate task run.

        Examples:
            >>> result = job.wait(timeout=600)
            >>> result[0].data.meas.num_shots
            1000
        """
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
