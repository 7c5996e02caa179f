"""A request that takes several jobs, with the interface of one job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self

from qiskit.primitives import BasePrimitiveJob
from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import IBMBackend

from session_block import aio, prefect_context
from session_block.errors import InvalidInputError
from session_block.experiments.job import DurableJob
from session_block.pubs.request import merged
from session_block.references import JobRef, SessionRef

_DONE, _ERROR, _CANCELLED = "DONE", "ERROR", "CANCELLED"


class PartedJob(BasePrimitiveJob[PrimitiveResult, str]):  # type: ignore[misc]  # untyped
    """The jobs of one request whose PUBs need several, such as PUBs with different shots.

    ``result()`` is that of the whole request, with the PUBs in their order. Each part is a
    submission of its own: after an interruption those that have run do not run again.

    Examples:
        >>> job = sampler.run([(circuit, None, 100), (circuit, None, 200)])
        >>> type(job).__name__, len(job.job_ids)
        ('PartedJob', 2)
        >>> [pub.data.meas.num_shots for pub in job.result()]
        [100, 200]
    """

    JOB_FINAL_STATES = DurableJob.JOB_FINAL_STATES

    def __init__(self, parts: Sequence[DurableJob]) -> None:
        super().__init__(parts[0].job_id())
        self.parts = tuple(parts)
        """The jobs, one for each part."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return the job itself: it stands for jobs at the platform."""
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise InvalidInputError(
            f"The jobs {', '.join(self.job_ids)} cannot be pickled: they hold this process's "
            "connections. Pass job.reference(experiment.session_ref), a JobRef, to the task "
            "session_block.tasks.fetch_result, also in another process; or return job.result().",
            job_id=self.job_id(),
        )

    @property
    def job_ids(self) -> list[str]:
        """The platform's IDs of all parts' jobs.

        Examples:
            >>> len(parted.job_ids)
            2
        """
        return [part.job_id() for part in self.parts]

    def job_id(self) -> str:
        """Return the platform's ID of the first part's job; :attr:`job_ids` has all.

        Examples:
            >>> parted.job_id() == parted.job_ids[0]
            True
        """
        return self.parts[0].job_id()

    def reference(self, session: SessionRef) -> JobRef:
        """Return a reference to all parts' jobs that tasks can pass on.

        Args:
            session: The session's reference.

        Examples:
            >>> reference = parted.reference(experiment.session_ref)
            >>> [pub.data.meas.num_shots for pub in experiment.fetch_result(reference)]
            [100, 200]
        """
        parts = [part.reference(session) for part in self.parts]
        return parts[0].model_copy(update={"parts": parts, "places": None})

    def backend(self) -> IBMBackend:
        """Return the backend of the experiment's jobs, as the client's object.

        Raises:
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> backend = parted.backend()
            >>> backend.name
            'ibm_manila'
        """
        return self.parts[0].backend()

    @property
    def session_id(self) -> str | None:
        """The platform's ID of the session or batch of the last part; ``None`` in job mode.

        Examples:
            >>> parted.session_id == experiment.session_id
            True
        """
        return self.parts[-1].session_id

    @property
    def inputs(self) -> dict[str, Any]:
        """The requested PUBs as tuples, under ``pubs``; see :attr:`DurableJob.inputs`.

        Examples:
            >>> [shots for _, _, shots in parted.inputs["pubs"]]
            [100, 200]
        """
        by_place = {
            place: pub
            for part in self.parts
            for place, pub in zip(part.places or (), part.inputs["pubs"], strict=True)
        }
        return {"pubs": [by_place[place] for place in sorted(by_place)]}

    def result(self, timeout: float | None = None) -> PrimitiveResult:
        """Wait for all jobs and return the request's result; recorded ones need no request.

        Args:
            timeout: Seconds after which the wait ends, but no job; ``None`` for no limit.

        Raises:
            JobFailedError: A job failed for a reason of its own.
            JobCancelledError: Somebody cancelled a job.
            JobWaitTimeoutError: The wait timed out; the jobs continue.
            SubmissionHeldError: The platform no longer knows a job.

        Examples:
            >>> result = parted.result()
            >>> [pub.data.meas.num_shots for pub in result]
            [100, 200]
        """
        left, found = self._time_left(timeout), []
        for number, part in enumerate(self.parts, 1):
            with prefect_context.shown_as_part(number, len(self.parts)):
                found.append((part.places or (), part.result(left())))
        return merged(found)

    def status(self) -> str:
        """Return the state of the whole: done if all are, failed or cancelled if one is.

        Examples:
            >>> result = parted.result()
            >>> parted.status()
            'DONE'
        """
        states = [part.status() for part in self.parts]
        for one in (_ERROR, _CANCELLED):
            if one in states:
                return one
        if all(one == _DONE for one in states):
            return _DONE
        return "QUEUED" if all(one == "QUEUED" for one in states) else "RUNNING"

    def done(self) -> bool:
        """Return whether all jobs have given their results.

        Examples:
            >>> result = parted.result()
            >>> parted.done()
            True
        """
        return self.status() == _DONE

    def errored(self) -> bool:
        """Return whether a job has failed.

        Examples:
            >>> result = parted.result()
            >>> parted.errored()
            False
        """
        return self.status() == _ERROR

    def running(self) -> bool:
        """Return whether a part has begun to run, and not all have ended.

        Examples:
            >>> result = parted.result()
            >>> parted.running()
            False
        """
        return self.status() == "RUNNING"

    def cancelled(self) -> bool:
        """Return whether a job was cancelled, and none has failed.

        Examples:
            >>> result = parted.result()
            >>> parted.cancelled()
            False
        """
        return self.status() == _CANCELLED

    def in_final_state(self) -> bool:
        """Return whether all jobs have ended, with a result or without.

        Examples:
            >>> result = parted.result()
            >>> parted.in_final_state()
            True
        """
        return all(part.in_final_state() for part in self.parts)

    def wait_for_final_state(self, timeout: float | None = None) -> None:
        """Wait until all jobs have ended; see :meth:`DurableJob.wait_for_final_state`.

        Examples:
            >>> parted.wait_for_final_state(timeout=600)
            >>> parted.status()
            'DONE'
        """
        left = self._time_left(timeout)
        for part in self.parts:
            part.wait_for_final_state(left())

    def error_message(self) -> str | None:
        """Return the platform's reason why the first job that failed did; ``None`` if none did.

        Raises:
            JobNotFoundError: The platform no longer knows a job.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> result = parted.result()
            >>> parted.error_message() is None
            True
        """
        return next(filter(None, (part.error_message() for part in self.parts)), None)

    def usage(self) -> float:
        """Return the seconds charged for all jobs, as far as the platform has settled them.

        Raises:
            JobNotFoundError: The platform no longer knows a job.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> result = parted.result()
            >>> seconds = parted.usage()
            >>> seconds > 0
            True
        """
        return sum(part.usage() for part in self.parts)

    def cancel(self) -> None:
        """Cancel all jobs that have not ended. The result is then an error, also when resumed.

        Examples:
            >>> result = parted.result()
            >>> parted.cancel()  # the parts that have ended keep their results
            >>> parted.status()
            'DONE'
        """
        for part in self.parts:
            if not part.in_final_state():
                part.cancel()

    def _time_left(self, seconds: float | None) -> Callable[[], float | None]:
        return self.parts[0]._parts.environment.time_left(seconds)  # noqa: SLF001 - all have one

    abackend = aio.async_twin(backend)
    areference = aio.async_twin(reference)
    aresult = aio.async_twin(result)
    astatus = aio.async_twin(status)
    adone = aio.async_twin(done)
    aerrored = aio.async_twin(errored)
    arunning = aio.async_twin(running)
    acancelled = aio.async_twin(cancelled)
    ain_final_state = aio.async_twin(in_final_state)
    await_for_final_state = aio.async_twin(wait_for_final_state)
    aerror_message = aio.async_twin(error_message)
    ausage = aio.async_twin(usage)
    acancel = aio.async_twin(cancel)
