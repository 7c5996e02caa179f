"""What the plan of an instance allows at most."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

_ACCOUNT = re.compile(r"a/([A-Za-z0-9_-]{1,64})")


PLAN_WITHOUT_SESSIONS = "open"
"""The plan without sessions, as IBM's catalogue names it [real]."""


@dataclass(frozen=True)
class PlanCaps:
    """What a plan allows at most, in seconds; ``None`` for what the platform does not say.

    Attributes:
        max_time: Longest maximum time of a session or batch.
        active_time: Longest time that one is active.
        interactive_time: Longest time between two jobs for which one stays active.
        usage: How much the account may use on this plan.
    """

    max_time: int | None = None
    active_time: int | None = None
    interactive_time: int | None = None
    usage: int | None = None

    def why_not(
        self, max_time_seconds: int | None, min_time_left_seconds: int
    ) -> tuple[str, str] | None:
        """Return why a session cannot be as long as asked, and what to change; else ``None``."""
        longest = self.max_time
        if longest is None:
            return None
        if max_time_seconds is not None and max_time_seconds > longest:
            return (
                f"the plan allows sessions and batches of {longest} s, not {max_time_seconds} s",
                f"Set the Block's max_time to {longest} or less",
            )
        if min_time_left_seconds >= longest:
            why = (
                f"the plan allows sessions and batches of {longest} s, so with min_time_left "
                f"{min_time_left_seconds} s each would get one job at most"
            )
            return why, "Make the Block's min_time_left shorter"
        return None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Read the platform's entry for a plan [spec, real]."""
        return cls(
            max_time=_seconds(entry.get("max_ttl")),
            active_time=_seconds(entry.get("active_ttl")),
            interactive_time=_seconds(entry.get("interactive_ttl")),
            usage=_seconds(entry.get("usage_limit_seconds", entry.get("usage_allocation_seconds"))),
        )


def _seconds(value: object) -> int | None:
    # Zero is how some answers say that nothing is set [guess]; nothing could run under it.
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return int(value) if whole else None  # type: ignore[call-overload]


def account_id(instance: str) -> str | None:
    """Return the account's ID, which stands in the CRN of an instance; ``None`` if it does not."""
    found = [one for part in instance.split(":") if (one := _ACCOUNT.fullmatch(part))]
    return found[0][1] if found else None


def read_caps(api: Any, instance: str, plan_id: Callable[[], str | None]) -> PlanCaps:
    """Ask the platform for the caps of an instance's plan.

    Args:
        api: The client's HTTP layer for the instance.
        instance: The instance's CRN.
        plan_id: Returns the ID of its plan; called only if the account has several.
    """
    account = account_id(instance)
    if account is None:
        return PlanCaps()
    answer = api._session.get(f"/accounts/{account}").json()  # noqa: SLF001
    plans: Sequence[Mapping[str, Any]] = answer["plans"]
    if len(plans) > 1:
        wanted = plan_id()
        plans = [one for one in plans if one["plan_id"] == wanted]
    return PlanCaps.of(plans[0]) if len(plans) == 1 else PlanCaps()
