"""Accounts and instances as the platform keeps them, and the plans of instances."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PlanName = Literal["open", "paygo", "flex", "premium", "internal"]


@dataclass(frozen=True)
class Plan:
    """A plan's name and pricing in IBM's catalogue (client source), and whether it has sessions.

    ``max_ttl`` is the longest that a session or batch may last, in seconds (docs).
    """

    display_name: str
    pricing: str
    allows_sessions: bool = True
    max_ttl: int = 28_800


PLANS: dict[PlanName, Plan] = {
    "open": Plan("Open", "free", allows_sessions=False, max_ttl=600),
    "paygo": Plan("Pay-As-You-Go", "paygo"),
    "flex": Plan("Flex", "subscription"),
    "premium": Plan("Premium", "subscription"),
    "internal": Plan("internal", "paid"),
}


@dataclass(frozen=True)
class Instance:
    """An instance with its cloud resource name (CRN)."""

    crn: str
    name: str
    plan: PlanName
    region: str
    backends: tuple[str, ...]
    usage_limit_seconds: int | None = None

    @property
    def plan_id(self) -> str:
        """The plan's ID in IBM's catalogue; the text is this platform's own."""
        return f"plan-{self.plan}"

    @property
    def allows_sessions(self) -> bool:
        """Whether the plan has dedicated sessions."""
        return PLANS[self.plan].allows_sessions

    @property
    def max_ttl(self) -> int:
        """The longest that a session or batch of the plan may last, in seconds."""
        return PLANS[self.plan].max_ttl

    @property
    def account_id(self) -> str:
        """The account in the CRN, without its ``a/``."""
        return self.crn.split(":")[6].removeprefix("a/")


@dataclass(frozen=True)
class Account:
    """A user of an account: the ID shown on the user's jobs, the API key, and the instances."""

    id: str
    token: str = field(repr=False)
    instances: tuple[Instance, ...]
