"""The experiment: a named, resumable unit of work, and the object that users work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

from session_block import aio, prefect_context
from session_block.client import Connection, PlanCaps
from session_block.costs.course import CostCourse, cost_course
from session_block.costs.estimate import Estimate, estimate
from session_block.costs.session_time import INTERACTIVE_SECONDS, gaps_of
from session_block.costs.usage import ExperimentUsage
from session_block.costs.work import Forecast
from session_block.environment.forks import renew_after_fork
from session_block.errors import InvalidInputError, JobEndedInPassingError, LedgerError
from session_block.events import EventBus, Point, Progress
from session_block.experiments.assembly import Assembly, Parts
from session_block.experiments.check_request import Draft, check_request
from session_block.experiments.completion import Completion
from session_block.experiments.job import DurableJob
from session_block.experiments.noise_models import (
    NoiseModel,
    NoiseModelRequest,
    noise_model_request,
)
from session_block.experiments.parted_job import PartedJob
from session_block.experiments.program_request import (
    ProgramRequest,
    executor_request,
    learning_request,
    program_request,
)
from session_block.experiments.recorded_inputs import PinnedTranspiler
from session_block.experiments.replay import Admission
from session_block.experiments.report import RunFacts, facts_of_run, plain
from session_block.experiments.run_end import RUN_ENDS
from session_block.experiments.unclosed import UNCLOSED
from session_block.ledger.store import Ledger
from session_block.prechecks.checking import findings_of
from session_block.prechecks.findings import CheckFinding
from session_block.prechecks.spending import Charge, Spending
from session_block.pubs.options import max_execution_time
from session_block.pubs.request import (
    PrimitiveRequest,
    Request,
    asks,
    estimator_request,
    merged,
    sampler_request,
)
from session_block.records.attempts import RootAttempt
from session_block.records.context import ExperimentContext
from session_block.records.identity import Identity, begin
from session_block.records.keys import BackendChosen
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
from session_block.settings import Settings
from session_block.submissions.submit import OccurrenceTakenError

if TYPE_CHECKING:
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.primitives.containers import PrimitiveResult
    from qiskit.quantum_info import SparsePauliOp

    from session_block.reporting.prefect_reporter import PrefectReporter

J = TypeVar("J")
"""What is drawn: a JSON value."""


class Experiment(ExperimentRecords):
    """A named, resumable unit of work inside one session.

    Use it as a context manager. On success, it closes the session that it opened and seals the
    experiment. After an error, a crash or a kill, both stay as they are, and opening the same
    experiment again continues from there. Recorded requests are answered from the ledger, without
    network.

    Threads may share it. Another process needs labels, also a forked one, in which the end of a
    ``with`` block ends nothing; see :meth:`run_sampler`. It connects when the platform is first
    needed.

    Args:
        identity: The experiment's identity.
        ledger: The ledger with its facts.
        connection: Connects to its instance when the platform is first needed.
        settings: The Block's settings.
        opener: Whether this process opens the experiment; a process that only joins it needs
            labels.
        within: The attempt of the outermost flow run whose flow runs share the experiment by its
            name; ``None`` if none do.

    Attributes:
        opening: Token of this opening; ``None`` in a process that did not open the experiment.
        events: Publishes what happens to the experiment in this process.

    Examples:
        >>> with block.experiment("bell-pairs") as experiment:
        ...     result = experiment.run_sampler([circuit], shots=1000)
        >>> sorted(result[0].data.meas.get_counts())
        ['00', '11']
        >>> experiment.sealed  # opened again, it answers from its records
        True

        In async code, every blocking method has a twin:

        >>> import asyncio
        >>> async def main():
        ...     async with block.experiment("bell-pairs") as experiment:
        ...         return await experiment.arun_sampler([circuit], shots=1000)
        >>> asyncio.run(main())[0].data.meas.num_shots
        1000
    """

    def __init__(
        self,
        identity: Identity,
        ledger: Ledger,
        connection: Connection,
        settings: Settings,
        *,
        opener: bool = True,
        within: RootAttempt | None = None,
    ) -> None:
        super().__init__(identity, ledger)
        self.events = EventBus()
        self._began = begin(self._journal, identity, settings)
        self._context = ExperimentContext(
            identity,
            self._journal,
            self._began.versions,
            self.events,
            owner=settings.source.owner,
            taken=self._began.taken,
        )
        self.opening = self._context.environment.new_id() if opener else None
        self._settings = settings
        self._check_block()
        self._connection = connection
        self._made_of = Parts(
            self._context, self._connection, settings, opener=opener, shared=within is not None
        )
        self._completion = Completion(
            self._context, self._made_of, settings.policies.keep_failed_seconds, within
        )
        self._progress = Progress()
        self._reporter: PrefectReporter | None = None
        self._is_watched = False
        if opener:
            UNCLOSED.watch(self._context, settings.block)
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Join the experiment, in a forked child: its opener and what watches it are the parent.

        Examples:
            What Python calls in a child of :func:`os.fork`, in which requests then need labels:

            >>> child = block.experiment("forked")
            >>> child.after_fork()
            >>> child.opening is None
            True
        """
        self.opening, self._reporter, self._is_watched = None, None, False
        self.events.silence()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return the experiment itself: it is one, whatever holds it and is copied."""
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise InvalidInputError(
            f"Experiment {self.identity} cannot be pickled: it holds this process's connections. "
            "Pass experiment.session_ref, a SessionRef, to the tasks of session_block.tasks, which "
            "take it in another process too. Or pass the name of the saved Block, and open the "
            "experiment there.",
            experiment=self.uid,
        )

    @property
    def _parts(self) -> Assembly:
        return self._made_of.here

    @property
    def _sessions(self) -> SessionManager:
        return self._parts.sessions

    @property
    def implementation(self) -> Implementation:
        """The client's family of primitives that the experiment began with, and keeps.

        Examples:
            >>> experiment.implementation
            'executor'
        """
        return self._began.family

    @property
    def versions(self) -> Versions:
        """The versions of the rules that recognise the experiment; they never change.

        Examples:
            >>> experiment.versions
            Versions(identity=2, fingerprint=2, tags=3)
        """
        return self._context.versions

    @staticmethod
    def load(
        name: str, ledger: Ledger | None = None, *, number: int | None = None
    ) -> ExperimentView:
        """Return a read-only view of an experiment, even while it runs; uses no network.

        See :func:`session_block.records.views.load_experiment`.

        Examples:
            >>> with block.experiment("bell-pairs") as experiment:
            ...     result = experiment.run_sampler([circuit], shots=1000)
            >>> view = Experiment.load("bell-pairs")
            >>> view.sealed, view.recorded_results
            (True, 1)
        """
        return load_experiment(name, ledger, number=number)

    @asks(sampler_request)
    def run_sampler(self, request: PrimitiveRequest) -> PrimitiveResult:
        """Submit circuits to the Sampler exactly once, wait, and return the result.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> result = experiment.run_sampler([circuit], shots=1000)
            >>> counts = result[0].data.meas.get_counts()
            >>> sorted(counts), sum(counts.values())
            (['00', '11'], 1000)
        """
        return self._run(request)

    @asks(estimator_request)
    def run_estimator(self, request: PrimitiveRequest) -> PrimitiveResult:
        """Submit circuits and observables to the Estimator exactly once, wait, return the result.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            Three points of an ansatz with four parameters, in one job:

            >>> points = np.zeros((3, 4))
            >>> result = experiment.run_estimator([(ansatz, observable, points)], precision=0.05)
            >>> result[0].data.evs.shape
            (3,)
        """
        return self._run(request)

    @asks(sampler_request)
    def submit_sampler(self, request: PrimitiveRequest) -> JobRef:
        """Submit circuits to the Sampler exactly once, and return a reference to the job.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> job.kind
            'sampler'
            >>> experiment.fetch_result(job)[0].data.meas.num_shots
            1000
        """
        return self._begin(request).reference(self.session_ref)

    @asks(estimator_request)
    def submit_estimator(self, request: PrimitiveRequest) -> JobRef:
        """Submit circuits and observables to the Estimator exactly once; return a job reference.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            Submit all jobs first, then wait:

            >>> pubs = [(ansatz, observable, [angle] * 4) for angle in (0.0, 0.5)]
            >>> first = experiment.submit_estimator(pubs[:1], precision=0.05)
            >>> second = experiment.submit_estimator(pubs[1:], precision=0.05)
            >>> [experiment.fetch_result(job)[0].data.evs.shape for job in (first, second)]
            [(), ()]
        """
        return self._begin(request).reference(self.session_ref)

    @asks(executor_request)
    def run_executor(self, request: ProgramRequest) -> Any:
        """Run a quantum program on the client's Executor exactly once; wait for its result.

        The result is the client's ``QuantumProgramResult``.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> from qiskit_ibm_runtime import QuantumProgram
            >>> program = QuantumProgram(shots=1000)
            >>> program.append_circuit_item(circuit)
            >>> result = experiment.run_executor(program)
            >>> result[0]["meas"].shape  # shots, bits
            (1000, 2)
        """
        return self._run(request)

    @asks(executor_request)
    def submit_executor(self, request: ProgramRequest) -> JobRef:
        """Submit a quantum program exactly once, and return a reference to the job.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> from qiskit_ibm_runtime import QuantumProgram
            >>> program = QuantumProgram(shots=1000)
            >>> program.append_circuit_item(circuit)
            >>> job = experiment.submit_executor(program)
            >>> job.kind
            'executor'
            >>> len(experiment.fetch_result(job))
            1
        """
        return self._begin(request).reference(self.session_ref)

    @asks(learning_request)
    def learn_noise(self, request: ProgramRequest) -> Any:
        """Learn the noise of layers exactly once; wait for the models.

        They are the client's ``NoiseLearnerV3Results``, or of the family ``v2`` its
        ``NoiseLearnerResult``.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> learned = experiment.learn_noise(layers, implementation="executor")
            >>> len(learned) == len(layers)
            True
        """
        return self._run(request)

    @asks(learning_request)
    def submit_noise_learning(self, request: ProgramRequest) -> JobRef:
        """Submit the learning of layers' noise exactly once, and return a reference to the job.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> job = experiment.submit_noise_learning(layers, implementation="executor")
            >>> job.kind
            'noise-learner'
            >>> len(experiment.fetch_result(job)) == len(layers)
            True
        """
        return self._begin(request).reference(self.session_ref)

    @asks(noise_model_request)
    def noise_model(self, request: NoiseModelRequest) -> NoiseModel:
        """Return the noise model that PUBs need for PEC or PEA; learn it only if there is none.

        A model that an experiment of the same owner has learned is taken from the ledger and costs
        nothing: for the same backend, instance, layers in their order and options of the learner,
        and not older than ``max_age``. If the Block says ``on_recalibration="relearn"`` or
        ``"stop"``, it must also be of the backend's present calibration. A resumed run gets the
        very model that it got before, whatever its age by then.

        Limit: two experiments, or two processes, that ask at the same time may both learn it.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            >>> options = {"resilience": {"pec_mitigation": True}}
            >>> pub = (ansatz, observable, [0.0] * 4)
            >>> model = experiment.noise_model([pub], options=options, max_age="6h")
            >>> len(model.layer_noise_model) == len(model.layers)
            True
        """
        learning, models = request.learning, self._parts.noise_models
        with models.one_by_one(request):
            while True:
                with (
                    suppress(OccurrenceTakenError),
                    self._parts.guard.admit(learning, models.answering(request)) as admission,
                ):
                    taken = models.taken(admission.submission)
                    if taken is None:
                        self._answer(learning, admission)
                        taken = models.share(admission.submission, admission.asked)
                    return models.model(request, taken)

    @asks(program_request)
    def run_program(self, request: ProgramRequest) -> Any:
        """Run any program of the platform exactly once; wait for its result.

        The result is what the client's job returns. It is recorded as the platform sent it.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission or its job went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            With inputs as the client sends them; here those of an executor's job:

            >>> sorted(inputs)
            ['options', 'quantum_program', 'schema_version']
            >>> result = experiment.run_program("executor", inputs)
            >>> result[0]["meas"].shape
            (1000, 2)
        """
        return self._run(request)

    @asks(program_request)
    def submit_program(self, request: ProgramRequest) -> JobRef:
        """Submit any program of the platform exactly once; return a reference to the job.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            ExperimentDivergedError: A resumed run makes a new request before the recorded ones.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to continue.

        Examples:
            With inputs as the client sends them; here those of an executor's job:

            >>> job = experiment.submit_program("executor", inputs)
            >>> result = experiment.fetch_result(job)
            >>> result[0]["meas"].shape
            (1000, 2)
        """
        return self._begin(request).reference(self.session_ref)

    @asks(sampler_request)
    def estimate_sampler(self, request: PrimitiveRequest) -> Estimate:
        """Estimate the cost of a Sampler job, with the remaining budget; submits nothing.

        ``.times(n)`` of the estimate is the estimate for n such jobs. If the request's label has a
        recorded result, it costs nothing.

        Raises:
            InvalidInputError: The request is wrong, or its label stands for another one.
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> estimate = experiment.estimate_sampler([circuit], shots=1000)
            >>> estimate.executions, estimate.fits
            (1000, True)
            >>> many = estimate.times(20)
            >>> many.low_seconds < many.expected_seconds < many.high_seconds
            True
        """
        return self._estimate(request)

    @asks(executor_request)
    def estimate_executor(self, request: ProgramRequest) -> Estimate:
        """Estimate the cost of an Executor job, with the remaining budget; submits nothing.

        ``.times(n)`` of the estimate is the estimate for n such jobs. If the request's label has a
        recorded result, it costs nothing.

        Raises:
            InvalidInputError: The request is wrong, or its label stands for another one.
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> from qiskit_ibm_runtime import QuantumProgram
            >>> program = QuantumProgram(shots=1000)
            >>> program.append_circuit_item(circuit)
            >>> estimate = experiment.estimate_executor(program)
            >>> estimate.executions, estimate.model
            (1000, 'executor')
        """
        return self._estimate(request)

    @asks(estimator_request)
    def estimate_estimator(self, request: PrimitiveRequest) -> Estimate:
        """Estimate the cost of an Estimator job, with the remaining budget; submits nothing.

        ``.times(n)`` of the estimate is the estimate for n such jobs. If the request's label has a
        recorded result, it costs nothing.

        Raises:
            InvalidInputError: The request is wrong, or its label stands for another one.
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> pub = (ansatz, observable, np.zeros((10, 4)))
            >>> estimate = experiment.estimate_estimator([pub], precision=0.01)
            >>> estimate.executions > 200_000  # 10,000 shots × 10 points × 2 bases, and more
            True
        """
        return self._estimate(request)

    @asks(check_request)
    def check(self, draft: Draft) -> list[CheckFinding]:
        """Return what would be refused, or might fail or not fit the budget; submits nothing.

        The rules are those of the family used. Each submission applies them by itself before
        anything is recorded or sent, but for those about usage; a finding of the severity
        ``refuse`` is then a :class:`~session_block.errors.CheckFailedError`. What is recorded is
        never refused. An empty list promises nothing: IBM may refuse what no rule knows.

        Raises:
            InvalidInputError: It cannot be told what would run them, or nothing is given.
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> [finding] = experiment.check([circuit], shots=20_000_000)
            >>> finding.severity, finding.rule, finding.code
            ('refuse', 'executions', 1520)
        """
        found = list(draft.findings)
        if draft.request is not None:
            device = self._sessions.device
            found += draft.renumbered(findings_of(draft.request, device))
            refused = any(one.severity == "refuse" for one in found)  # and then costs nothing
            if isinstance(draft.request, PrimitiveRequest) and not refused:
                found += self._spending(draft.request).findings(
                    guessed=draft.request.implementation != "v2"
                )
        return found

    def fetch_result(self, job: JobRef, timeout_seconds: float | None = None) -> Any:
        """Wait for a job and return its result; a recorded result needs no request.

        It is Qiskit's ``PrimitiveResult``, or for another program what the client's job returns.

        Args:
            job: A reference to the job.
            timeout_seconds: Seconds after which the wait ends, but not the job; ``None`` for no
                limit.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            ExperimentStoppedError: A person or the cost limit ended its session.
            JobEndedInPassingError: Its session ended first, or it failed temporarily; submit again.
            JobWaitTimeoutError: The wait timed out; the job continues.
            SubmissionHeldError: The platform no longer knows the job.
            LedgerError: This ledger has no record of the job.

        Examples:
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> result = experiment.fetch_result(job, timeout_seconds=600)
            >>> result[0].data.meas.num_shots
            1000
        """
        if job.parts:
            left = self._context.environment.time_left(timeout_seconds)
            return merged([(one.places or (), self.fetch_result(one, left())) for one in job.parts])
        generations = self._parts.submitter.read(job.submission).generations
        if len(generations) < job.generation:
            raise LedgerError(
                f"Experiment {self.identity} has no record of job {job.job_id}. Use the ledger "
                "that it was submitted with.",
                experiment=self.uid,
                submission=job.submission,
                job_id=job.job_id,
            )
        generation = generations[job.generation - 1]
        try:
            return self._parts.results.result(
                job.submission, generation, timeout_seconds, job.registers
            )
        except JobEndedInPassingError:
            aio.current().end_if_abandoned()
            self._parts.guard.leave(job.submission)
            raise

    def reprocess(self, job: JobRef) -> Any:
        """Return what the installed client makes of a job's raw result; nothing is recorded anew.

        The recorded result, which is what replays, stays as it was first returned. The raw result
        is the recorded one (``keep_raw`` of the Block), or is asked of the platform.

        Args:
            job: A reference to a job of the family ``executor``, whose results the client makes.

        Raises:
            InvalidInputError: The job has no recorded result yet.
            JobNotFoundError: The platform does not keep the raw result any more.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> recorded = experiment.fetch_result(job)
            >>> again = experiment.reprocess(job)
            >>> again[0].data.meas.get_counts() == recorded[0].data.meas.get_counts()
            True
        """
        if job.parts:
            return merged([(one.places or (), self.reprocess(one)) for one in job.parts])
        return self._parts.results.reprocessed(job.submission)

    aload = staticmethod(aload_experiment)
    arun_executor = aio.async_twin(run_executor)
    asubmit_executor = aio.async_twin(submit_executor)
    alearn_noise = aio.async_twin(learn_noise)
    asubmit_noise_learning = aio.async_twin(submit_noise_learning)
    anoise_model = aio.async_twin(noise_model)
    arun_program = aio.async_twin(run_program)
    asubmit_program = aio.async_twin(submit_program)
    areprocess = aio.async_twin(reprocess)
    arun_sampler = aio.async_twin(run_sampler)
    arun_estimator = aio.async_twin(run_estimator)
    asubmit_sampler = aio.async_twin(submit_sampler)
    asubmit_estimator = aio.async_twin(submit_estimator)
    aestimate_sampler = aio.async_twin(estimate_sampler)
    aestimate_executor = aio.async_twin(estimate_executor)
    aestimate_estimator = aio.async_twin(estimate_estimator)
    acheck = aio.async_twin(check)
    afetch_result = aio.async_twin(fetch_result)

    def require_problem(self, problem: Any) -> None:
        """State what the experiment is about, as a JSON value; another problem is refused later.

        So a name that is used again for something else does not give the first one's result.

        Raises:
            InvalidInputError: It is not a JSON value, or the experiment is about another problem;
                the message names what differs.

        Examples:
            >>> experiment = block.experiment("bond-length")
            >>> experiment.require_problem({"molecule": "H2", "distance": 0.735})
            >>> experiment.require_problem({"molecule": "H2", "distance": 0.8})
            Traceback (most recent call last):
            ...
            session_block.errors.InvalidInputError: ... distance ...
        """
        self._parts.inputs.require_problem(problem)

    @overload
    def once(self, key: str, draw: Callable[[], np.ndarray[Any, Any]]) -> list[Any]: ...

    @overload
    def once(self, key: str, draw: Callable[[], J]) -> J: ...

    def once(self, key: str, draw: Callable[[], Any]) -> Any:
        """Return the value of the first ``draw()`` under this key, as a JSON value.

        Use it for every random or time-dependent input, so that a resumed run takes the same path.
        A NumPy array is returned as a list.

        Raises:
            InvalidInputError: The drawn value is not a JSON value.

        Examples:
            >>> first = experiment.once("x0", lambda: np.random.default_rng().uniform(size=4))
            >>> again = experiment.once("x0", lambda: np.random.default_rng().uniform(size=4))
            >>> again == first, type(first).__name__
            (True, 'list')
        """
        return self._parts.inputs.once(key, draw)

    @overload
    async def aonce(self, key: str, draw: Callable[[], Awaitable[J]]) -> J: ...

    @overload
    async def aonce(self, key: str, draw: Callable[[], J]) -> J: ...

    async def aonce(self, key: str, draw: Callable[[], Any]) -> Any:
        """Async twin of :meth:`once`; ``draw`` may be asynchronous.

        Examples:
            >>> async def ask():
            ...     return {"temperature": 0.015}
            >>> await experiment.aonce("fridge", ask)
            {'temperature': 0.015}
        """
        if await aio.in_thread(self._parts.inputs.was_drawn, key):
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
        """Transpile a circuit for the backend once: a resumed run gets exactly the same circuit.

        Args:
            circuit: The circuit to transpile.
            observables: Observables that get the circuit's layout.
            optimization_level: Level of Qiskit's preset pass manager; ``None`` for 1.
            seed_transpiler: Seed of its random choices; ``None`` for 0.

        Returns:
            The ISA circuit; if observables are given, a tuple of it and the observables.

        Raises:
            NotISAError: The circuit cannot be transpiled for the backend.

        Examples:
            >>> from qiskit.circuit.library import real_amplitudes
            >>> from qiskit.quantum_info import SparsePauliOp
            >>> hamiltonian = SparsePauliOp(["ZZ", "XI", "IX"])
            >>> isa_circuit, isa_observable = experiment.transpile(real_amplitudes(2), hamiltonian)
            >>> isa_circuit.num_qubits, isa_observable.num_qubits  # those of the backend
            (5, 5)
        """
        inputs = self._parts.inputs
        isa_circuit = inputs.transpiled(circuit, optimization_level, seed_transpiler)
        if not observables:
            return isa_circuit
        return (isa_circuit, *(one.apply_layout(isa_circuit.layout) for one in observables))

    def transpiler(
        self, *, optimization_level: int | None = None, seed_transpiler: int | None = None
    ) -> PinnedTranspiler:
        """Return :meth:`transpile` as an object with ``run``, as algorithms expect it.

        Examples:
            >>> transpiler = experiment.transpiler(optimization_level=3)
            >>> transpiler.run(bell_pair).num_qubits
            5
        """
        return PinnedTranspiler(
            partial(
                self.transpile,
                optimization_level=optimization_level,
                seed_transpiler=seed_transpiler,
            )
        )

    def fitting(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return a circuit unchanged if it fits the backend, otherwise its pinned ISA circuit.

        Raises:
            FaultyQubitError: The circuit fitted the backend once, but no longer does.
            NotISAError: The circuit cannot be transpiled for the backend.

        Examples:
            >>> fitted = experiment.fitting(circuit)
            >>> fitted is circuit  # it is an ISA circuit already
            True
            >>> isa_circuit = experiment.fitting(bell_pair)
            >>> isa_circuit.num_qubits
            5
        """
        return self._parts.inputs.fitting(circuit)

    def repin(
        self,
        circuit: QuantumCircuit,
        *,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> QuantumCircuit:
        """Transpile a circuit again, for the backend as it is now, and use it from now on.

        Recorded results stay. The durable primitives recognise a request by the circuit before
        transpilation, so a resumed run replays the old ISA circuit's results and submits the new
        one. A run that passes ISA circuits itself then makes a different request, and stops.

        Args:
            circuit: The circuit as given to the primitive, or to :meth:`transpile`.
            optimization_level: The value given to :meth:`transpile`, if any.
            seed_transpiler: The value given to :meth:`transpile`, if any.

        Raises:
            NotISAError: The circuit cannot be transpiled for the backend.

        Examples:
            After a recalibration, for another choice of qubits:

            >>> isa_circuit = experiment.repin(bell_pair)
            >>> experiment.transpile(bell_pair) == isa_circuit
            True
        """
        return self._parts.inputs.repin(circuit, optimization_level, seed_transpiler)

    arequire_problem = aio.async_twin(require_problem)
    atranspile = aio.async_twin(transpile)
    afitting = aio.async_twin(fitting)
    arepin = aio.async_twin(repin)

    @property
    def session_ref(self) -> SessionRef:
        """A reference to the experiment's session that tasks can pass on.

        Examples:
            >>> session_id = experiment.open_session()
            >>> reference = experiment.session_ref
            >>> reference.session_id == session_id
            True
            >>> sorted(reference.model_dump())[:3]  # no secret is in it
            ['block', 'borrowed', 'experiment']
        """
        latest = [record for record in self.sessions if record.session_id]
        return SessionRef(
            block=self._settings.block,
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

        A sealed experiment opens nothing, and neither does job mode.

        Raises:
            ConnectionFailedError: The platform refused the credentials or could not be reached.
            BackendNotFoundError: The instance has no such backend.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            SessionClosedError: The session has ended, and the Block says not to replace it.
            SessionsNotAllowedError: The instance's plan has no sessions.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.open_session() == session_id  # it reattaches
            True
        """
        if self.sealed:
            return self.session_id
        return session_id_of(self._sessions.current())

    def borrow_session(self, session_id: str) -> str | None:
        """Attach to a session or batch that somebody else opened; the experiment never closes it.

        Raises:
            SessionNotFoundError: The instance has no such session.
            SessionMismatchError: Its backend or mode differs from the Block's.
            SessionClosedError: It accepts no more jobs.

        Examples:
            >>> theirs, mine = (block.experiment(name, fresh=True) for name in ("theirs", "mine"))
            >>> session_id = theirs.open_session()
            >>> borrowed = mine.borrow_session(session_id)
            >>> borrowed == session_id
            True
            >>> mine.finish()  # a borrowed session stays open
            False
            >>> theirs.finish()
            True
        """
        if self.sealed or self.session_id == session_id:
            return session_id
        self._sessions.borrow(session_id)
        return self.session_id

    def session_details(self) -> SessionDetails:
        """Return the details of the experiment's session, from the platform.

        Raises:
            SessionError: There is no session: it was not opened yet, or the mode is ``job``.

        Examples:
            >>> session_id = experiment.open_session()
            >>> details = experiment.session_details()
            >>> details.backend_name, details.max_time
            ('ibm_manila', 3600)
        """
        return self._sessions.details()

    def session_status(self) -> str | None:
        """Return the client's text for the session's state; ``None`` if there is no session.

        ``Pending``, ``In progress, accepting new jobs``, ``In progress, not accepting new jobs`` or
        ``Closed``.

        Examples:
            >>> session_id = experiment.open_session()
            >>> status = experiment.session_status()
            >>> status in {"Pending", "In progress, accepting new jobs"}
            True
        """
        return self._sessions.details().status if self.session_id else None

    def session_usage(self) -> float | None:
        """Return the session's usage in seconds; ``None`` if there is no session.

        Examples:
            >>> session_id = experiment.open_session()
            >>> seconds = experiment.session_usage()
            >>> seconds >= 0
            True
        """
        return self._sessions.details().usage_time if self.session_id else None

    def close_session(self) -> bool:
        """Close the session that this experiment opened; queued and running jobs still finish.

        Returns:
            Whether a session was closed; a borrowed one never is.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.close_session()
            True
            >>> experiment.close_session()  # it is closed already
            False
        """
        return self._completion.close_session()

    def cancel_session(self) -> bool:
        """Cancel the experiment's pending jobs, and close the session if the experiment opened it.

        Returns:
            Whether a session was closed; a borrowed one never is.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.cancel_session()
            True
            >>> experiment.session_status()
            'Closed'
        """
        return self._completion.cancel()

    aopen_session = aio.async_twin(open_session)
    aborrow_session = aio.async_twin(borrow_session)
    asession_details = aio.async_twin(session_details)
    asession_status = aio.async_twin(session_status)
    asession_usage = aio.async_twin(session_usage)
    aclose_session = aio.async_twin(close_session)
    acancel_session = aio.async_twin(cancel_session)

    @property
    def service(self) -> QiskitRuntimeService:
        """The client's own service, connected to the experiment's instance.

        Examples:
            >>> [job.backend().name for job in experiment.service.jobs(limit=1)]
            ['ibm_manila']
        """
        return self._connection.service

    @property
    def backend(self) -> IBMBackend:
        """The backend of all the experiment's jobs, as the client's object.

        Raises:
            BackendNotFoundError: The instance has no such backend.

        Examples:
            >>> experiment.backend.name, experiment.backend.num_qubits
            ('ibm_manila', 5)
        """
        return self._sessions.backend

    @property
    def mode(self) -> ExecutionMode:
        """The execution mode: the Block's, or its replacement if the plan has no sessions.

        Examples:
            >>> experiment.mode
            'session'
        """
        return self._sessions.mode()

    async def aservice(self) -> QiskitRuntimeService:
        """Async twin of :attr:`service`.

        Examples:
            >>> service = await experiment.aservice()
            >>> [job.backend().name for job in service.jobs(limit=1)]
            ['ibm_manila']
        """
        return await aio.in_thread(lambda: self.service)

    async def abackend(self) -> IBMBackend:
        """Async twin of :attr:`backend`.

        Examples:
            >>> backend = await experiment.abackend()
            >>> backend.name
            'ibm_manila'
        """
        return await aio.in_thread(lambda: self.backend)

    async def amode(self) -> ExecutionMode:
        """Async twin of :attr:`mode`.

        Examples:
            >>> await experiment.amode()
            'session'
        """
        return await aio.in_thread(lambda: self.mode)

    def usage_seconds(self) -> float:
        """Return the seconds charged for the experiment so far, as the platform counts them.

        Raises:
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> seconds = experiment.usage_seconds()
            >>> seconds > 0
            True
        """
        return self._parts.meter.seconds()

    def usage(self) -> ExperimentUsage:
        """Return the platform's usage of the experiment, its sessions and its jobs.

        Raises:
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> usage = experiment.usage()
            >>> usage.seconds == sum(one.seconds for one in usage.sessions)
            True
        """
        return self._parts.meter.report()

    def costs(self) -> CostCourse:
        """Return what was spent so far, what was expected for it, and what is left.

        Raises:
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> result = experiment.run_sampler([circuit], shots=1000)
            >>> costs = experiment.costs()
            >>> costs.jobs >= 1, costs.low_seconds < costs.expected_seconds < costs.high_seconds
            (True, True)
        """
        limits = (
            self._connection.allocation().get("usage_remaining_seconds"),
            self._parts.budget.left().usage_seconds,
        )
        left = min((one for one in limits if one is not None), default=None)
        return self._course(left)

    def run_facts(self) -> RunFacts:
        """Return the run that a report's numbers come from, its usage included.

        Raises:
            ConnectionFailedError: The platform does not answer.

        Examples:
            >>> result = experiment.run_sampler([circuit], shots=1000)
            >>> facts = experiment.run_facts()
            >>> facts.backend
            'ibm_manila'
        """
        return facts_of_run(self, self._course())

    def _course(self, left_seconds: float | None = None) -> CostCourse:
        mode, idle = self._charged_by, self._idle_seconds
        return cost_course(self._journal, mode, self.usage_seconds(), idle, left_seconds)

    @property
    def _charged_by(self) -> ExecutionMode:
        """What is charged; a borrowed session is to who opened it, the experiment for its jobs."""
        ours = self.session_id is None or not self._sessions.is_borrowed(self.session_id)
        return self.mode if ours else "job"

    @property
    def _idle_seconds(self) -> float:
        """How long a session stays active after its last job; makes no connection for it."""
        if self._charged_by != "session":
            return 0.0
        caps = self._connection.plan_caps() if self._connection.is_open else PlanCaps()
        return caps.interactive_time or INTERACTIVE_SECONDS

    acosts = aio.async_twin(costs)
    arun_facts = aio.async_twin(run_facts)
    ausage_seconds = aio.async_twin(usage_seconds)
    ausage = aio.async_twin(usage)

    def report(self, outcome: Any = None) -> dict[str, Any] | None:
        """Return the report of a finished experiment, or ``None`` if it is not finished.

        Args:
            outcome: The result of an optimiser or an algorithm. If given, the experiment is first
                finished with it; the report then also says which run it comes from. See
                :func:`session_block.experiments.report.plain`.

        Raises:
            InvalidInputError: The outcome has no JSON value.

        Examples:
            >>> from scipy.optimize import minimize
            >>> found = minimize(lambda x: (x[0] - 1) ** 2, [0.0])
            >>> report = experiment.report(found)
            >>> round(report["fun"], 6), report["run"]["experiment"]
            (0.0, 'example')
        """
        if outcome is not None and not self.sealed:
            found = plain(outcome)
            self.seal({**found, "run": self.run_facts().model_dump(mode="json")})
        return super().report()

    def seal(self, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Finish the experiment: from now on it answers only from its records.

        Returns:
            The recorded report. If the experiment was sealed before, that is the first one.

        Examples:
            >>> report = experiment.seal({"energy": -1.857})
            >>> experiment.seal({"energy": 0.0})  # the first report stays
            {'energy': -1.857}
        """
        return self._completion.seal(report or {})

    def finish(self) -> bool:
        """Close the session that this experiment opened, and seal the experiment.

        While a submission is held for an operator, the experiment is not sealed, so that the next
        run after the decision can continue it.

        Returns:
            Whether a session was closed; a borrowed one never is.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.finish()  # nothing more is submitted
            True
        """
        closed = self._completion.finish()
        self._release_unless_in_use()
        return closed

    areport = aio.async_twin(report)
    aseal = aio.async_twin(seal)
    afinish = aio.async_twin(finish)

    def __enter__(self) -> Self:
        self._completion.enter()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._made_of.inherited:  # the parent, which opened it, may still be at work
            self.release()
            return
        last = self._completion.exit()
        try:
            if error is None and last:
                self._completion.leave()
            elif isinstance(error, Exception) and last:
                self._completion.failed()
            elif prefect_context.is_cancelled(error):
                self._completion.cancelled()
            elif last:
                self._completion.interrupted()
        finally:
            self._release_unless_in_use()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await aio.in_thread(self.__exit__, error_type, error, traceback)

    def note_attempt(self, most: int | None) -> None:
        """Record that an attempt begins; its flow run's end ends it, if nothing else does.

        Args:
            most: Maximum number of attempts in a row without a new result; ``None`` for no limit.

        Raises:
            CrashLoopError: ``most`` attempts in a row have begun without a new result.

        Examples:
            What opening an experiment in a flow run does; three attempts may begin in vain:

            >>> experiment.note_attempt(3)
        """
        if self._made_of.inherited:
            return
        self._completion.begin(most)
        RUN_ENDS.watch(self._completion)

    def take_over(self) -> None:
        """Let the flow run around this code end what another one has handed over to it.

        Examples:
            What a task does with a session reference's experiment; outside a flow run, nothing:

            >>> experiment.take_over()
        """
        if not self._made_of.inherited and self._completion.take_over():
            RUN_ENDS.watch(self._completion)

    def watch(self) -> None:
        """Show the experiment in the Prefect UI while this process works on it.

        Called again after :meth:`release`, as by the next flow run that opens a shared experiment,
        it shows it there.

        Examples:
            Opening an experiment in a flow run calls it; a script can, too:

            >>> from prefect import flow
            >>> @flow
            ... def measure(block: str) -> int:
            ...     experiment = QuantumSession.load(block).experiment("watched")
            ...     experiment.watch()
            ...     with experiment:
            ...         return experiment.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            >>> measure("my-session")
            1000
        """
        if self._is_watched:
            return
        from session_block.reporting.prefect_reporter import PrefectReporter
        from session_block.reporting.watched import Watched

        view = ExperimentView(self.identity, self._ledger)
        watched = Watched(view, self._progress, self._sessions, self._parts.budget)
        if self._reporter is not None:
            self.events.unsubscribe(self._reporter.observe)
        self._reporter, self._is_watched = PrefectReporter(watched), True
        self.events.subscribe(self._reporter.observe)

    def progress(
        self,
        value: float | None = None,
        error: float = 0.0,
        *,
        at: Iterable[float] | None = None,
        of: int | None = None,
        exact: float | None = None,
        maximised: bool | None = None,
    ) -> None:
        """Show progress in the Prefect UI's report and table; nothing is recorded.

        Args:
            value: The next value of the objective, for the convergence figure. If no values are
                given, the figure shows the Estimator's expectation values.
            error: Its standard error.
            at: The parameters at which it was taken.
            of: The expected number of results, if it is known.
            exact: The exact value that is looked for, if it is known.
            maximised: Whether the highest value is best; at first the lowest is.

        Examples:
            In an optimiser's callback:

            >>> experiment.progress(exact=-1.857275)
            >>> experiment.progress(-1.8, 0.02, at=[0.1, 0.2], of=100)
        """
        if value is not None:
            where = None if at is None else tuple(float(one) for one in at)
            self._progress.add(Point(value, error, where))
        if of is not None:
            self._progress.total = of
        if exact is not None:
            self._progress.exact = exact
        if maximised is not None:
            self._progress.maximised = maximised

    def _reported_values(self) -> list[tuple[float, float]]:
        return [(point.value, point.error) for point in self._progress.points]

    def release(self) -> None:
        """Stop watching and close the network connections; nothing changes on the platform.

        Later requests connect again. Called at the end of the ``with`` block, and after the run
        that opened the experiment has ended.

        Examples:
            >>> experiment.release()  # as before a long wait for something else
            >>> experiment.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            1000
        """
        if self._reporter is not None and self._is_watched:
            self._is_watched = False
            self._reporter.close()
        self._connection.close()

    def _release_unless_in_use(self) -> None:
        """Release, unless another flow run of this process shares the experiment and has it open.

        After Ctrl-C a flow run may seem to, since nothing has ended its opening.
        """
        if not self._completion.is_shared_now:
            self.release()

    arelease = aio.async_twin(release)

    def _begin(self, request: Request) -> DurableJob | PartedJob:
        """Submit a request exactly once, and return its job without waiting for it."""
        jobs = [self._begin_one(part) for part in request.parts]
        return PartedJob(jobs) if len(jobs) > 1 else jobs[0]

    def _begin_one(self, request: Request) -> DurableJob:
        while True:
            with suppress(OccurrenceTakenError), self._parts.guard.admit(request) as admission:
                return self._job(request, admission)

    def _run(self, request: Request) -> Any:
        if len(request.parts) > 1:
            return self._begin(request).result()
        while True:
            with suppress(OccurrenceTakenError), self._parts.guard.admit(request) as admission:
                return self._answer(request, admission)

    def _answer(self, request: Request, admission: Admission) -> Any:
        recorded = self._parts.results.recorded(admission.submission, request.registers)
        if recorded is not None:
            return recorded
        return prefect_context.visibly(
            f"{request.kind} {request.label or admission.submission[:8]}",
            partial(self._wait, request, admission),
        )

    def _wait(self, request: Request, admission: Admission) -> Any:
        return self._job(request, admission).wait()

    def _job(self, request: Request, admission: Admission) -> DurableJob:
        recorded = self._parts.results.recorded_job(admission.submission, request.registers)
        made = recorded or self._parts.submitter.submit(
            request, admission.submission, admission.asked
        )
        return DurableJob(request, admission, made, self._made_of, self.identity)

    def _estimate(self, request: Request) -> Estimate:
        recorded = all(self._parts.guard.has_result(part) for part in request.parts)
        one = self._estimated([self._forecast(part) for part in request.parts])
        return one.times(0) if recorded else one

    def _estimated(self, forecasts: Sequence[Forecast]) -> Estimate:
        idle = self._idle_seconds
        return estimate(
            forecasts,
            self._charged_by,
            self._connection.allocation(),
            self._parts.budget.left(),
            gaps_of(self._journal, idle),
            idle,
        )

    def _spending(self, request: PrimitiveRequest) -> Spending:
        forecasts = [self._forecast(part) for part in request.parts]
        one = self._estimated(forecasts)
        longest = max(forecasts, key=lambda forecast: forecast.high)
        return Spending(
            jobs=one.jobs,
            whole=Charge(one.expected_seconds, one.low_seconds, one.high_seconds),
            longest_job=Charge(longest.seconds, longest.low, longest.high),
            jobs_left=one.budget_jobs_left,
            budget_left_seconds=one.budget_seconds_left,
            allocation_left_seconds=one.allocation_left_seconds,
            limit_seconds=max_execution_time(request.options),
        )

    def _forecast(self, request: Request) -> Forecast:
        self._parts.meter.learn()
        forecaster, backend = self._parts.submitter.forecaster, self._sessions.backend
        forecast = forecaster.forecast(request, self._sessions.prepared(request), backend)
        if forecast is None:
            raise InvalidInputError(
                f"What a job of program {request.kind!r} costs is not known, so there is no "
                "estimate. Nothing was submitted.",
                experiment=self.uid,
            )
        return forecast

    def _check_block(self) -> None:
        """Check that the Block opens the sessions that the experiment began with."""
        began, plan, source = self._began, self._settings.plan, self._settings.source
        self._check("on", began.backend, plan.backend_name, "the least busy backend")
        if began.mode is None or source.account is None:  # begun by an older version, or unknown
            return
        self._check("in mode", began.mode, plan.mode)
        self._check("with account", began.account, source.account)
        self._check("in instance", began.instance, source.instance, "no certain one")

    def _check(self, what: str, began: str | None, now: str | None, empty: str = "none") -> None:
        if now == began:
            return
        chosen = self._journal.get(BackendChosen)
        # What was left open then, or named in another way, may be named now as it was chosen.
        if chosen is not None and now in {chosen.name, chosen.instance} - {None}:
            return
        raise InvalidInputError(
            f"Experiment {self.identity} began {what} {began or empty}, but the Block says "
            f"{now or empty}. Change the Block back, or start a new experiment "
            f"{self.identity.anew}.",
            experiment=self.uid,
        )
