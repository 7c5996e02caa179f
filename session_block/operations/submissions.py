"""What a person decides where the product does not: look, adopt, release, retry.

An operator's action is a fact like any other, created once. It never talks to the platform: the
experiment does what follows from it when it is run again.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.records import submissions as records
from session_block.records.identity import Identity, known_experiments
from session_block.records.submissions import Generation, Submission


@dataclass(frozen=True)
class SubmissionState:
    """One submission as the ledger tells it.

    Attributes:
        state: ``result``, ``job``, ``rejected``, ``abandoned``, ``held`` or ``unsettled``; with
            ``ended`` in the place of ``job`` for one that is known to have given no result.
        job_id: The latest generation's job.
        held_because: Why it waits for an operator, or ``None``.
        facts: Its facts, oldest first: time, key and body.
    """

    experiment: Identity
    submission: str
    state: str
    generations: int
    job_id: str | None
    label: str | None
    tag: str | None
    held_because: str | None
    facts: tuple[tuple[datetime, str, Mapping[str, Any]], ...] = ()

    def described(self) -> dict[str, Any]:
        """Return it as JSON values, without its facts."""
        return {
            "experiment": self.experiment.name,
            "number": self.experiment.number,
            "uid": self.experiment.uid,
            "submission": self.submission,
            "state": self.state,
            "generations": self.generations,
            "job_id": self.job_id,
            "label": self.label,
            "tag": self.tag,
            "held_because": self.held_because,
        }


class Operator:
    """Acts on the submissions of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submissions(self, experiment: str | None = None) -> list[SubmissionState]:
        """Return the submissions of an experiment, given by name or UID, or of all."""
        found = []
        for identity in self._experiments(experiment):
            intents = self._ledger.facts(identity.uid, "intent/")
            known = dict.fromkeys(fact.key.split("/")[1] for fact in intents)
            found += [self._state(identity, submission) for submission in known]
        return found

    def show(self, experiment: str, submission: str) -> SubmissionState:
        """Return one submission; its ID may be cut short, as long as it is told apart."""
        identity, known, _ = self._find(experiment, submission)
        return self._state(identity, known.id)

    def adopt(self, experiment: str, submission: str, job_id: str) -> None:
        """Say which job is the one of a submission that could not be settled.

        Raises:
            InvalidInputError: It is settled, or there is none.
        """
        identity, known, latest = self._find(experiment, submission)
        self._require_unsettled(known, latest)
        self._decide(identity, known, latest, {"kind": "job", "job_id": job_id, "adopted": True})
        self._note(identity, known, latest, f"adopt {job_id}")

    def release(self, experiment: str, submission: str) -> None:
        """Say that a submission that could not be settled has no job, so that it is sent again.

        Raises:
            InvalidInputError: It is settled, or there is none.
        """
        identity, known, latest = self._find(experiment, submission)
        self._require_unsettled(known, latest)
        self._decide(identity, known, latest, {"kind": "abandoned"})
        self._note(identity, known, latest, "release")

    def retry(self, experiment: str, submission: str) -> None:
        """Give up a submission's job, or its refusal, so that it is sent again.

        Raises:
            InvalidInputError: It has a result, could not be settled, or there is none.
        """
        identity, known, latest = self._find(experiment, submission)
        if known.has_result:
            raise InvalidInputError(f"Submission {known.id} has a result; there is nothing to do.")
        if latest.outcome is None:
            raise InvalidInputError(
                f"Submission {known.id} is not settled: adopt its job, or release it."
            )
        key = records.ended_key(known.id, latest.number)
        self._ledger.create(identity.uid, key, {"because": records.WRITTEN_OFF})
        self._note(identity, known, latest, "retry")

    def _experiments(self, wanted: str | None) -> list[Identity]:
        known = known_experiments(self._ledger)
        found = [one for one in known if wanted in (None, one.name, one.uid)]
        if wanted is not None and not found:
            raise InvalidInputError(f"The ledger {self._ledger} has no experiment {wanted!r}.")
        return found

    def _find(self, experiment: str, submission: str) -> tuple[Identity, Submission, Generation]:
        matches = [
            state
            for state in self.submissions(experiment)
            if submission and state.submission.startswith(submission)
        ]
        if len(matches) != 1:
            what = "no submission" if not matches else f"{len(matches)} submissions"
            raise InvalidInputError(
                f"Experiment {experiment!r} has {what} whose ID begins with {submission!r}."
            )
        identity, found = matches[0].experiment, matches[0].submission
        recorded = self._read(identity, found)
        return identity, recorded, recorded.generations[-1]

    def _read(self, identity: Identity, submission: str) -> Submission:
        facts = self._ledger.facts(identity.uid, *records.prefixes(submission))
        return records.fold(submission, ((fact.key, fact.body) for fact in facts))

    def _state(self, identity: Identity, submission: str) -> SubmissionState:
        prefixes = (*records.prefixes(submission), f"twin/{submission}/", f"operator/{submission}/")
        facts = self._ledger.facts(identity.uid, *prefixes)
        recorded = records.fold(submission, ((fact.key, fact.body) for fact in facts))
        latest = recorded.generations[-1]
        held = {fact.key: fact.body for fact in facts if fact.key.startswith("hold/")}
        because = held.get(records.hold_key(submission, latest.number), {}).get("because")
        return SubmissionState(
            experiment=identity,
            submission=submission,
            state=_state_of(recorded, latest),
            generations=latest.number,
            job_id=latest.job_id,
            label=latest.intent.get("label"),
            tag=latest.intent.get("tag"),
            held_because=None if recorded.has_result else because,
            facts=tuple((fact.created_at, fact.key, fact.body) for fact in facts),
        )

    @staticmethod
    def _require_unsettled(known: Submission, latest: Generation) -> None:
        if latest.outcome is not None or known.has_result:
            raise InvalidInputError(
                f"Submission {known.id} is settled ({_state_of(known, latest)}, job "
                f"{latest.job_id}); to run it again, retry it."
            )

    def _decide(
        self, identity: Identity, known: Submission, latest: Generation, outcome: dict[str, Any]
    ) -> None:
        key = records.outcome_key(known.id, latest.number)
        fact, ours = self._ledger.create(identity.uid, key, {**outcome, "by": "operator"})
        if not ours:
            raise InvalidInputError(f"Submission {known.id} was settled meanwhile: {fact.body}.")

    def _note(self, identity: Identity, known: Submission, latest: Generation, deed: str) -> None:
        key = f"operator/{known.id}/{latest.number}/{deed.partition(' ')[0]}"
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        self._ledger.create(identity.uid, key, {"deed": deed, "by": who})


def _state_of(recorded: Submission, latest: Generation) -> str:
    if recorded.has_result:
        return "result"
    if latest.outcome is None:
        return "held" if latest.held else "unsettled"
    return "ended" if latest.ended else str(latest.outcome["kind"])
