"""Put together the parts of an opened experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from session_block.client import Connection
from session_block.costs.budget import Budget
from session_block.costs.usage import UsageMeter
from session_block.environment.environment import Environment
from session_block.environment.forks import ForkLock, renew_after_fork
from session_block.experiments.noise_models import NoiseModels
from session_block.experiments.recorded_inputs import RecordedInputs
from session_block.experiments.replay import ReplayGuard
from session_block.records.context import ExperimentContext
from session_block.sessions.manager import SessionManager
from session_block.settings import Settings
from session_block.submissions.job_cache import JobCache
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.results import ResultFetcher
from session_block.submissions.settle import Settler
from session_block.submissions.submit import Submitter


@dataclass(frozen=True)
class Assembly:
    """The parts that carry out an experiment's requests; each is made once.

    Attributes:
        sessions: Opens, joins, renews and closes the experiment's sessions.
        meter: Reads its usage.
        budget: Keeps it within its limits.
        jobs: The client's jobs that this process works with.
        reconciler: Reconciles the ledger with the platform.
        submitter: Submits exactly once.
        results: Waits for jobs, fetches and stores their results.
        guard: Recognises requests, and stops a run that has diverged.
        inputs: Records draws and transpiled circuits.
        noise_models: Shares noise models with the owner's other experiments.
    """

    sessions: SessionManager
    meter: UsageMeter
    budget: Budget
    jobs: JobCache
    reconciler: Reconciler
    submitter: Submitter
    results: ResultFetcher
    guard: ReplayGuard
    inputs: RecordedInputs
    noise_models: NoiseModels

    @classmethod
    def of(
        cls,
        context: ExperimentContext,
        connection: Connection,
        settings: Settings,
        *,
        opener: bool,
        shared: bool,
    ) -> Self:
        """Put the parts together for one opening of an experiment; nothing connects yet."""
        plan, policies = settings.plan, settings.policies
        sessions = SessionManager(context, connection, plan)
        meter = UsageMeter(context.journal, connection, plan)
        budget = Budget(context, meter, policies.limits, settings.block, policies.block_limits)
        jobs = JobCache(context, connection)
        settler = Settler(context, connection, jobs, budget, policies.unsettled)
        reconciler = Reconciler(context, sessions, settler)
        return cls(
            sessions=sessions,
            meter=meter,
            budget=budget,
            jobs=jobs,
            reconciler=reconciler,
            submitter=Submitter(context, sessions, budget, jobs, settler, reconciler),
            results=ResultFetcher(
                context, sessions, jobs, settler, reconciler, keep_raw=policies.keep_raw
            ),
            guard=ReplayGuard(
                context,
                sessions,
                reconciler,
                opener=opener,
                may_diverge=policies.may_diverge,
                shared=shared,
            ),
            inputs=RecordedInputs(context, sessions),
            noise_models=NoiseModels(context, sessions),
        )


class Parts:
    """The parts of an experiment in this process.

    A forked child makes its own, like a process that joins: without the opener's count of equal
    requests, and without what a thread of the parent was doing.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        settings: The Block's settings.
        opener: Whether this process opens the experiment.
        shared: Whether other flow runs of the tree open it too.

    Attributes:
        inherited: Whether this process is a fork of the one that opened the experiment.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        settings: Settings,
        *,
        opener: bool,
        shared: bool,
    ) -> None:
        self._context = context
        self._connection = connection
        self._settings = settings
        self._shared = shared
        self._lock = ForkLock()
        self._made: Assembly | None = self._make(opener=opener)
        self.inherited = False
        renew_after_fork(self)

    @property
    def here(self) -> Assembly:
        """The parts, put together when a forked child first needs them."""
        made = self._made
        if made is None:
            with self._lock:
                made = self._made = self._made or self._make(opener=False)
        return made

    @property
    def environment(self) -> Environment:
        """The experiment's clock, and the rest of the outside world."""
        return self._context.environment

    def after_fork(self) -> None:
        """Drop the parent's parts."""
        self._made = None
        self.inherited = True

    def _make(self, *, opener: bool) -> Assembly:
        return Assembly.of(
            self._context, self._connection, self._settings, opener=opener, shared=self._shared
        )
