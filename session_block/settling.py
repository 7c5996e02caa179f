"""Settle what became of a submission whose sender cannot tell any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import requests
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import crashpoints, decisions
from session_block.client import ListedJob
from session_block.decisions import Action, Answer, Generation
from session_block.errors import ConnectionFailedError, SubmissionHeldError
from session_block.ledger import Ledger
from session_block.session import SessionKeeper

LOOK_UP_PATIENCE_SECONDS = 600.0
_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class Settler:
    """Decides the outcome of a generation, from the ledger's and the platform's evidence.

    Whoever creates the outcome decides it for everybody; all others take what stands.
    """

    def __init__(
        self, ledger: Ledger, experiment: str, keeper: Callable[[], SessionKeeper]
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._keeper = keeper

    def settle(self, submission: str, generation: Generation) -> None:
        """Give an intent without an owner its outcome, from what the platform's listing shows.

        Raises:
            SubmissionHeldError: The listing failed for too long.
        """
        self.check_instance(generation)
        account = self._keeper().connection.account
        began = time.monotonic()
        while True:
            settled = time.monotonic() - began >= account.settle_seconds
            answer, jobs = self._look(generation, settled=settled)
            match decisions.decide(decisions.Situation.INTENT_ORPHANED, answer):
                case Action.ADOPT | Action.ADOPT_EARLIEST:
                    chosen = next((job for job in jobs if job.can_give_a_result), jobs[0])
                    outcome = self.decide(
                        submission,
                        generation.number,
                        {"kind": "job", "job_id": chosen.job_id, "adopted": True},
                    )
                    for job in jobs:
                        if job.job_id != outcome.get("job_id"):
                            self.cancel_twin(submission, job.job_id, outcome)
                    return
                case Action.ABANDON:
                    self.decide(submission, generation.number, {"kind": "abandoned"})
                    return
                case _ if time.monotonic() - began > LOOK_UP_PATIENCE_SECONDS:
                    raise SubmissionHeldError(
                        f"The platform's job listing failed for {LOOK_UP_PATIENCE_SECONDS:.0f} s, "
                        f"so it is not known whether submission {submission} of experiment "
                        f"{self._experiment} has a job (tag {generation.intent['tag']}). Run "
                        "again once the platform answers; nothing was submitted."
                    )
                case _:
                    pause = max(account.settle_seconds / 10, _SHORTEST_PAUSE_SECONDS)
                    time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))

    def _look(self, generation: Generation, *, settled: bool) -> tuple[Answer, list[ListedJob]]:
        try:
            jobs = self._keeper().connection.jobs_with_tag(generation.intent["tag"])
        except (IBMError, requests.RequestException, KeyError, ValueError) as error:
            _logger.warning("The platform's job listing failed (%s); it is asked again.", error)
            return Answer.UNREADABLE, []
        match len(jobs):
            case 0:
                return (Answer.NO_JOB if settled else Answer.NO_JOB_YET), jobs
            case 1:
                return Answer.ONE_JOB, jobs
            case _:
                return Answer.SEVERAL_JOBS, jobs

    def decide(self, submission: str, number: int, outcome: dict[str, Any]) -> dict[str, Any]:
        """Create a generation's outcome, unless somebody was first; return what stands."""
        fact, _ = self._ledger.create(
            self._experiment, decisions.outcome_key(submission, number), outcome
        )
        return dict(fact.body)

    def cancel_twin(self, submission: str, job_id: str, outcome: dict[str, Any]) -> None:
        """Cancel a second job of one submission, if that is still possible, and record it."""
        _logger.warning(
            "Job %s is a twin of submission %s (%s); it is cancelled.", job_id, submission, outcome
        )
        try:
            job = self._keeper().connection.job(job_id)
            if job is not None:
                with crashpoints.around("cancel job"):
                    job.cancel()
            fate = "cancelled"
        except (ConnectionFailedError, IBMError, requests.RequestException) as error:
            fate = f"could not be cancelled: {error}"
        self._ledger.create(self._experiment, f"twin/{submission}/{job_id}", {"fate": fate})

    def check_instance(self, generation: Generation) -> None:
        """Check that a generation was sent to the instance that is connected.

        Raises:
            SubmissionHeldError: It was sent to another one, so nothing can be said about it.
        """
        connection = self._keeper().connection
        if generation.intent["instance"] != connection.instance:
            raise SubmissionHeldError(
                f"A job of experiment {self._experiment} was sent to the instance "
                f"{generation.intent['instance']}, but the Block now names {connection.instance}. "
                "Run it with a Block of the former, or start anew with fresh=True."
            )
