"""Every exception that this package raises, as one tree.

::

    SessionBlockError
    ├── InvalidInputError            the request is wrong; nothing was sent
    │   ├── CheckFailedError         the platform would take the request, and fail it
    │   ├── NotISAError              a circuit does not fit the backend
    │   ├── FaultyQubitError         a circuit uses what the backend now calls faulty
    │   ├── BackendNotFoundError     the instance has no such backend
    │   ├── CredentialsRequiredError no API key is where it was looked for
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

    Examples:
        >>> try:
        ...     experiment.run_program("hello-world", {})
        ... except SessionBlockError as error:
        ...     print(type(error).__name__, error.experiment == experiment.uid)
        SubmissionRejectedError True
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
    """The request is wrong. The error is raised before anything is sent.

    Examples:
        >>> experiment.run_sampler([])
        Traceback (most recent call last):
        ...
        session_block.errors.InvalidInputError: The request holds no PUB, ...
    """


class CheckFailedError(InvalidInputError):
    """The request would be accepted, queued and then fail, or be charged for nothing.

    Attributes:
        findings: All that is wrong, as :class:`session_block.CheckFinding` objects.
        code: The code of the first of them, which the platform would give the job; ``None`` if it
            is not known.

    Examples:
        >>> try:
        ...     experiment.run_sampler([circuit], shots=20_000_000)
        ... except CheckFailedError as error:
        ...     print(error.code, error.findings[0].rule)
        1520 executions
    """

    def __init__(self, message: str = "", *, findings: tuple[Any, ...] = (), **named: Any) -> None:
        super().__init__(message, **named)
        self.findings = findings


class NotISAError(InvalidInputError):
    """A circuit uses instructions or connections that the backend does not have.

    Examples:
        >>> experiment.run_sampler([bell_pair])  # transpile it first
        Traceback (most recent call last):
        ...
        session_block.errors.NotISAError: ...
    """


class FaultyQubitError(InvalidInputError):
    """A circuit uses a qubit or a gate that the backend's calibration now calls faulty.

    Examples:
        >>> sampler = DurableSampler(block.experiment("faulty", fresh=True))
        >>> isa_circuit = sampler.experiment.transpile(bell_pair)
        >>> used = isa_circuit.layout.final_index_layout()
        >>> calibration = platform.calibrate("ibm_manila", faulty_qubits=used[1:])
        >>> resumed = DurableSampler(block.experiment("faulty"))
        >>> resumed.run([bell_pair])  # resumed.experiment.repin chooses other qubits
        Traceback (most recent call last):
        ...
        session_block.errors.FaultyQubitError: ...
        >>> calibration = platform.calibrate("ibm_manila")
    """


class BackendNotFoundError(InvalidInputError):
    """The instance has no backend with this name.

    Examples:
        >>> credentials = LocalPlatformCredentials()
        >>> nowhere = QuantumSession(credentials=credentials, backend_name="ibm_nowhere")
        >>> nowhere.experiment("lost").open_session()
        Traceback (most recent call last):
        ...
        session_block.errors.BackendNotFoundError: ...
    """


class CredentialsRequiredError(InvalidInputError):
    """No API key is where it was looked for: in the environment, or in a saved account.

    Examples:
        >>> IBMSessionCredentials(account_name="not-saved").account()
        Traceback (most recent call last):
        ...
        session_block.errors.CredentialsRequiredError: ...
    """


class InstanceRequiredError(InvalidInputError):
    """The credentials name no instance, so jobs could be sent to one and looked up in another.

    Examples:
        Name the instance in the Block, and it does not arise:

        >>> info = platform.info
        >>> credentials = IBMSessionCredentials(
        ...     token=info.token, url=info.url, instance=info.instance
        ... )
        >>> there = QuantumSession(credentials=credentials, backend_name="ibm_manila")
        >>> with there.experiment("at-one-instance", fresh=True) as experiment:
        ...     session_id = experiment.open_session()
    """


class LabelConflictError(InvalidInputError):
    """A label that names one request was used for another.

    Examples:
        >>> first = experiment.run_sampler([circuit], shots=1000, label="calibration-check")
        >>> experiment.run_sampler([circuit], shots=2000, label="calibration-check")
        Traceback (most recent call last):
        ...
        session_block.errors.LabelConflictError: ...
    """


class LabelRequiredError(InvalidInputError):
    """A request without a label could not be recognised later.

    It came from a process that did not open the experiment, from a thread unknown to Prefect, or
    from a task that was called by another task.

    Examples:
        >>> block.experiment()  # outside of a flow it needs a name
        Traceback (most recent call last):
        ...
        session_block.errors.LabelRequiredError: ...
    """


class LedgerError(SessionBlockError):
    """The ledger cannot be trusted, so the run stops before it can submit anything twice.

    Examples:
        >>> try:
        ...     ledger = Ledger("mysql://somewhere/ledger")
        ... except LedgerError as error:
        ...     print(type(error).__name__)
        LedgerUnavailableError
    """


class LedgerUnavailableError(LedgerError):
    """The ledger's store did not answer, or answered with an error.

    Examples:
        >>> Ledger("sqlite:///ledger.db")
        Traceback (most recent call last):
        ...
        session_block.errors.LedgerUnavailableError: An SQLite ledger needs an absolute path ...
    """


class LedgerDamagedError(LedgerError):
    """The ledger is not what was written: it is damaged, truncated, or not a ledger at all.

    Examples:
        >>> from pathlib import Path
        >>> file = Path("notes.db").absolute()
        >>> written = file.write_text("no ledger at all")
        >>> Ledger(f"sqlite:///{file}")
        Traceback (most recent call last):
        ...
        session_block.errors.LedgerDamagedError: ...
    """


class LedgerVersionError(LedgerError):
    """The ledger was written by a newer version of this package.

    Examples:
        >>> from pathlib import Path
        >>> url = f"sqlite:///{Path.cwd()}/of-a-newer-version.db"
        >>> Ledger(url).require_schema(99)
        >>> Ledger(url)
        Traceback (most recent call last):
        ...
        session_block.errors.LedgerVersionError: ...
    """


class ExperimentError(SessionBlockError):
    """Something is wrong with an experiment as a whole.

    Examples:
        >>> with block.experiment("bell-pairs") as finished:
        ...     result = finished.run_sampler([circuit], shots=1000)
        >>> try:
        ...     block.experiment("bell-pairs").run_sampler([circuit], shots=5)
        ... except ExperimentError as error:
        ...     print(type(error).__name__, error.experiment == finished.uid)
        ExperimentSealedError True
    """


class ExperimentDivergedError(ExperimentError):
    """A resumed run makes a new request before it has repeated all the recorded ones.

    Examples:
        >>> result = block.experiment("changed", fresh=True).run_sampler([circuit], shots=1000)
        >>> resumed = block.experiment("changed")
        >>> resumed.run_sampler([circuit], shots=2000)  # the program was changed in between
        Traceback (most recent call last):
        ...
        session_block.errors.ExperimentDivergedError: ...
    """


class ExperimentSealedError(ExperimentError):
    """A finished experiment got a request that it has no record of.

    Examples:
        >>> with block.experiment("bell-pairs") as experiment:
        ...     result = experiment.run_sampler([circuit], shots=1000)
        >>> block.experiment("bell-pairs").run_sampler([circuit], shots=5)
        Traceback (most recent call last):
        ...
        session_block.errors.ExperimentSealedError: ...
    """


class ExperimentStoppedError(ExperimentError):
    """A person, or the instance's cost limit, stopped the experiment: nothing more is bought.

    What is recorded is still answered. It goes on when somebody says so: ``session-block
    experiments resume NAME``, or a retry of its flow run in Prefect.

    Examples:
        >>> session_id = experiment.open_session()
        >>> platform.end_session(session_id, by="close")  # as a person does on IBM's page
        >>> experiment.run_sampler([circuit])
        Traceback (most recent call last):
        ...
        session_block.errors.ExperimentStoppedError: ...
    """


class CrashLoopError(ExperimentError):
    """A flow run was tried too many times in a row without a new result.

    Examples:
        >>> from prefect import flow
        >>> impatient = QuantumSession(
        ...     credentials=LocalPlatformCredentials(), backend_name="ibm_manila", max_attempts=1
        ... )
        >>> document_id = impatient.save("impatient", overwrite=True)
        >>> @flow
        ... def gets_nowhere(block: str) -> None:
        ...     load_block(block).experiment("gets-nowhere")
        ...     raise RuntimeError("a bug")
        >>> for _ in range(2):
        ...     try:
        ...         gets_nowhere("impatient")
        ...     except (RuntimeError, CrashLoopError) as error:
        ...         print(type(error).__name__)
        RuntimeError
        CrashLoopError
    """


class BackendRecalibratedError(ExperimentError):
    """The backend was calibrated again, and the Block says to stop in that case.

    Examples:
        >>> strict = QuantumSession(
        ...     credentials=LocalPlatformCredentials(),
        ...     backend_name="ibm_manila",
        ...     on_recalibration="stop",
        ... )
        >>> result = strict.experiment("one-calibration", fresh=True).run_sampler([circuit])
        >>> calibration = platform.calibrate("ibm_manila")
        >>> resumed = strict.experiment("one-calibration")
        >>> result = resumed.run_sampler([circuit])  # from the records
        >>> resumed.run_sampler([circuit])
        Traceback (most recent call last):
        ...
        session_block.errors.BackendRecalibratedError: ...
    """


class BudgetExceededError(ExperimentError):
    """A limit on jobs or usage seconds is reached, so nothing more is submitted.

    Examples:
        >>> thrifty = QuantumSession(
        ...     credentials=LocalPlatformCredentials(), backend_name="ibm_manila", max_jobs=1
        ... )
        >>> experiment = thrifty.experiment("one-job", fresh=True)
        >>> result = experiment.run_sampler([circuit])
        >>> experiment.run_sampler([circuit])
        Traceback (most recent call last):
        ...
        session_block.errors.BudgetExceededError: ...
    """


class ConnectionFailedError(SessionBlockError):
    """The platform refused the credentials, or could not be reached.

    Examples:
        >>> info = platform.info
        >>> wrong = IBMSessionCredentials(token="x" * 44, url=info.url, instance=info.instance)
        >>> wrong.get_client()
        Traceback (most recent call last):
        ...
        session_block.errors.ConnectionFailedError: ...
    """


class PlatformError(SessionBlockError):
    """The local platform could not be started, found or used; the message says what to do.

    Examples:
        >>> from session_block.local_platform import Admin
        >>> Admin("http://127.0.0.1:1").stats()
        Traceback (most recent call last):
        ...
        session_block.errors.PlatformError: the platform at http://127.0.0.1:1 does not answer: ...
    """


class SessionError(SessionBlockError):
    """Something is wrong with a session.

    Examples:
        >>> block.experiment("new").session_details()
        Traceback (most recent call last):
        ...
        session_block.errors.SessionError: ...
    """


class SessionNotFoundError(SessionError):
    """The platform knows no session with this ID.

    Examples:
        >>> experiment.borrow_session("00000000-0000-4000-8000-000000000000")
        Traceback (most recent call last):
        ...
        session_block.errors.SessionNotFoundError: ...
    """


class SessionMismatchError(SessionError):
    """The session exists, but its backend or mode differs from the Block's.

    Examples:
        >>> elsewhere = QuantumSession(
        ...     credentials=LocalPlatformCredentials(), backend_name="ibm_nairobi"
        ... ).experiment("elsewhere", fresh=True)
        >>> session_id = elsewhere.open_session()
        >>> experiment.borrow_session(session_id)  # this one is for ibm_manila
        Traceback (most recent call last):
        ...
        session_block.errors.SessionMismatchError: ...
        >>> elsewhere.finish()
        True
    """


class SessionClosedError(SessionError):
    """The session accepts no more jobs.

    Examples:
        >>> theirs = block.experiment("theirs", fresh=True)
        >>> session_id = theirs.open_session()
        >>> theirs.finish()
        True
        >>> experiment.borrow_session(session_id)
        Traceback (most recent call last):
        ...
        session_block.errors.SessionClosedError: ...
    """


class SessionsNotAllowedError(SessionError):
    """The instance's plan, such as the open one, has no sessions.

    Examples:
        >>> [*_, free] = platform.accounts[0].instances
        >>> free.plan
        'open'
        >>> credentials = IBMSessionCredentials(
        ...     token=platform.info.token, url=platform.info.url, instance=free.crn
        ... )
        >>> on_open_plan = QuantumSession(credentials=credentials, backend_name="ibm_fez")
        >>> on_open_plan.experiment("for-nothing").open_session()  # without_sessions="batch" works
        Traceback (most recent call last):
        ...
        session_block.errors.SessionsNotAllowedError: ...
    """


class LabError(SessionBlockError):
    """A part of ``session-block up`` could not be started or deployed, or has ended by itself.

    Or the Prefect server that is configured does not accept this process's credentials.

    Examples:
        >>> from pathlib import Path
        >>> from session_block.lab.record import LabRecord, only_one
        >>> record = LabRecord(Path("record.json"))
        >>> with only_one(Path("lock"), record), only_one(Path("lock"), record):
        ...     print("two labs")
        Traceback (most recent call last):
        ...
        session_block.errors.LabError: 'session-block up' runs already ...
    """


class SubmissionError(SessionBlockError):
    """Something went wrong with one submission.

    Examples:
        >>> try:
        ...     experiment.run_program("hello-world", {})
        ... except SubmissionError as error:
        ...     print(type(error).__name__, error.submission is not None)
        SubmissionRejectedError True
    """


class SubmissionRejectedError(SubmissionError):
    """The platform, or the client, refused the request. No job was made.

    Examples:
        >>> experiment.run_program("hello-world", {})
        Traceback (most recent call last):
        ...
        session_block.errors.SubmissionRejectedError: ...
    """


class SubmissionHeldError(SubmissionError):
    """Nobody can tell whether a job was made, so none is submitted until an operator decides.

    Examples:
        >>> careful = QuantumSession(
        ...     credentials=LocalPlatformCredentials(), backend_name="ibm_manila", unsettled="hold"
        ... )
        >>> experiment = careful.experiment("held", fresh=True)
        >>> rule = platform.add_fault(kind="drop", method="POST", path="/jobs", effect="before")
        >>> experiment.run_sampler([circuit])
        Traceback (most recent call last):
        ...
        session_block.errors.SubmissionHeldError: ...
    """


class SubmissionNotSentError(SubmissionError):
    """Every attempt to submit failed, and the platform shows no job. Run again to continue.

    Examples:
        A firewall answers in the platform's place:

        >>> page = "<html>blocked</html>"
        >>> rule = platform.add_fault(
        ...     kind="status", status=403, body=page, times=3, method="POST", path="/jobs"
        ... )
        >>> experiment.run_sampler([circuit])
        Traceback (most recent call last):
        ...
        session_block.errors.SubmissionNotSentError: ...
    """


class JobNotFoundError(SubmissionError):
    """The platform no longer knows a job that it had accepted.

    Examples:
        >>> job = sampler.run([circuit])
        >>> result = job.result()
        >>> experiment.service.delete_job(job.job_id())
        >>> job.metrics()  # the result is in the ledger
        Traceback (most recent call last):
        ...
        session_block.errors.JobNotFoundError: ...
    """


class JobFailedError(SubmissionError):
    """The job ended without a result, for a reason of its own.

    Examples:
        >>> failing = {"state": "failed", "reason": "Too warm.", "reason_code": 1517}
        >>> rule = platform.add_fault(kind="end_job", **failing)
        >>> try:
        ...     block.experiment("too-warm", fresh=True).run_sampler([circuit])
        ... except JobFailedError as error:
        ...     print(error.job_id is not None, error.code)
        True 1517
    """


class JobCancelledError(SubmissionError):
    """The job was cancelled.

    Examples:
        >>> queued_job.cancel()
        >>> queued_job.result()
        Traceback (most recent call last):
        ...
        session_block.errors.JobCancelledError: ...
    """


class JobEndedInPassingError(SubmissionError):
    """The job gave no result because its session ended, or because of a temporary failure.

    Making the request again is safe, and runs the job once more.

    Examples:
        >>> job = queued_job.reference(experiment.session_ref)
        >>> platform.end_session(experiment.session_id, by="max_time")
        >>> experiment.fetch_result(job)  # submit it again: it gets a new session
        Traceback (most recent call last):
        ...
        session_block.errors.JobEndedInPassingError: ...
    """


class JobWaitTimeoutError(SubmissionError, TimeoutError):
    """The wait timed out. The job itself continues, and can be waited for again.

    Examples:
        >>> queued_job.result(timeout=0.1)
        Traceback (most recent call last):
        ...
        session_block.errors.JobWaitTimeoutError: ...
        >>> queued_job.cancel()
    """
