"""Every exception that this package raises, as one tree.

::

    SessionBlockError
    ├── InvalidInputError            the request is wrong; nothing was sent
    │   ├── NotISAError              a circuit does not fit the backend
    │   ├── FaultyQubitError         a circuit uses what the backend now calls faulty
    │   ├── BackendNotFoundError     the instance has no such backend
    │   ├── InstanceRequiredError    the credentials name no instance, and there are several
    │   ├── LabelConflictError       one label was used for two different requests
    │   └── LabelRequiredError       a process that did not open the experiment must label
    ├── LedgerError                  the ledger cannot be trusted; the run stops
    │   ├── LedgerUnavailableError   the store did not answer
    │   ├── LedgerDamagedError       the store lost or changed what it held
    │   └── LedgerVersionError       the store was written by a newer version
    ├── ExperimentError
    │   ├── ExperimentDivergedError  a resumed run asks out of turn
    │   ├── ExperimentSealedError    a finished experiment was asked for something new
    │   ├── CrashLoopError           a run was tried too often without getting on
    │   ├── BackendRecalibratedError the backend is not calibrated as it was
    │   └── BudgetExceededError      a limit of jobs or of usage is reached
    ├── ConnectionFailedError        the platform refused the credentials or could not be reached
    ├── PlatformError                the local platform could not be started, found or used
    ├── SessionError
    │   ├── SessionNotFoundError     the platform knows no session of that ID
    │   ├── SessionMismatchError     the session exists, but is not what the Block describes
    │   ├── SessionClosedError       the session accepts no more jobs
    │   └── SessionsNotAllowedError  the instance's plan has no sessions
    ├── LabError                      what 'session-block up' runs cannot be brought up, or ended
    └── SubmissionError
        ├── SubmissionRejectedError  the platform refused the job; none was made
        ├── SubmissionHeldError      nobody can tell whether the job was made; an operator decides
        ├── SubmissionNotSentError   each try to submit it failed, and no job of it is there
        ├── JobNotFoundError         the platform does not know the job any more
        ├── JobFailedError           the job ended without a result
        ├── JobCancelledError        somebody cancelled the job
        ├── JobEndedInPassingError the job ended with its session; asking again is safe
        └── JobWaitTimeoutError      the wait is over, the job is not
"""

from __future__ import annotations


class SessionBlockError(Exception):
    """Base of all errors of this package.

    An error says what happened, to what, and what to do next; programs read the latter from its
    attributes, which survive pickling.

    Attributes:
        experiment: The UID of the experiment, or ``None``.
        submission: The ID of the submission, or ``None``.
        session_id: The platform's ID of the session or batch, or ``None``.
        job_id: The platform's ID of the job, or ``None``.
        code: The platform's own code of what went wrong, such as 1217; ``None`` where it gave none.

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
    """The request is wrong. It was found out before anything was sent."""


class NotISAError(InvalidInputError):
    """A circuit uses instructions or connections that the backend does not have."""


class FaultyQubitError(InvalidInputError):
    """A circuit uses a qubit or a gate that the backend's calibration now calls faulty."""


class BackendNotFoundError(InvalidInputError):
    """The instance offers no backend of this name."""


class InstanceRequiredError(InvalidInputError):
    """The credentials name no instance, so jobs could be sent to one and looked for in another."""


class LabelConflictError(InvalidInputError):
    """A label that stands for one request was used for another."""


class LabelRequiredError(InvalidInputError):
    """A process that did not open the experiment made a request without a label."""


class LedgerError(SessionBlockError):
    """The ledger cannot be trusted, so the run stops before it could submit anything twice."""


class LedgerUnavailableError(LedgerError):
    """The ledger's store did not answer, or answered with an error."""


class LedgerDamagedError(LedgerError):
    """The ledger is not what was written: damaged, cut off, or not a ledger at all."""


class LedgerVersionError(LedgerError):
    """The ledger was written by a newer version of this package."""


class ExperimentError(SessionBlockError):
    """Something is wrong with an experiment as a whole."""


class ExperimentDivergedError(ExperimentError):
    """A resumed run asks for something new before it has asked for all that was recorded."""


class ExperimentSealedError(ExperimentError):
    """A finished experiment was asked for something that it never recorded."""


class CrashLoopError(ExperimentError):
    """A flow run was tried again and again, and got no new result."""


class BackendRecalibratedError(ExperimentError):
    """The backend was calibrated anew, and the Block says to stop then."""


class BudgetExceededError(ExperimentError):
    """A limit of jobs or of usage seconds is reached, so nothing more is submitted."""


class ConnectionFailedError(SessionBlockError):
    """The platform refused the credentials, or could not be reached."""


class PlatformError(SessionBlockError):
    """The local platform could not be started, found or used; the message says what to do."""


class SessionError(SessionBlockError):
    """Something is wrong with a session."""


class SessionNotFoundError(SessionError):
    """The platform knows no session of this ID."""


class SessionMismatchError(SessionError):
    """The session exists, but on another backend or in another mode than the Block says."""


class SessionClosedError(SessionError):
    """The session accepts no more jobs."""


class SessionsNotAllowedError(SessionError):
    """The instance's plan, such as the open one, has no sessions."""


class LabError(SessionBlockError):
    """What ``session-block up`` runs cannot be started or deployed, or has ended by itself."""


class SubmissionError(SessionBlockError):
    """Something went wrong with one submission."""


class SubmissionRejectedError(SubmissionError):
    """The platform refused the job. No job was made."""


class SubmissionHeldError(SubmissionError):
    """It cannot be told whether a job was made, so none is made until an operator decides."""


class SubmissionNotSentError(SubmissionError):
    """Each try to submit it failed, and the platform shows no job of it. Run again to go on."""


class JobNotFoundError(SubmissionError):
    """The platform does not know a job any more that it had accepted."""


class JobFailedError(SubmissionError):
    """The job ended without a result, for a reason of its own."""


class JobCancelledError(SubmissionError):
    """The job was cancelled."""


class JobEndedInPassingError(SubmissionError):
    """The job gave no result: its session ended, or it failed for a reason that passes.

    Asking again is safe, and runs it once more.
    """


class JobWaitTimeoutError(SubmissionError, TimeoutError):
    """The wait ran out of time. The job itself goes on and can be waited for again."""
