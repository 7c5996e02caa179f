"""What an operator decides about submissions: adopt, release or retry them.

A decision is a fact like any other, created once. Nothing here talks to the platform: the
experiment carries the decision out when it runs again.
"""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass, replace
from typing import Any

from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.records import submissions as records
from session_block.records.chapters import is_sealed
from session_block.records.identity import Identity, experiments_called, known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import (
    Intent,
    JobEnded,
    Kind,
    Outcome,
    SubmissionDeed,
    Twin,
)
from session_block.records.states import SubmissionState
from session_block.records.submissions import Generation, Submission
from session_block.references import checked_id


@dataclass(frozen=True)
class SubmissionOverview:
    """One submission, as the ledger records it.

    Attributes:
        state: Its state.
        job_id: The latest generation's job.
        held_because: Why it waits for an operator, or ``None``.
        refused_because: Why it was refused, or ``None``. The next request asks once more.
        sealed: Whether its experiment is finished, so that nothing is asked any more.
        facts: Its facts, oldest first.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> latest = Operator(ledger).submissions(experiment.uid)[-1]
        >>> latest.state.value, latest.generations, latest.held_because
        ('result', 1, None)
    """

    experiment: Identity
    submission: str
    state: SubmissionState
    generations: int
    job_id: str | None
    label: str | None
    tag: str | None
    held_because: str | None
    facts: tuple[Kind, ...] = ()
    refused_because: str | None = None
    sealed: bool = False

    @property
    def waits(self) -> bool:
        """Whether it waits for somebody: it is held, or it was refused and is not given up.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> Operator(ledger).submissions(experiment.uid)[-1].waits
            False
        """
        if self.state is SubmissionState.REJECTED:
            return not self.sealed
        return self.state is SubmissionState.HELD

    def described(self) -> dict[str, Any]:
        """Return it as JSON values, without its facts.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> Operator(ledger).submissions(experiment.uid)[-1].described()["state"]
            'result'
        """
        return {
            "experiment": self.experiment.name,
            "number": self.experiment.number,
            "uid": self.experiment.uid,
            "submission": self.submission,
            "state": self.state.value,
            "generations": self.generations,
            "job_id": self.job_id,
            "label": self.label,
            "tag": self.tag,
            "held_because": self.held_because,
            "refused_because": self.refused_because,
        }


class Operator:
    """Looks at the submissions of a ledger, and records decisions about them.

    Examples:
        >>> operator = Operator(ledger)
        >>> [one for one in operator.submissions(experiment.uid) if one.waits]
        []
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submissions(self, experiment: str | None = None) -> list[SubmissionOverview]:
        """Return the submissions of an experiment, given by name or UID, or of all experiments.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> found = Operator(ledger).submissions("example")
            >>> found[-1].state
            <SubmissionState.RESULT: 'result'>
        """
        found = []
        for identity in self._experiments(experiment):
            intents = self._journal(identity).all(Intent)
            known = dict.fromkeys(intent.submission for intent in intents)
            found += [self._state(identity, submission) for submission in known]
        return found

    def show(self, experiment: str, submission: str) -> SubmissionOverview:
        """Return one submission; its ID may be shortened while it stays unique.

        Examples:
            >>> job = experiment.submit_sampler([circuit])
            >>> shown = Operator(ledger).show(experiment.uid, job.submission[:12])
            >>> shown.job_id == job.job_id
            True
        """
        identity, known, _ = self._find(experiment, submission)
        return self._state(identity, known.id)

    def adopt(self, experiment: str, submission: str, job_id: str) -> None:
        """Say which job belongs to a submission that could not be settled.

        Raises:
            InvalidInputError: It is settled, it does not exist, its experiment is finished, or what
                is given is no job ID.

        Examples:
            The answer was lost, and the listing does not show the job yet. You know its ID:

            >>> careful = QuantumSession(
            ...     credentials=LocalPlatformCredentials(),
            ...     backend_name="ibm_manila",
            ...     unsettled="hold",
            ... )
            >>> experiment = careful.experiment("to-adopt", fresh=True)
            >>> rule = platform.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
            >>> lag = platform.add_fault(kind="listing_lag", seconds=3600)
            >>> try:
            ...     result = experiment.run_sampler([circuit], shots=1000)
            ... except SubmissionHeldError as error:
            ...     submission = error.submission
            >>> job_id = platform.jobs(limit=1)[0]["id"]
            >>> Operator(ledger).adopt(experiment.uid, submission, job_id)
            >>> again = careful.experiment("to-adopt")
            >>> again.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            1000
            >>> again.job_ids == [job_id]
            True
            >>> platform.clear_faults()
        """
        checked_id("job", job_id)
        identity, known, latest = self._to_decide(experiment, submission)
        self._require_unsettled(known, latest)
        self._decide(identity, Outcome.of_job(known.id, latest.number, job_id, adopted=True))
        self._note(identity, known, latest, f"adopt {job_id}")

    def release(self, experiment: str, submission: str) -> None:
        """Say that a submission that could not be settled has no job; the next run sends it again.

        Raises:
            InvalidInputError: It is settled, it does not exist, or its experiment is finished.

        Examples:
            The request was lost, and you are sure that the platform never got it:

            >>> careful = QuantumSession(
            ...     credentials=LocalPlatformCredentials(),
            ...     backend_name="ibm_manila",
            ...     unsettled="hold",
            ... )
            >>> experiment = careful.experiment("to-release", fresh=True)
            >>> rule = platform.add_fault(kind="drop", method="POST", path="/jobs", effect="before")
            >>> try:
            ...     result = experiment.run_sampler([circuit], shots=1000)
            ... except SubmissionHeldError as error:
            ...     submission = error.submission
            >>> Operator(ledger).release(experiment.uid, submission)
            >>> again = careful.experiment("to-release")
            >>> again.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            1000
        """
        identity, known, latest = self._to_decide(experiment, submission)
        self._require_unsettled(known, latest)
        self._decide(identity, Outcome.abandoned(known.id, latest.number))
        self._note(identity, known, latest, "release")

    def retry(self, experiment: str, submission: str) -> None:
        """Give up a submission's job, or its refusal; the next run sends it again.

        Raises:
            InvalidInputError: It has a result or no job, it could not be settled, it does not
                exist, or its experiment is finished.

        Examples:
            The job failed for good, for a reason that is mended by now:

            >>> experiment = block.experiment("to-retry", fresh=True)
            >>> rule = platform.add_fault(kind="end_job", state="failed", reason="Too warm.")
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> experiment.fetch_result(job)
            Traceback (most recent call last):
            ...
            session_block.errors.JobFailedError: ... Too warm. ...
            >>> Operator(ledger).retry(experiment.uid, job.submission)
            >>> again = block.experiment("to-retry")
            >>> again.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            1000
        """
        identity, known, latest = self._to_decide(experiment, submission)
        if known.has_result:
            raise InvalidInputError(
                f"Submission {known.id} has a result, so there is nothing to retry."
            )
        if latest.outcome is None:
            raise InvalidInputError(
                f"Submission {known.id} is not settled: adopt its job, or release it."
            )
        if known.state is SubmissionState.ABANDONED:
            raise InvalidInputError(
                f"Submission {known.id} has no job to give up; the next run sends it again."
            )
        self._journal(identity).record(
            JobEnded(submission=known.id, generation=latest.number, because=records.WRITTEN_OFF)
        )
        self._note(identity, known, latest, "retry")

    def _experiments(self, wanted: str | None) -> list[Identity]:
        if wanted is None:
            return known_experiments(self._ledger)
        found = experiments_called(self._ledger, wanted)
        if not found:
            raise InvalidInputError(f"{self._ledger} has no experiment {wanted!r}.")
        return found

    def _to_decide(
        self, experiment: str, submission: str
    ) -> tuple[Identity, Submission, Generation]:
        """Return a submission to decide about."""
        found = identity, _, _ = self._find(experiment, submission)
        if is_sealed(self._journal(identity)):
            raise InvalidInputError(
                f"Experiment {identity} is finished and submits nothing more, so there is nothing "
                "to decide. Start a new one with fresh=True."
            )
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

    def _journal(self, identity: Identity) -> Journal:
        return Journal(self._ledger, identity.uid)

    def _read(self, identity: Identity, submission: str) -> Submission:
        return records.read_submission(self._journal(identity), submission)

    def _state(self, identity: Identity, submission: str) -> SubmissionOverview:
        facts = self._journal(identity).several(*records.FACTS, Twin, SubmissionDeed, at=submission)
        recorded = records.fold(submission, facts)
        latest = recorded.generations[-1]
        because = None if latest.hold is None else latest.hold.because
        return SubmissionOverview(
            experiment=identity,
            submission=submission,
            state=recorded.state,
            generations=latest.number,
            job_id=latest.job_id,
            label=latest.intent.label,
            tag=latest.intent.tag,
            held_because=None if recorded.has_result else because,
            refused_because=_refused_because(recorded),
            sealed=is_sealed(self._journal(identity)),
            facts=tuple(facts),
        )

    @staticmethod
    def _require_unsettled(known: Submission, latest: Generation) -> None:
        if latest.outcome is None and not known.has_result:
            return
        came_of_it = known.state if latest.job_id is None else f"{known.state}, job {latest.job_id}"
        cure = (
            "the next run sends it again"
            if known.state is SubmissionState.ABANDONED
            else "to run it again, retry it"
        )
        raise InvalidInputError(f"Submission {known.id} is settled ({came_of_it}); {cure}.")

    def _decide(self, identity: Identity, outcome: Outcome) -> None:
        stands, ours = self._journal(identity).record(replace(outcome, by="operator"))
        if not ours:
            came_of_it = stands.kind if stands.job_id is None else f"job {stands.job_id}"
            raise InvalidInputError(
                f"Submission {outcome.submission} was settled in the meantime: {came_of_it}."
            )

    def _note(self, identity: Identity, known: Submission, latest: Generation, deed: str) -> None:
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        self._journal(identity).record(
            SubmissionDeed(
                submission=known.id,
                generation=latest.number,
                verb=deed.partition(" ")[0],
                deed=deed,
                by=who,
            )
        )


def _refused_because(recorded: Submission) -> str | None:
    refused = recorded.refusal if recorded.state is SubmissionState.REJECTED else None
    return None if refused is None or refused.outcome is None else refused.outcome.message
