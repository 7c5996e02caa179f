"""The experiment: a named, resumable unit of work, and the handle that users hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload
from uuid import uuid4

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

from session_block import aio, prefect_context
from session_block.account import Account
from session_block.client import Connection
from session_block.costs.estimate import Estimate, estimate
from session_block.costs.usage import ExperimentUsage
from session_block.errors import (
    InvalidInputError,
    JobEndedInPassingError,
    LedgerError,
    SessionBlockError,
)
from session_block.events import EventBus, Point, Progress
from session_block.experiments.assembly import Machinery
from session_block.experiments.job import DurableJob
from session_block.experiments.recorded_inputs import (
    PinnedTranspiler,
    RecordedInputs,
    record_once,
    was_drawn,
)
from session_block.experiments.replay import Admission, ReplayGuard
from session_block.experiments.report import plain, run_facts
from session_block.ledger.store import Ledger
from session_block.pubs.request import Request, estimator_request, sampler_request
from session_block.records.attempts import note_attempt, note_failure
from session_block.records.identity import Identity, begin
from session_block.records.keys import (
    BackendChosen,
    Hold,
    Intent,
    Sealed,
    SessionOutcome,
)
from session_block.records.submissions import FACTS, SubmissionState, fold_all
from session_block.records.versions import Versions
from session_block.records.views import (
    ExperimentRecords,
    ExperimentView,
    aload_experiment,
    load_experiment,
)
from session_block.references import (
    ExecutionMode,
    Implementation,
    JobRef,
    SessionDetails,
    SessionRef,
)
from session_block.sessions.manager import SessionManager, session_id_of
from session_block.settings import Policies, SessionPlan
from session_block.tags import uid_tag

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult
if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp
if TYPE_CHECKING:
    from session_block.reporting.prefect_reporter import PrefectReporter


_logger = logging.getLogger(__name__)


class Experiment(ExperimentRecords):
    """A named, resumable unit of work inside one session.

    Use it as a context manager: success closes the session that it opened and seals the
    experiment; an error, a crash or a kill keeps both as they are, and opening the same experiment
    again goes on from there. What is recorded is answered from the ledger, with no network.

    Threads may share it. Another process needs labels; see :meth:`run_sampler`. It connects when
    the platform is first needed.

    Attributes:
        opening: Token of this opening; ``None`` in a process that did not open the experiment.
        notices: Tells who listens what happens to the experiment in this process.
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
        super().__init__(identity, ledger)
        self.opening = uuid4().hex if opener else None
        self.notices = EventBus()
        self._account = account
        self._plan = plan
        self._block = block
        self._lock = threading.Lock()
        self._keeper_made: SessionManager | None = None
        self._began = begin(self._journal, identity, plan.backend_name)
        self._check_backend()
        policies = policies or Policies()
        self._keep_failed_seconds = policies.keep_failed_seconds
        self._parts = Machinery.of(
            identity,
            self._journal,
            self._keeper,
            policies,
            lambda: self.sealed,
            block,
            self.notices,
            self.versions,
        )
        self._meter, self._budget = self._parts.meter, self._parts.budget
        self._turns = ReplayGuard(
            identity,
            self._journal,
            lambda: self.sealed,
            opener=opener,
            reconcile=self._parts.reconciler.ensure,
            may_diverge=policies.may_diverge,
            versions=self.versions,
        )
        self._pins = RecordedInputs(
            self._journal,
            lambda: self._keeper().backend,
            lambda: self._keeper().target,
            self.versions.fingerprint,
        )
        self._progress = Progress()
        self._attempt: int | None = None
        self._monitor: PrefectReporter | None = None

    @property
    def versions(self) -> Versions:
        """The versions of the rules that recognise the experiment, for life."""
        return self._began.versions

    @staticmethod
    def load(
        name: str, ledger: Ledger | None = None, *, number: int | None = None
    ) -> ExperimentView:
        """Return a read-only view of an experiment, also while it runs; touches no network.

        See :func:`session_block.records.views.load_experiment`.
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
                "with which it was submitted?",
                experiment=self.uid,
                submission=job.submission,
                job_id=job.job_id,
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
        if not self._journal.count(SessionOutcome) and not self._journal.count(Intent):
            return False
        if self._has_open_session() and self._keeper().close(cancel_jobs=True):
            return True
        self._parts.jobs.cancel_pending(uid_tag(self.uid))
        return False

    def report(self, outcome: Any = None) -> dict[str, Any] | None:
        """Return the report with which the experiment was finished, or ``None`` while it is not.

        Args:
            outcome: What an optimiser or an algorithm found: the experiment is finished with it
                first, and its report says of which run it is. See
                :func:`session_block.experiments.report.plain`.

        Raises:
            InvalidInputError: The outcome has no JSON value.
        """
        if outcome is not None and not self.sealed:
            found = plain(outcome)
            self.seal({**found, "run": run_facts(self, self.usage_seconds()).model_dump()})
        return super().report()

    def seal(self, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Finish the experiment: from now on it only answers from its records.

        Returns:
            The report that stands; the first one given, if it was sealed before.
        """
        sealed, _ = self._journal.record(Sealed(report=dict(report or {})))
        return dict(sealed.report)

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
            elif prefect_context.is_cancelled(error):
                self._end_quietly(self.cancel_session)
        finally:
            self._end_watch()

    def finish(self) -> bool:
        """Close the session that this experiment opened, and seal the experiment.

        While one of its submissions waits for an operator, the experiment is not sealed: once
        somebody has decided, the next run goes on with it.

        Returns:
            Whether a session was closed; a borrowed one never is.
        """
        closed = self.close_session()
        if held := self._held():
            _logger.warning(
                "Experiment %s is not finished: %s held (%s). 'session-block submissions list "
                "--held' shows what is to be decided; then run it again.",
                self.identity,
                "a submission is" if len(held) == 1 else f"{len(held)} submissions are",
                ", ".join(held),
            )
        else:
            self.seal()
        self._end_watch()
        return closed

    def _held(self) -> list[str]:
        """Return the submissions that wait for an operator; few experiments ever have any."""
        if not self._journal.count(Hold):
            return []
        recorded = fold_all(self._journal.several(*FACTS)).values()
        return [one.id for one in recorded if one.state is SubmissionState.HELD]

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
        return self._has_open_session() and self._keeper().close()

    def _begin(self, request: Request, label: str | None = None) -> DurableJob:
        """Submit a request, exactly once, and return its job at once.

        See :meth:`run_sampler` for the errors.
        """
        with self._turns.take(request, label) as turn:
            return self._made(request, turn)

    def _made(self, request: Request, turn: Admission) -> DurableJob:
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
        return self._begin(request, label).reference(self.session_ref)

    def _run(self, request: Request, label: str | None) -> PrimitiveResult:
        with self._turns.take(request, label) as turn:
            recorded = self._parts.waiter.recorded(turn.submission)
            if recorded is not None:
                return recorded
            return prefect_context.visibly(
                f"{request.kind} {label or turn.submission[:8]}",
                lambda: self._made(request, turn).wait(),
            )

    @property
    def session_ref(self) -> SessionRef:
        """A reference that tasks can pass on."""
        latest = [record for record in self.sessions if record.session_id]
        return SessionRef(
            block=self._block,
            experiment=self.identity.name,
            number=self.identity.number,
            uid=self.uid,
            opening=self.opening,
            session_id=latest[-1].session_id if latest else None,
            borrowed=bool(latest) and latest[-1].kind == "borrowed",
            sealed=self.sealed,
        )

    def open_session(self) -> str | None:
        """Open the experiment's session or batch, or reattach to it, and return its ID.

        A sealed experiment opens nothing, and job mode has nothing to open.

        Raises:
            ConnectionFailedError: The platform refused the credentials or could not be reached.
            BackendNotFoundError: The instance has no such backend.
            SessionClosedError: The session has ended, and is not to be replaced.
            SessionsNotAllowedError: The instance's plan has no sessions.
        """
        if self.sealed:
            return self.session_id
        return session_id_of(self._keeper().current())

    def borrow_session(self, session_id: str) -> str | None:
        """Attach to a session or batch that somebody else opened; it is never closed from here.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: It is on another backend, or of another mode.
            SessionClosedError: It accepts no more jobs.
        """
        if self.sealed or self.session_id == session_id:
            return session_id
        self._keeper().borrow(session_id)
        return self.session_id

    def session_details(self) -> SessionDetails:
        """Return the details of the experiment's session, asked from the platform.

        Raises:
            SessionError: There is none: it was not opened yet, or jobs run in job mode.
        """
        return self._keeper().details()

    def session_status(self) -> str | None:
        """Return the client's words for the session's state; ``None`` where there is no session.

        ``Pending``, ``In progress, accepting new jobs``, ``In progress, not accepting new jobs`` or
        ``Closed``.
        """
        return self._keeper().details().status if self.session_id else None

    def session_usage(self) -> float | None:
        """Return the session's usage in seconds; ``None`` where there is no session."""
        return self._keeper().details().usage_time if self.session_id else None

    @property
    def service(self) -> QiskitRuntimeService:
        """The client's own service, connected to the experiment's instance."""
        return self._keeper().connection.service

    @property
    def backend(self) -> IBMBackend:
        """The backend of all jobs of the experiment, as the client's object.

        Raises:
            BackendNotFoundError: The instance has no such backend.
        """
        return self._keeper().backend

    @property
    def mode(self) -> ExecutionMode:
        """The execution mode: the Block's, or what took its place where that is not allowed."""
        return self._keeper().mode()

    aopen_session = aio.async_twin(open_session)
    aborrow_session = aio.async_twin(borrow_session)
    asession_details = aio.async_twin(session_details)
    asession_status = aio.async_twin(session_status)
    asession_usage = aio.async_twin(session_usage)
    aclose_session = aio.async_twin(close_session)

    async def aservice(self) -> QiskitRuntimeService:
        """Async twin of :attr:`service`."""
        return await aio.in_thread(lambda: self.service)

    async def abackend(self) -> IBMBackend:
        """Async twin of :attr:`backend`."""
        return await aio.in_thread(lambda: self.backend)

    async def amode(self) -> ExecutionMode:
        """Async twin of :attr:`mode`."""
        return await aio.in_thread(lambda: self.mode)

    def _check_backend(self) -> None:
        wanted, began_with = self._plan.backend_name, self._began.backend
        if wanted == began_with:
            return
        chosen = self._journal.get(BackendChosen)
        if chosen is None or wanted != chosen.name:
            raise InvalidInputError(
                f"Experiment {self.identity} began on {began_with or 'the least busy backend'}, "
                f"but the Block names {wanted or 'none'}. Use the Block it began with, or start "
                "anew with fresh=True.",
                experiment=self.uid,
            )

    @property
    def _connected(self) -> bool:
        return self._keeper_made is not None

    def _has_open_session(self) -> bool:
        return any(record.usable and record.kind == "opened" for record in self.sessions)

    def _keeper(self) -> SessionManager:
        with self._lock:
            if self._keeper_made is None:
                self._keeper_made = SessionManager(
                    self._journal,
                    Connection(self._account()),
                    self._plan,
                    lost=self.identity.lost,
                    notices=self.notices,
                )
            return self._keeper_made

    def usage_seconds(self) -> float:
        """Return what the experiment is charged with so far, as the platform counts it.

        Raises:
            ConnectionFailedError: The platform does not tell.
        """
        return self._meter.seconds()

    def usage(self) -> ExperimentUsage:
        """Return what the experiment, its sessions and its jobs have used, as the platform says.

        Raises:
            ConnectionFailedError: The platform does not tell.
        """
        return self._meter.report()

    def estimate_sampler(
        self,
        pubs: Iterable[Any],
        *,
        shots: int | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        jobs: int = 1,
    ) -> Estimate:
        """Say what jobs like this one would cost, and what there is to spend; submits nothing.

        See :meth:`run_sampler` for the request; ``jobs`` is how many there will be.
        """
        request = sampler_request(pubs, shots=shots, options=options, implementation=implementation)
        return self._estimate(request, jobs)

    def estimate_estimator(
        self,
        pubs: Iterable[Any],
        *,
        precision: float | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        jobs: int = 1,
    ) -> Estimate:
        """Say what jobs like this one would cost, and what there is to spend; submits nothing.

        See :meth:`run_estimator` for the request; ``jobs`` is how many there will be.
        """
        request = estimator_request(
            pubs, precision=precision, options=options, implementation=implementation
        )
        return self._estimate(request, jobs)

    ausage_seconds = aio.async_twin(usage_seconds)
    ausage = aio.async_twin(usage)
    aestimate_sampler = aio.async_twin(estimate_sampler)
    aestimate_estimator = aio.async_twin(estimate_estimator)

    def _estimate(self, request: Request, jobs: int) -> Estimate:
        if jobs < 0:
            raise InvalidInputError(f"There cannot be {jobs} jobs; estimate none or more.")
        keeper = self._keeper()
        request.check_isa(keeper.target)
        allocation = keeper.connection.allocation()
        return estimate(request, jobs, keeper.backend, allocation, self._budget.left())

    def once(self, key: str, draw: Callable[[], Any]) -> Any:
        """Return ``draw()`` of the first time it was asked for, as a JSON value.

        Use it for every random or time-dependent input, so that a resumed run takes the same way.
        A NumPy array comes back as a list.

        Raises:
            InvalidInputError: The drawn value is no JSON value.
        """
        return record_once(self._journal, key, draw)

    async def aonce(self, key: str, draw: Callable[[], Any]) -> Any:
        """Async twin of :meth:`once`; ``draw`` may be asynchronous."""
        if await aio.in_thread(was_drawn, self._journal, key):
            return await aio.in_thread(self.once, key, draw)
        drawn = await aio.in_thread(draw)
        value = await drawn if isawaitable(drawn) else drawn
        return await aio.in_thread(self.once, key, lambda: value)

    @overload
    def transpile(
        self,
        circuit: QuantumCircuit,
        *,
        optimization_level: int | None = ...,
        seed_transpiler: int | None = ...,
    ) -> QuantumCircuit: ...

    @overload
    def transpile(
        self,
        circuit: QuantumCircuit,
        *observables: SparsePauliOp,
        optimization_level: int | None = ...,
        seed_transpiler: int | None = ...,
    ) -> tuple[Any, ...]: ...

    def transpile(
        self,
        circuit: QuantumCircuit,
        *observables: SparsePauliOp,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> Any:
        """Transpile a circuit for the backend, once: a resumed run gets the very same circuit.

        Args:
            circuit: What to transpile.
            observables: Laid out like the circuit.
            optimization_level: Of Qiskit's preset pass manager; ``None`` for 1.
            seed_transpiler: Of its random choices; ``None`` for 0.

        Returns:
            The ISA circuit; with observables a tuple of it and of them.

        Raises:
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        isa_circuit = self._pins.transpiled(circuit, optimization_level, seed_transpiler)
        if not observables:
            return isa_circuit
        return (isa_circuit, *(one.apply_layout(isa_circuit.layout) for one in observables))

    def transpiler(
        self, *, optimization_level: int | None = None, seed_transpiler: int | None = None
    ) -> PinnedTranspiler:
        """Return :meth:`transpile` in the form that algorithms take for a transpiler."""
        return PinnedTranspiler(
            lambda circuit: self._pins.transpiled(circuit, optimization_level, seed_transpiler)
        )

    def fitting(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return a circuit that fits the backend as it is, and of any other the pinned one.

        Raises:
            FaultyQubitError: It fitted the backend once, and does not any more.
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        return self._pins.fitting(circuit)

    def repin(
        self,
        circuit: QuantumCircuit,
        *,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> QuantumCircuit:
        """Transpile a circuit anew, for the backend as it is now, and keep that one from now on.

        What is recorded stays recorded: the durable primitives know a request by the circuit that
        they were given, so a resumed run replays what the old ISA circuit gave and submits the new
        one. A run that passes ISA circuits itself asks for something else then, and stops.

        Args:
            circuit: The circuit as it was given to the primitive, or to :meth:`transpile`.
            optimization_level: As it was given to :meth:`transpile`, if it was.
            seed_transpiler: Likewise.

        Raises:
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        self._keeper().backend.refresh()
        return self._pins.repin(circuit, optimization_level, seed_transpiler)

    atranspile = aio.async_twin(transpile)
    afitting = aio.async_twin(fitting)
    arepin = aio.async_twin(repin)

    def note_attempt(self, most: int | None) -> None:
        """Record that an attempt begins.

        Args:
            most: How many in a row may begin without a new result; ``None`` for no limit.

        Raises:
            CrashLoopError: This is one more.
        """
        results = self.recorded_results
        self._attempt = note_attempt(self._journal, self.identity, results, most)

    def watch(self) -> None:
        """Show the experiment in the Prefect UI, as long as this process works on it."""
        from session_block.reporting.prefect_reporter import PrefectReporter
        from session_block.reporting.watched import Watched

        view = ExperimentView(self.identity, self._ledger)
        watched = Watched(view, self._progress, lambda: self._keeper_made, self._budget)
        self._monitor = PrefectReporter(watched)
        self.notices.listen(self._monitor.notice)

    def progress(
        self, value: float | None = None, error: float = 0.0, *, of: int | None = None
    ) -> None:
        """Tell the report in the Prefect UI how far the work is; nothing is recorded.

        Args:
            value: The next value of the objective, for the figure of convergence. Where none is
                told, the figure shows the Estimator's expectation values.
            error: Its standard error.
            of: How many results the experiment will have, if that is known.
        """
        if value is not None:
            self._progress.add(Point(value, error))
        if of is not None:
            self._progress.total = of

    def _end_watch(self) -> None:
        if self._monitor is not None:
            self._monitor.close()

    def _note_failure(self, keep_seconds: int) -> None:
        """Note that this attempt failed; its session is kept for another one for a while."""
        if self._attempt is None:
            return
        note_failure(self._journal, self._attempt, keep_seconds)
        if keep_seconds == 0:
            self._end_quietly(self.close_session)

    def _end_quietly(self, end: Callable[[], bool]) -> None:
        """End the session while an error is on its way; that one is what is raised."""
        try:
            end()
        except SessionBlockError as error:
            _logger.warning(
                "The session of experiment %s may be open still: %s", self.identity, error
            )
