"""Pure: the states that users see, of submissions and of sessions, and the rule for each.

Views, commands, data frames and reports show these and no others.
"""

from __future__ import annotations

from enum import StrEnum

from session_block.records.keys import OutcomeKind, SessionKind


class SubmissionState(StrEnum):
    """Where a submission stands, in the words shown to people everywhere.

    Attributes:
        UNSETTLED: It was about to be sent, and the outcome is not recorded yet.
        HELD: It waits for an operator.
        JOB: It has a job; the result is not recorded yet.
        ENDED: Its job gave no result; the next request runs it again.
        REJECTED: No job was made, because the platform or the budget refused it.
        ABANDONED: No job of it is known; the next request sends it again.
        RESULT: Its result is recorded.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> row = Experiment.load("example").submissions()[-1]
        >>> row["state"] == SubmissionState.RESULT
        True
    """

    UNSETTLED = "unsettled"
    HELD = "held"
    JOB = "job"
    ENDED = "ended"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    RESULT = "result"


def submission_state(
    *, has_result: bool, held: bool, ended: bool, outcome: OutcomeKind | None
) -> SubmissionState:
    """Return the state of a submission.

    Args:
        has_result: Whether its result is recorded.
        held: Whether its latest generation waits for an operator.
        ended: Whether the latest generation's job is known to have given no result.
        outcome: What came of the latest generation; ``None`` while that is open.
    """
    if has_result:
        return SubmissionState.RESULT
    if held:
        return SubmissionState.HELD
    if outcome is None:
        return SubmissionState.UNSETTLED
    return SubmissionState.ENDED if ended else SubmissionState(outcome)


class SessionState(StrEnum):
    """Where a session of an experiment stands, in the words shown to people everywhere.

    Attributes:
        OPENING: It is wanted, and the outcome is not recorded yet.
        OPEN: It is not known to be over.
        ENDED: It is over.
        LOST: Its opening was cut off, so it is unknown whether the session exists.
        REFUSED: The platform refused to open it.

    Examples:
        >>> session_id = experiment.open_session()
        >>> experiment.sessions[-1].state
        <SessionState.OPEN: 'open'>
    """

    OPENING = "opening"
    OPEN = "open"
    ENDED = "ended"
    LOST = "lost"
    REFUSED = "refused"


def session_state(kind: SessionKind | None, *, ended: bool) -> SessionState:
    """Return the state of a session.

    Args:
        kind: How it came about; ``None`` while it is being opened.
        ended: Whether it is known to be over.
    """
    if ended:
        return SessionState.ENDED
    match kind:
        case None:
            return SessionState.OPENING
        case "lost":
            return SessionState.LOST
        case "refused":
            return SessionState.REFUSED
        case _:
            return SessionState.OPEN
