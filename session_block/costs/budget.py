"""Limit jobs and usage; limits are checked after the intent is recorded and before the POST."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from session_block.costs.usage import UsageMeter
from session_block.errors import InvalidInputError
from session_block.events import EventKind
from session_block.records.context import ExperimentContext
from session_block.records.job_quota import JobQuota
from session_block.records.journal import Journal
from session_block.records.keys import BudgetMember, Outcome
from session_block.settings import NO_LIMITS, Limits

WARNING_SHARE = 0.8
"""The share of a limit at which a warning says that the limit is near."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Left:
    """What the limits leave; ``None`` means no limit."""

    jobs: int | None
    usage_seconds: float | None


class Budget:
    """Keeps an experiment within its own limits and those of its Block.

    Jobs are counted by their intents, so that concurrent tasks, processes or machines that share
    the ledger cannot exceed a limit together. The usage limit can be exceeded by the jobs in
    flight. A Block's limits count the experiments that it opened while it had limits and that this
    ledger knows.

    Args:
        context: The experiment.
        meter: Reads its usage.
        limits: The experiment's limits.
        block: The name of its Block; needed if the Block has limits.
        block_limits: The Block's limits.

    Raises:
        InvalidInputError: The Block has limits but no name.
    """

    def __init__(
        self,
        context: ExperimentContext,
        meter: UsageMeter,
        limits: Limits = NO_LIMITS,
        block: str | None = None,
        block_limits: Limits = NO_LIMITS,
    ) -> None:
        if block_limits and block is None:
            raise InvalidInputError(
                "The limits of a QuantumSession Block count what all its experiments spend, so the "
                "Block needs a name. Save it and load it by that name, or set limits on the "
                "experiment."
            )
        self._journal = context.journal
        self._experiment = context.uid
        self._meter = meter
        scope = f"@block/{hashlib.sha256(str(block).encode()).hexdigest()[:16]}"
        of_block = Journal(context.journal.ledger, scope)
        self._accounts = [
            one
            for one in (
                _Account(context, context.journal, f"experiment {context.uid}", limits),
                _Account(context, of_block, f"Block {block!r}", block_limits),
            )
            if one.limits
        ]
        self._block = f"Block {block!r}" if block_limits else None
        self._ready = False

    def why_not(self, submission: str, generation: int) -> str | None:
        """Count one more job whose intent is recorded.

        Returns:
            Why the job must not be sent; ``None`` if it may be.

        Raises:
            ConnectionFailedError: There is a usage limit, and the platform does not report usage.
        """
        self._make_ready()
        holder = self._holder(submission, generation)
        for account in self._accounts:
            why = account.why_not_this(holder) or self._why_used_up(account)
            if why is not None:
                self.void(submission, generation)
                return why
        return None

    def why_no_more(self) -> str | None:
        """Return why no further job would be sent, or ``None``; does not count a job."""
        self._make_ready()
        reasons = (one.why_none_more() or self._why_used_up(one) for one in self._accounts)
        return next((why for why in reasons if why is not None), None)

    def void(self, submission: str, generation: int) -> None:
        """Note that a generation made no job."""
        for account in self._accounts:
            account.quota.void(self._holder(submission, generation))

    def left(self) -> Left:
        """Return what may still be spent under the tightest limits."""
        self._make_ready()
        jobs = [
            max(0, one.limits.jobs - one.quota.used())
            for one in self._accounts
            if one.limits.jobs is not None
        ]
        seconds = [
            max(0.0, one.limits.usage_seconds - self._used(one))
            for one in self._accounts
            if one.limits.usage_seconds is not None
        ]
        return Left(min(jobs, default=None), min(seconds, default=None))

    def _make_ready(self) -> None:
        """Count what was left uncounted, such as jobs made without limits; once per process."""
        if self._ready:
            return
        if self._block is not None and not self._journal.ledger.shared:
            _logger.warning(
                "The limits of %s count only the experiments in %r, which other machines do not "
                "share. Set its ledger_url to a PostgreSQL database to count theirs too.",
                self._block,
                self._journal.ledger,
            )
        outcomes = self._journal.all(Outcome)
        made = [self._holder(one.submission, one.generation) for one in outcomes if one.made_job]
        none = [
            self._holder(one.submission, one.generation) for one in outcomes if not one.made_job
        ]
        for account in self._accounts:
            account.journal.record(BudgetMember(uid=self._experiment))
            account.quota.reconcile(made, none)
        self._ready = True

    def _why_used_up(self, account: _Account) -> str | None:
        limit = account.limits.usage_seconds
        if limit is None:
            return None
        used = self._used(account)
        account.warn_when_near("usage_seconds", used, limit)
        if used < limit:
            return None
        return f"{account.name} has used {used:g} s of the {limit:g} s that it may use"

    def _used(self, account: _Account) -> float:
        members = account.journal.all(BudgetMember)
        return sum(self._meter.of(member.uid).seconds() for member in members)

    def _holder(self, submission: str, generation: int) -> str:
        return f"{self._experiment}/{submission}/{generation}"


class _Account:
    """One set of limits and what counts against it."""

    def __init__(
        self, context: ExperimentContext, journal: Journal, name: str, limits: Limits
    ) -> None:
        self._context = context
        self.journal = journal
        self.name = name
        self.limits = limits
        self.quota = JobQuota(journal)
        self._warned: set[str] = set()

    def why_not_this(self, holder: str) -> str | None:
        rank = self.quota.rank(self.quota.take(holder))
        if self.limits.jobs is None:
            return None
        self.warn_when_near("jobs", rank, self.limits.jobs)
        return self._why_too_many(rank)

    def why_none_more(self) -> str | None:
        return None if self.limits.jobs is None else self._why_too_many(self.quota.used() + 1)

    def warn_when_near(self, what: str, used: float, limit: float) -> None:
        if used >= WARNING_SHARE * limit and what not in self._warned:
            self._warned.add(what)
            message = f"The budget of {self.name} is nearly spent: {what} {used:g} of {limit:g}."
            _logger.warning(message)
            self._context.publish(EventKind.BUDGET_NEAR, self.journal.scope, message)

    def _why_too_many(self, rank: int) -> str | None:
        limit = self.limits.jobs
        if limit is None or rank <= limit:
            return None
        return f"{self.name} has made the {limit} jobs that it may make"
