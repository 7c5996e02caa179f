"""The experiment: a named, resumable unit of work, and the handle that users hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from session_block import aio, runs
from session_block.account import Account
from session_block.attempt_handle import AttemptHandle
from session_block.durable_job import DurableJob
from session_block.errors import JobEndedInPassingError, LedgerError
from session_block.identity import Identity
from session_block.ledger import Ledger
from session_block.machinery import Machinery
from session_block.outcomes import plain
from session_block.plan import SessionPlan
from session_block.policies import Policies
from session_block.records import SEALED_KEY
from session_block.references import Implementation, JobRef
from session_block.request import Request, estimator_request, sampler_request
from session_block.run_facts import run_facts
from session_block.tags import uid_tag
from session_block.turns import Turn, Turns
from session_block.views import ExperimentView, aload_experiment, load_experiment

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult


class Experiment(AttemptHandle):
    """A named, resumable unit of work inside one session.

    Use it as a context manager: success closes the session that it opened and seals the
    experiment; an error, a crash or a kill keeps both as they are, and opening the same experiment
    again goes on from there. What is recorded is answered from the ledger, with no network.

    Threads may share it. Another process needs labels; see :meth:`run_sampler`.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        ledger: Ledger,
        account: Callable[[], Account],
        plan: SessionPlan,
        block: str | None = None,
        opener: bool = True,
        policies: Policies | None = None,
    ) -> None:
        super().__init__(
            identity=identity,
            ledger=ledger,
            account=account,
            plan=plan,
            block=block,
            opener=opener,
        )
        policies = policies or Policies()
        self._keep_failed_seconds = policies.keep_failed_seconds
        self._parts = Machinery.of(
            identity, ledger, self._keeper, policies, lambda: self.sealed, block, self.notices
        )
        self._meter, self._budget = self._parts.meter, self._parts.budget
        self._turns = Turns(
            identity,
            ledger,
            lambda: self.sealed,
            opener=opener,
            reconcile=self._parts.reconciler.ensure,
            may_diverge=policies.may_diverge,
        )

    @staticmethod
    def load(
        name: str, ledger: Ledger | None = None, *, number: int | None = None
    ) -> ExperimentView:
        """Return a read-only view of an experiment, also while it runs; touches no network.

        See :func:`session_block.views.load_experiment`.
        """
        return load_experiment(name, ledger, number=number)

    def submit_sampler(
        self,
        pubs: Iterable[Any],
        *,
        shots: int | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        label: str | None = None,
    ) -> JobRef:
        """Submit circuits to the Sampler, exactly once, and return a reference to the job.

        See :meth:`run_sampler` for the arguments and errors.
        """
        request = sampler_request(pubs, shots=shots, options=options, implementation=implementation)
        return self._submit(request, label)

    def submit_estimator(
        self,
        pubs: Iterable[Any],
        *,
        precision: float | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        label: str | None = None,
    ) -> JobRef:
        """Submit circuits and observables to the Estimator, exactly once.

        See :meth:`run_estimator` for the arguments and errors.
        """
        request = estimator_request(
            pubs, precision=precision, options=options, implementation=implementation
        )
        return self._submit(request, label)

    def fetch_result(self, job: JobRef, timeout_seconds: float | None = None) -> PrimitiveResult:
        """Wait for a job and return its result; a recorded one costs no request.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobEndedInPassingError: Its session ended first, or it failed in passing; submit again.
            JobWaitTimeoutError: The time is over; the job goes on.
            SubmissionHeldError: The platform does not know the job any more.
        """
        generations = self._parts.submitter.read(job.submission).generations
        if len(generations) < job.generation:
            raise LedgerError(
                f"Experiment {self.identity} has no record of job {job.job_id}. Is this the ledger "
                "with which it was submitted?"
            )
        generation = generations[job.generation - 1]
        try:
            return self._parts.waiter.result(job.submission, generation, timeout_seconds)
        except JobEndedInPassingError:
            aio.current().end_if_abandoned()
            self._turns.leave(job.submission)
            raise

    def run_sampler(
        self,
        pubs: Iterable[Any],
        *,
        shots: int | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        label: str | None = None,
    ) -> PrimitiveResult:
        """Submit circuits to the Sampler, wait, and return the result.

        Args:
            pubs: Circuits, or tuples ``(circuit, parameter_values, shots)``, as Qiskit's Sampler
                takes them; ISA circuits, with classical registers.
            shots: Shots for the PUBs that do not say their own; ``None`` for the options' default.
            options: The client's own options, as a dict or an object of its option class. Up to
                five ``environment.job_tags`` are yours.
            implementation: ``v2`` or ``executor``, the client's two families of primitives.
            label: A name for this request, instead of its content and its place among equal ones.
                Needed in processes that did not open the experiment.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run asks for something new out of turn.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        request = sampler_request(pubs, shots=shots, options=options, implementation=implementation)
        return self._run(request, label)

    def run_estimator(
        self,
        pubs: Iterable[Any],
        *,
        precision: float | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        label: str | None = None,
    ) -> PrimitiveResult:
        """Submit circuits and observables to the Estimator, wait, and return the result.

        Args:
            pubs: Tuples ``(circuit, observables, parameter_values, precision)``, as Qiskit's
                Estimator takes them; ISA circuits, observables laid out alike.
            precision: Standard error that is aimed at, for the PUBs that do not say their own.
            options: As for :meth:`run_sampler`.
            implementation: As for :meth:`run_sampler`.
            label: As for :meth:`run_sampler`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run asks for something new out of turn.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        request = estimator_request(
            pubs, precision=precision, options=options, implementation=implementation
        )
        return self._run(request, label)

    def cancel_session(self) -> bool:
        """Cancel the experiment's pending jobs, and close the session if it opened it.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        if not self._ledger.facts(self.uid, "session/", "intent/"):
            return False
        if self._has_open_session() and self._keeper().close(cancel_jobs=True):
            return True
        self._parts.jobs.cancel_pending(uid_tag(self.uid))
        return False

    def report(self, outcome: Any = None) -> dict[str, Any] | None:
        """Return the report with which the experiment was finished, or ``None`` while it is not.

        Args:
            outcome: What an optimiser or an algorithm found: the experiment is finished with it
                first, and its report says of which run it is. See :mod:`session_block.outcomes`.

        Raises:
            InvalidInputError: The outcome has no JSON value.
        """
        if outcome is not None and not self.sealed:
            found = plain(outcome)
            self.seal({**found, "run": run_facts(self).model_dump()})
        return super().report()

    def seal(self, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Finish the experiment: from now on it only answers from its records.

        Returns:
            The report that stands; the first one given, if it was sealed before.
        """
        fact, _ = self._ledger.create(self.uid, SEALED_KEY, dict(report or {}))
        return dict(fact.body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
            elif isinstance(error, Exception):
                self._note_failure(self._keep_failed_seconds)
            elif runs.is_cancelled(error):
                self._end_quietly(self.cancel_session)
        finally:
            self._end_watch()

    def finish(self) -> bool:
        """Close the session that this experiment opened, and seal the experiment.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        closed = self.close_session()
        self.seal()
        self._end_watch()
        return closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await aio.in_thread(self.__exit__, error_type, error, traceback)

    def close_session(self) -> bool:
        """Close the session that this experiment opened; queued and running jobs finish.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        if self._connected or any(record.usable for record in self.sessions):
            self._parts.reconciler.check_twins(now=True)
        return super().close_session()

    def begin(self, request: Request, label: str | None = None) -> DurableJob:
        """Submit a request, exactly once, and return its job at once.

        See :meth:`run_sampler` for the errors.
        """
        with self._turns.take(request, label) as turn:
            return self._begin(request, turn)

    def _begin(self, request: Request, turn: Turn) -> DurableJob:
        recorded = self._parts.waiter.recorded_job(turn.submission)
        made = recorded or self._parts.submitter.submit(request, turn.submission, turn.about)
        return DurableJob(request, turn, made, machinery=self._parts, turns=self._turns)

    aload = staticmethod(aload_experiment)
    asubmit_sampler = aio.async_twin(submit_sampler)
    asubmit_estimator = aio.async_twin(submit_estimator)
    afetch_result = aio.async_twin(fetch_result)
    arun_sampler = aio.async_twin(run_sampler)
    arun_estimator = aio.async_twin(run_estimator)
    acancel_session = aio.async_twin(cancel_session)
    areport = aio.async_twin(report)
    aseal = aio.async_twin(seal)
    afinish = aio.async_twin(finish)

    def _submit(self, request: Request, label: str | None) -> JobRef:
        job = self.begin(request, label)
        return JobRef(
            session=self.session_ref,
            submission=job.submission,
            generation=job.generation.number,
            job_id=job.job_id(),
            kind=request.kind,
        )

    def _run(self, request: Request, label: str | None) -> PrimitiveResult:
        with self._turns.take(request, label) as turn:
            recorded = self._parts.waiter.recorded(turn.submission)
            if recorded is not None:
                return recorded
            return runs.visibly(
                f"{request.kind} {label or turn.submission[:8]}",
                lambda: self._begin(request, turn).wait(),
            )
