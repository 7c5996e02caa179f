"""What the ledger alone tells of an experiment; reading it needs no platform."""

from __future__ import annotations

from typing import Any

from session_block.identity import Identity
from session_block.ledger import Ledger
from session_block.session_records import SessionRecord, read_sessions

SEALED_KEY = "sealed"
BACKEND_KEY = "backend"


class ExperimentRecords:
    """A read-only view of one experiment.

    Attributes:
        identity: Name, number and UID.
    """

    def __init__(self, identity: Identity, ledger: Ledger) -> None:
        self.identity = identity
        self._ledger = ledger

    @property
    def uid(self) -> str:
        """The experiment's unique ID."""
        return self.identity.uid

    @property
    def resumed(self) -> bool:
        """Whether the experiment existed before it was opened here."""
        return self.identity.resumed

    @property
    def sealed(self) -> bool:
        """Whether the experiment is finished: it answers from its records and submits nothing."""
        return self._ledger.get(self.uid, SEALED_KEY) is not None

    def report(self) -> dict[str, Any] | None:
        """The report with which the experiment was sealed, or ``None`` while it is not."""
        fact = self._ledger.get(self.uid, SEALED_KEY)
        return None if fact is None else dict(fact.body)

    @property
    def sessions(self) -> list[SessionRecord]:
        """The experiment's sessions, oldest first."""
        return read_sessions(self._ledger, self.uid)

    @property
    def session_id(self) -> str | None:
        """The ID of the experiment's latest session."""
        ids = [record.session_id for record in self.sessions]
        return next((session_id for session_id in reversed(ids) if session_id), None)

    @property
    def backend_name(self) -> str | None:
        """The backend of all its jobs, or ``None`` while it has none."""
        fact = self._ledger.get(self.uid, BACKEND_KEY)
        return None if fact is None else str(fact.body["name"])

    @property
    def job_ids(self) -> list[str]:
        """The jobs whose results are recorded, in the order in which they were asked for."""
        by_submission = {
            fact.key.partition("/")[2]: str(fact.body["job_id"])
            for fact in self._ledger.facts(self.uid, "result/")
        }
        first_intents = (
            fact.key.split("/")[1]
            for fact in self._ledger.facts(self.uid, "intent/")
            if fact.key.endswith("/1")
        )
        return [by_submission[one] for one in first_intents if one in by_submission]

    @property
    def recorded_results(self) -> int:
        """How many results the ledger holds."""
        return self._ledger.count(self.uid, "result/")
