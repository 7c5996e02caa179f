"""The parts that carry out an experiment's requests, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from session_block.costs.budget import Budget
from session_block.costs.usage import UsageMeter
from session_block.events import EventBus
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.versions import Versions
from session_block.sessions.manager import SessionManager
from session_block.settings import Policies
from session_block.submissions.job_cache import JobCache
from session_block.submissions.rate_limit import RateLimiter
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.results import ResultFetcher
from session_block.submissions.settle import Settler
from session_block.submissions.submit import Submitter


@dataclass(frozen=True)
class Machinery:
    """What submits an experiment's requests, waits for its jobs, and reconciles its records.

    Attributes:
        meter: Reads what the experiment has used.
        budget: Keeps it within its limits.
    """

    meter: UsageMeter
    budget: Budget
    reconciler: Reconciler
    jobs: JobCache
    submitter: Submitter
    waiter: ResultFetcher

    @classmethod
    def of(
        cls,
        identity: Identity,
        journal: Journal,
        keeper: Callable[[], SessionManager],
        policies: Policies,
        sealed: Callable[[], bool],
        block: str | None,
        notices: EventBus,
        versions: Versions,
    ) -> Self:
        """Put the parts together for one experiment; nothing connects yet."""
        meter = UsageMeter(journal, lambda: keeper().connection, lambda: keeper().mode() == "job")
        budget = Budget(
            journal,
            policies.limits,
            lambda other: meter if other == identity.uid else meter.of_other(other),
            block=(block, policies.block_limits),
            notices=notices,
        )
        settler = Settler(
            journal, keeper, policies.unsettled, without_job=budget.void, notices=notices
        )
        reconciler = Reconciler(
            journal, keeper, settler, existed=identity.resumed, lost=identity.lost
        )
        jobs = JobCache(identity.uid, keeper, settler)
        submitter = Submitter(
            journal,
            identity,
            versions,
            keeper,
            jobs=jobs,
            settler=settler,
            reconciler=reconciler,
            pacer=RateLimiter(policies.submissions_per_minute),
            budget=budget,
            sealed=sealed,
            notices=notices,
        )
        waiter = ResultFetcher(
            journal,
            keeper,
            jobs=jobs,
            read=submitter.read,
            settler=settler,
            reconciler=reconciler,
            notices=notices,
        )
        return cls(meter, budget, reconciler, jobs, submitter, waiter)
