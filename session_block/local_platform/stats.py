"""Counts of what the server has seen: requests by route, jobs and sessions by state."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_block.local_platform.workloads.store import Store


class Stats:
    """Counts requests in memory and writes the counts to the store now and then.

    A ``kill -9`` loses the request counts of the last second. Jobs and sessions are counted from
    their own tables, so their counts lose nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()

    def count(self, route: str) -> None:
        """Count one request to a route, given as method and path template."""
        with self._lock:
            self._pending[route] += 1

    def flush(self) -> None:
        """Write the counts since the last flush to the store."""
        with self._lock:
            counted, self._pending = self._pending, Counter()
        if not counted:
            return
        with self._store.transaction() as db:
            db.executemany(
                "INSERT INTO requests (route, count) VALUES (?, ?) "
                "ON CONFLICT (route) DO UPDATE SET count = count + excluded.count",
                list(counted.items()),
            )

    def report(self) -> dict[str, Any]:
        """Return all counts, deleted jobs included."""
        self.flush()
        with self._store.reading() as db:

            def counts(query: str) -> dict[str, int]:
                return {str(row[0]): int(row[1]) for row in db.execute(query).fetchall()}

            jobs = counts("SELECT state, COUNT(*) FROM jobs GROUP BY state")
            sessions = counts("SELECT state, COUNT(*) FROM sessions GROUP BY state")
            return {
                "requests": counts("SELECT route, count FROM requests ORDER BY route"),
                "jobs": {
                    "total": sum(jobs.values()),
                    "by_state": jobs,
                    "by_session": counts(
                        "SELECT session_id, COUNT(*) FROM jobs "
                        "WHERE session_id IS NOT NULL GROUP BY session_id"
                    ),
                    "by_tag": counts(
                        "SELECT tag.value, COUNT(*) FROM jobs, json_each(jobs.tags) AS tag "
                        "GROUP BY tag.value"
                    ),
                },
                "sessions": {"total": sum(sessions.values()), "by_state": sessions},
            }
