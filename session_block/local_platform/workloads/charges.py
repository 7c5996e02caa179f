"""What the ended jobs of an instance are charged: usage, metrics and the cost limit count this.

With ``ibm`` a job is charged what the real service charges. Real: a job that its user cancels, or
that runs into its maximum execution time, costs 2 s if it had started; so does one that fails
through the user's fault, except by code 1217 or 1336, which cost nothing. Docs: a failure of the
system costs nothing. Guess: codes from 9000 on, and failures without a code, are the system's.

With ``simulated`` a job is charged the time that it occupied the platform's QPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from session_block.local_platform.config.state import Charges

ENDED_EARLY_SECONDS = 2.0
FREE_CODES = frozenset((1217, 1336))
_SYSTEM_CODES = 9000
# IBM estimates 1.5 to 15 times the charge (real).
_ESTIMATE_FACTOR = 3.0


class Charging:
    """What jobs are charged, by a platform's setting."""

    def __init__(self, charges: Charges) -> None:
        self._as_ibm = charges == "ibm"

    def seconds(
        self,
        row: sqlite3.Row,
        now: float,
        state: str,
        code: int | None = None,
        charged: float | None = None,
    ) -> float:
        """Return the charge of a job that ends now.

        Args:
            row: The job as it was before it ended.
            now: The moment.
            state: How it ends.
            code: The code of the reason.
            charged: The charge, if its run has computed it.
        """
        if row["state"] != "running":
            return 0.0
        if not self._as_ibm:
            return max(0.0, now - float(row["running_at"]))
        if charged is not None or row["backend"].startswith("mock_"):
            return charged or 0.0
        if state == "failed" and (code is None or code in FREE_CODES or code >= _SYSTEM_CODES):
            return 0.0
        return 0.0 if state == "completed" else ENDED_EARLY_SECONDS

    def estimate(self, charged: float) -> float:
        """Return the platform's estimate of a job's usage, which at IBM is far too high (real)."""
        return charged * _ESTIMATE_FACTOR if self._as_ibm else charged
