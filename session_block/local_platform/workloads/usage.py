"""What an instance has used, its limit, and when the limit is reached.

The limit is the instance's cost limit. The layout gives it; an admin can set another one. Reaching
it ends the sessions and batches of the instance at once (docs). That a job outside of them still
runs is this platform's choice (guess).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

# Times are sums of rounded ones, so a limit can be missed by less than this.
_ROUNDING_SECONDS = 1e-3


class Usage:
    """The usage and the limits of all instances, which are given by CRN.

    All methods work inside the caller's transaction.

    Args:
        limits: The instances' limits in seconds, as the layout gives them; None is no limit.
    """

    def __init__(self, limits: Mapping[str, int | None]) -> None:
        self._limits = limits

    def consumed(self, db: sqlite3.Connection, instance: str, now: float) -> float:
        """Return an instance's usage in seconds.

        It is the time that its dedicated sessions were active, plus that of its other jobs.
        """
        (of_jobs,) = db.execute(
            "SELECT COALESCE(SUM(usage_seconds), 0) FROM jobs LEFT JOIN sessions "
            "ON sessions.id=jobs.session_id "
            "WHERE jobs.instance=? AND COALESCE(sessions.mode, 'batch')='batch'",
            (instance,),
        ).fetchone()
        (of_sessions,) = db.execute(
            "SELECT COALESCE(SUM(active_seconds + COALESCE(? - active_since, 0)), 0) "
            "FROM sessions WHERE instance=? AND mode='dedicated'",
            (now, instance),
        ).fetchone()
        return float(of_jobs) + float(of_sessions)

    def limit(self, db: sqlite3.Connection, instance: str) -> int | None:
        """Return an instance's limit in seconds, or None if it has none."""
        row = db.execute(
            "SELECT seconds FROM usage_limits WHERE instance=?", (instance,)
        ).fetchone()
        return self._limits.get(instance) if row is None else row["seconds"]

    def set_limit(self, db: sqlite3.Connection, instance: str, seconds: int | None) -> None:
        """Give an instance another limit for good; None takes it away."""
        db.execute(
            "INSERT OR REPLACE INTO usage_limits (instance, seconds) VALUES (?, ?)",
            (instance, seconds),
        )

    def exhaust(self, db: sqlite3.Connection, instance: str, now: float) -> None:
        """Lower an instance's limit to what it has used, unless it has reached its limit."""
        if not self.reached(db, instance, now):
            self.set_limit(db, instance, math.floor(self.consumed(db, instance, now)))

    def reached(self, db: sqlite3.Connection, instance: str, now: float) -> bool:
        """Return whether an instance has used up its limit."""
        limit = self.limit(db, instance)
        return limit is not None and self._left(db, instance, now, limit) <= _ROUNDING_SECONDS

    def first_reached(self, db: sqlite3.Connection, now: float) -> tuple[float, str] | None:
        """Return when an instance's limit ends sessions next if no more jobs end, and its CRN.

        That is now for an instance that has reached its limit and has a session that has not
        ended.
        """
        rows = db.execute(
            "SELECT DISTINCT instance FROM sessions "
            "WHERE state IN ('open', 'active', 'pending_inactive', 'inactive')"
        )
        moments = [(self._reached_at(db, instance, now), instance) for (instance,) in rows]
        return min(((at, instance) for at, instance in moments if at is not None), default=None)

    def _reached_at(self, db: sqlite3.Connection, instance: str, now: float) -> float | None:
        limit = self.limit(db, instance)
        if limit is None:
            return None
        left = self._left(db, instance, now, limit)
        if left <= _ROUNDING_SECONDS:
            return now
        (active,) = db.execute(
            "SELECT COUNT(active_since) FROM sessions WHERE instance=? AND mode='dedicated'",
            (instance,),
        ).fetchone()
        return now + left / active if active else None

    def _left(self, db: sqlite3.Connection, instance: str, now: float, limit: int) -> float:
        return limit - self.consumed(db, instance, now)
