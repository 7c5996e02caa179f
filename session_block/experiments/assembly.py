"""The parts that carry out an experiment's requests, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from session_block.costs.budget import Budget
from session_block.costs.usage import UsageMeter
from session_block.events import Notices
from session_block.ledger.store import Ledger
from session_block.records.identity import Identity
from session_block.sessions.manager import SessionKeeper
from session_block.settings import Policies
from session_block.submissions.job_cache import JobsAtHand
from session_block.submissions.rate_limit import Pacer
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.settle import Settler
from session_block.submissions.submit import Submitter
from session_block.submissions.wait import Waiter


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
    jobs: JobsAtHand
    submitter: Submitter
    waiter: Waiter

    @classmethod
    def of(
        cls,
        identity: Identity,
        ledger: Ledger,
        keeper: Callable[[], SessionKeeper],
        policies: Policies,
        sealed: Callable[[], bool],
        block: str | None,
        notices: Notices,
    ) -> Self:
        """Put the parts together for one experiment; nothing connects yet."""
        uid = identity.uid
        meter = UsageMeter(
            ledger, uid, lambda: keeper().connection, lambda: keeper().mode() == "job"
        )
        budget = Budget(
            ledger,
            uid,
            policies.limits,
            lambda other: meter if other == uid else meter.of_other(other),
            block=(block, policies.block_limits),
            notices=notices,
        )
        settler = Settler(
            ledger, uid, keeper, policies.unsettled, without_job=budget.void, notices=notices
        )
        reconciler = Reconciler(
            ledger, uid, keeper, settler, existed=identity.resumed, lost=identity.lost
        )
        jobs = JobsAtHand(uid, keeper, settler)
        submitter = Submitter(
            ledger,
            uid,
            identity.tags,
            keeper,
            jobs=jobs,
            settler=settler,
            reconciler=reconciler,
            pacer=Pacer(policies.submissions_per_minute),
            budget=budget,
            sealed=sealed,
            notices=notices,
        )
        waiter = Waiter(
            ledger,
            uid,
            keeper,
            jobs=jobs,
            read=submitter.read,
            settler=settler,
            reconciler=reconciler,
            notices=notices,
        )
        return cls(meter, budget, reconciler, jobs, submitter, waiter)
