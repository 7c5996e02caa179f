"""The fault rules of a platform: kept in the store, matched with calls, and counted."""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from session_block.local_platform.errors import ApiError, not_found, too_many_requests
from session_block.local_platform.faults.rules import (
    Delay,
    Drop,
    EndSession,
    ExpireTokens,
    Maintenance,
    RateLimit,
    Signal,
    Status,
    Truncate,
    parse_rules,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.faults.rules import Rule
    from session_block.local_platform.workloads.store import Store

_MINUTE = 60.0
# The rules that end a call. At most one of them acts on a call.
ENDINGS = (Status, Drop, Truncate, RateLimit)


@dataclass
class _Kept:
    """A rule, with the number of calls it matched (``seen``) and hit (``used``).

    ``allowed`` holds, for a rate limit, the times of the calls it let pass, by account.
    """

    id: str
    rule: Rule
    seen: int = 0
    used: int = 0
    allowed: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def will_act(self) -> bool:
        """Whether the rule hits the next matching call."""
        rule = self.rule
        return self.seen + 1 >= rule.nth and (rule.times is None or self.used < rule.times)

    def described(self) -> dict[str, Any]:
        return {
            "id": self.id,
            **self.rule.model_dump(mode="json"),
            "seen": self.seen,
            "used": self.used,
        }


class Faults:
    """All fault rules. They and their counts outlive the server, however it ends.

    A rate limit counts by the platform's clock, and counts afresh when the server starts again.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        with store.reading() as db:
            rows = db.execute("SELECT id, rule, seen, used FROM faults ORDER BY seq").fetchall()
        self._rules = {
            row["id"]: _Kept(
                row["id"], parse_rules(json.loads(row["rule"]))[0], row["seen"], row["used"]
            )
            for row in rows
        }

    def concern(self, method: str, path: str) -> bool:
        """Return whether there is any rule for an operation, without waiting for the lock."""
        return any(kept.rule.is_for(method, path) for kept in self._rules.values())

    def in_maintenance(self, backend: str) -> bool:
        """Return whether a rule pauses a backend."""
        return any(
            isinstance(kept.rule, Maintenance) and kept.rule.backend == backend
            for kept in self._rules.values()
        )

    def report(self) -> list[dict[str, Any]]:
        """Return all rules in order, with the number of calls each matched and hit."""
        with self._lock:
            return [kept.described() for kept in self._rules.values()]

    def add(self, rules: Mapping[str, Rule]) -> list[dict[str, Any]]:
        """Add rules by their IDs and return them all; rules with a known ID stay as they are."""
        with self._lock:
            new = {key: _Kept(key, rule) for key, rule in rules.items()}
            new = {key: kept for key, kept in new.items() if key not in self._rules}
            with self._store.transaction() as db:
                db.executemany(
                    "INSERT INTO faults (id, rule) VALUES (?, ?)",
                    [(key, kept.rule.model_dump_json()) for key, kept in new.items()],
                )
            self._rules = {**self._rules, **new}
            return [self._rules[key].described() for key in rules]

    def remove(self, fault_id: str) -> None:
        """Remove a rule.

        Raises:
            ApiError: 404 if no rule has that ID.
        """
        with self._lock:
            if fault_id not in self._rules:
                raise not_found("Fault", fault_id)
            with self._store.transaction() as db:
                db.execute("DELETE FROM faults WHERE id=?", (fault_id,))
            self._rules = {key: kept for key, kept in self._rules.items() if key != fault_id}

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            with self._store.transaction() as db:
                db.execute("DELETE FROM faults")
            self._rules = {}

    def expire_tokens(self, method: str, path: str, body: bytes) -> bool:
        """Return whether all access tokens expire at a call, and count the call.

        Callers ask before they check the call's own token.
        """
        with self._lock:
            matching = [
                kept
                for kept in self._rules.values()
                if isinstance(kept.rule, ExpireTokens) and kept.rule.matches(method, path, body)
            ]
            acting = [kept for kept in matching if kept.will_act]
            self._count(matching, acting)
            return bool(acting)

    def hit(self, method: str, path: str, body: bytes, caller: str) -> list[Rule | ApiError]:
        """Return the rules that hit a call, in order, and count the call.

        ``caller`` is the call's account.

        At most one rule ends the call, the first that can; it is the last in the list. A rate
        limit is given as its refusal. If the call ends before its effect, rules that would act
        later do not act.
        """
        with self._lock:
            matching = [
                kept
                for kept in self._rules.values()
                if not isinstance(kept.rule, ExpireTokens) and kept.rule.matches(method, path, body)
            ]
            ending, refusal = self._ending(matching, caller)
            acting = []
            for kept in matching:
                if kept is ending and refusal is not None:
                    break
                in_time = refusal is None or _comes_before(kept.rule)
                if kept.will_act and in_time and not isinstance(kept.rule, ENDINGS):
                    acting.append(kept)
            rules: list[Rule | ApiError] = [kept.rule for kept in acting]
            if ending is not None:
                acting.append(ending)
                rules.append(refusal or ending.rule)
            self._count(matching, acting)
        return rules

    def _ending(
        self, matching: list[_Kept], caller: str
    ) -> tuple[_Kept | None, Rule | ApiError | None]:
        """Return the rule that ends the call, and what prevents the effect if anything does."""
        for kept in matching:
            rule = kept.rule
            if not kept.will_act or not isinstance(rule, ENDINGS):
                continue
            if not isinstance(rule, RateLimit):
                return kept, rule if _comes_before(rule) else None
            wait = self._wait(kept.allowed[caller], rule.per_minute)
            if wait is not None:
                limit = f"no more than {rule.per_minute} a minute"
                return kept, too_many_requests(limit, wait)
        return None, None

    def _wait(self, calls: deque[float], per_minute: int) -> int | None:
        """Record a call within the limit and return None, else return how many seconds to wait."""
        now = self._clock.now()
        while calls and calls[0] <= now - _MINUTE:
            calls.popleft()
        if len(calls) < per_minute:
            calls.append(now)
            return None
        seconds = self._clock.seconds_until(calls[0] + _MINUTE)
        # If the clock stands still, the wait is what it must be advanced by.
        return math.ceil(seconds if math.isfinite(seconds) else calls[0] + _MINUTE - now)

    def _count(self, seen: list[_Kept], used: list[_Kept]) -> None:
        """Store the counts before any rule acts, because a rule may kill the server."""
        if not seen:
            return
        for kept in seen:
            kept.seen += 1
        for kept in used:
            kept.used += 1
        with self._store.transaction() as db:
            db.executemany(
                "UPDATE faults SET seen=?, used=? WHERE id=?",
                [(kept.seen, kept.used, kept.id) for kept in seen],
            )


def _comes_before(rule: Rule) -> bool:
    match rule:
        case Delay() | EndSession():
            return True
        case Status(effect="before") | Drop(effect="before") | Signal(effect="before"):
            return True
    return False
