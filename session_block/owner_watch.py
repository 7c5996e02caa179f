"""Whether somebody still carries out an intent that has no outcome."""

from __future__ import annotations

import os
import time

from session_block import owner
from session_block.submission_records import Submission

SUBMIT_DEADLINE = "SESSION_BLOCK_SUBMIT_DEADLINE_SECONDS"
SUBMIT_DEADLINE_SECONDS = 960.0
"""Longer than the client waits for the answer to a POST (900 s)."""


class OwnerWatch:
    """Gives an owner that cannot be seen time until a deadline, from when its intent was met."""

    def __init__(self) -> None:
        self._first_seen: dict[tuple[str, int], float] = {}

    def may_still_send(self, recorded: Submission) -> bool:
        """Whether somebody may still send the latest generation's request."""
        latest = recorded.latest
        if latest is None or latest.outcome is not None or latest.held:
            return False
        if "owner" not in latest.intent:
            # Restored or adopted: there is nobody who would still send it.
            return False
        first_seen = self._first_seen.setdefault((recorded.id, latest.number), time.monotonic())
        deadline = float(os.environ.get(SUBMIT_DEADLINE, SUBMIT_DEADLINE_SECONDS))
        within_deadline = time.monotonic() - first_seen < deadline
        return within_deadline and owner.may_be_alive(latest.intent["owner"])
