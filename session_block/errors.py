"""Every exception that this package raises, as one tree.

::

    SessionBlockError
    ├── InvalidInputError            the request is wrong; nothing was sent
    │   ├── CheckFailedError         the platform would take the request, and fail it
    │   ├── NotISAError              a circuit does not fit the backend
    │   ├── FaultyQubitError         a circuit uses what the backend now calls faulty
    │   ├── BackendNotFoundError     the instance has no such backend
    │   ├── InstanceRequiredError    the credentials name no instance, and there are several
    │   ├── LabelConflictError       one label was used for two different requests
    │   └── LabelRequiredError       the request cannot be recognised without a label
    ├── LedgerError                  the ledger cannot be trusted; the run stops
    │   ├── LedgerUnavailableError   the store did not answer
    │   ├── LedgerDamagedError       the store lost or changed what it held
    │   └── LedgerVersionError       the store was written by a newer version
    ├── ExperimentError
    │   ├── ExperimentDivergedError  a resumed run makes a new request before the recorded ones
    │   ├── ExperimentSealedError    a finished experiment was asked for something new
    │   ├── ExperimentStoppedError   a person or the cost limit stopped it; nothing more is bought
    │   ├── CrashLoopError           a run was tried too often without a new result
    │   ├── BackendRecalibratedError the backend was calibrated again
    │   └── BudgetExceededError      a limit on jobs or usage is reached
    ├── ConnectionFailedError        the platform refused the credentials or could not be reached
    ├── PlatformError                the local platform could not be started, found or used
    ├── SessionError
    │   ├── SessionNotFoundError     the platform knows no session with that ID
    │   ├── SessionMismatchError     the session exists, but does not match the Block
    │   ├── SessionClosedError       the session accepts no more jobs
    │   └── SessionsNotAllowedError  the instance's plan has no sessions
    ├── LabError                     a part of 'session-block up' could not be started, or has ended
    └── SubmissionError
        ├── SubmissionRejectedError  the platform refused the request; no job was made
        ├── SubmissionHeldError      nobody can tell whether the job was made; an operator decides
        ├── SubmissionNotSentError   every attempt to submit failed, and the platform shows no job
        ├── JobNotFoundError         the platform no longer knows the job
        ├── JobFailedError           the job ended without a result
        ├── JobCancelledError        somebody cancelled the job
        ├── JobEndedInPassingError   its session ended, or it failed temporarily; ask again
        └── JobWaitTimeoutError      the wait timed out; the job continues
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class SessionBlockError(Exception):
    """Base of all errors of this package.

    The message says what happened, to what, and what to do next. Programs read the IDs and the
    code from the attributes, which survive pickling.

    Attributes:
        experiment: The UID of the experiment, or ``None``.
        submission: The ID of the submission, or ``None``.
        session_id: The platform's ID of the session or batch, or ``None``.
        job_id: The platform's ID of the job, or ``None``.
        code: The platform's own error code, such as 1217; ``None`` if it gave none.

    Example::

        try:
            experiment.run_estimator(pubs)
        except JobFailedError as error:
            print(error.job_id, error.code)
    """

    def __init__(
        self,
        message: str = "",
        *,
        experiment: str | None = None,
        submission: str | None = None,
        session_id: str | None = None,
        job_id: str | None = None,
        code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.experiment = experiment
        self.submission = submission
        self.session_id = session_id
        self.job_id = job_id
        self.code = code


class InvalidInputError(SessionBlockError, ValueError):
    """The request is wrong. The error is raised before anything is sent."""


class CheckFailedError(InvalidInputError):
    """The request would be accepted, queued and then fail, or be charged for nothing.

    Attributes:
        findings: All that is wrong, as :class:`session_block.CheckFinding` objects.
        code: The code of the first of them, which the platform would give the job; ``None`` if it
            is not known.
    """

    def __init__(self, message: str = "", *, findings: tuple[Any, ...] = (), **named: Any) -> None:
        super().__init__(message, **named)
        self.findings = findings


class NotISAError(InvalidInputError):
    """A circuit uses instructions or connections that the backend does not have."""


class FaultyQubitError(InvalidInputError):
    """A circuit uses a qubit or a gate that the backend's calibration now calls faulty."""


class BackendNotFoundError(InvalidInputError):
    """The instance has no backend with this name."""


class InstanceRequiredError(InvalidInputError):
    """The credentials name no instance, so jobs could be sent to one and looked up in another."""


class LabelConflictError(InvalidInputError):
    """A label that names one request was used for another."""


class LabelRequiredError(InvalidInputError):
    """A request without a label could not be recognised later.

    It came from a process that did not open the experiment, from a thread unknown to Prefect, or
    from a task that was called by another task.
    """


class LedgerError(SessionBlockError):
    """The ledger cannot be trusted, so the run stops before it can submit anything twice."""


class LedgerUnavailableError(LedgerError):
    """The ledger's store did not answer, or answered with an error."""


class LedgerDamagedError(LedgerError):
    """The ledger is not what was written: it is damaged, truncated, or not a ledger at all."""


class LedgerVersionError(LedgerError):
    """The ledger was written by a newer version of this package."""


class ExperimentError(SessionBlockError):
    """Something is wrong with an experiment as a whole."""


class ExperimentDivergedError(ExperimentError):
    """A resumed run makes a new request before it has repeated all the recorded ones."""


class ExperimentSealedError(ExperimentError):
    """A finished experiment got a request that it has no record of."""


class ExperimentStoppedError(ExperimentError):
    """A person, or the instance's cost limit, stopped the experiment: nothing more is bought.

    What is recorded is still answered. It goes on when somebody says so: ``session-block
    experiments resume NAME``, or a retry of its flow run in Prefect.
    """


class CrashLoopError(ExperimentError):
    """A flow run was tried too many times in a row without a new result."""


class BackendRecalibratedError(ExperimentError):
    """The backend was calibrated again, and the Block says to stop in that case."""


class BudgetExceededError(ExperimentError):
    """A limit on jobs or usage seconds is reached, so nothing more is submitted."""


class ConnectionFailedError(SessionBlockError):
    """The platform refused the credentials, or could not be reached."""


class PlatformError(SessionBlockError):
    """The local platform could not be started, found or used; the message says what to do."""


class SessionError(SessionBlockError):
    """Something is wrong with a session."""


class SessionNotFoundError(SessionError):
    """The platform knows no session with this ID."""


class SessionMismatchError(SessionError):
    """The session exists, but its backend or mode differs from the Block's."""


class SessionClosedError(SessionError):
    """The session accepts no more jobs."""


class SessionsNotAllowedError(SessionError):
    """The instance's plan, such as the open one, has no sessions."""


class LabError(SessionBlockError):
    """A part of ``session-block up`` could not be started or deployed, or has ended by itself.

    Or the Prefect server that is configured does not accept this process's credentials.
    """


class SubmissionError(SessionBlockError):
    """Something went wrong with one submission."""


class SubmissionRejectedError(SubmissionError):
    """The platform, or the client, refused the request. No job was made."""


class SubmissionHeldError(SubmissionError):
    """Nobody can tell whether a job was made, so none is submitted until an operator decides."""


class SubmissionNotSentError(SubmissionError):
    """Every attempt to submit failed, and the platform shows no job. Run again to continue."""


class JobNotFoundError(SubmissionError):
    """The platform no longer knows a job that it had accepted."""


class JobFailedError(SubmissionError):
    """The job ended without a result, for a reason of its own."""


class JobCancelledError(SubmissionError):
    """The job was cancelled."""


class JobEndedInPassingError(SubmissionError):
    """The job gave no result because its session ended, or because of a temporary failure.

    Making the request again is safe, and runs the job once more.
    """


class JobWaitTimeoutError(SubmissionError, TimeoutError):
    """The wait timed out. The job itself continues, and can be waited for again."""
