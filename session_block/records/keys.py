"""Define the kinds of facts: their names and what they say. Keys are spelled only here.

Facts are read for ever. So a kind is never renamed, a field never changes its meaning, and a new
field has a default that is right for older facts without it. ``tests/records`` pins the complete
set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote, unquote

from session_block.errors import LedgerError
from session_block.ledger.store import Fact
from session_block.records.versions import Versions
from session_block.references import ExecutionMode, Implementation, SessionMode

SessionKind = Literal["opened", "borrowed", "lost", "refused"]
OutcomeKind = Literal["job", "rejected", "abandoned"]
StopCause = Literal["cancelled", "closed", "ended early", "lender", "cost limit"]
"""What stopped an experiment: a person with our tools (it was cancelled, or its session closed), or
what the platform shows of its session: ended early, by the lender, or by the cost limit."""

NAMES = "@names"
"""The pseudo-experiment whose facts say which UIDs a name has had."""

NOISE = "@noise"
"""The pseudo-experiment whose facts say which noise models have been learned, and by whom."""

BLOCKS = "@blocks"
"""The pseudo-experiment whose facts are what Blocks said when they opened experiments."""
CHARGES = "@charges"
"""The pseudo-experiment whose facts say what finished jobs were charged, by kind."""

_AROUND = frozenset({"recorded_at", "payload"})


def _place(digits: int = 0) -> Any:
    """Make a field that is part of the key; pad numbers if keys must sort in numeric order."""
    return field(metadata={"digits": digits})


def _if_set(default: Any = None, *, written_as: str | None = None) -> Any:
    """Make a field that is written only if it differs from its default, maybe by an older name."""
    return field(default=default, metadata={"if_set": True, "written_as": written_as})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fact. Fields made by ``_place`` form its key; the others form its body.

    Attributes:
        recorded_at: When it was recorded, by its writer's clock; ``None`` until then.
        payload: The bytes that it holds beside its body; ``None`` if there are none or if the fact
            was read without them.
    """

    KIND: ClassVar[str]

    recorded_at: datetime | None = field(default=None, compare=False, repr=False)
    payload: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def fact_key(self) -> str:
        """The fact's key."""
        return self.prefix(*[getattr(self, one.name) for one in _layout(type(self)).place])

    @property
    def fact_body(self) -> dict[str, Any]:
        """The fact's body, as JSON values."""
        body = {}
        for one in _layout(type(self)).contents:
            value = getattr(self, one.name)
            if one.if_set and value == one.default:
                continue
            nested = isinstance(value, Sender | Asker)
            body[one.written_as] = asdict(value) if nested else value
        return body

    @classmethod
    def prefix(cls, *place: object) -> str:
        """Return the prefix of this kind's keys at a place given in part; the key if in full."""
        own = _layout(cls).place
        parts = [cls.KIND]
        for value, one in zip(place, own, strict=False):
            parts.append(f"{value:0{one.digits}d}" if one.is_number else quote(str(value), safe=""))
        if len(place) < len(own):
            parts.append("")
        return "/".join(parts)

    @classmethod
    def of(cls, fact: Fact) -> Self:
        """Return the typed record of a fact of this kind.

        Raises:
            LedgerError: A field is missing or not valid.
        """
        layout = _layout(cls)
        texts = fact.key.removeprefix(f"{cls.KIND}/").split("/") if layout.place else []
        try:
            given: dict[str, Any] = {
                one.name: int(text) if one.is_number else unquote(text)
                for one, text in zip(layout.place, texts, strict=True)
            }
            given |= cls._read_body(fact.body)
            return cls(**given, recorded_at=fact.created_at, payload=fact.payload)
        except (TypeError, ValueError) as error:
            raise LedgerError(
                f"Fact {fact.key!r} of experiment {fact.experiment} is not a {cls.__name__} that "
                f"this version can read ({error}). Was the ledger written by a newer version? "
                "Upgrade prefect-quantum-sessions.",
                experiment=fact.experiment,
            ) from error

    @classmethod
    def _read_body(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        names = _layout(cls).names
        return {names[name]: value for name, value in body.items() if name in names}


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who carries out an intent: one attempt, in one process, on one machine.

    Attributes:
        token: The attempt's ID.
        machine: Host name, machine ID and, on Linux, PID namespace: where process IDs are unique.
            Older versions did not write the namespace, so nobody is in the same place as theirs.
        boot: The boot's ID, because process IDs are unique only within one boot.
        pid: The process ID.
        started: When the process began, so that a reused process ID is recognised.
    """

    token: str
    machine: str
    boot: str
    pid: int
    started: float | None


@dataclass(frozen=True, kw_only=True)
class Asker:
    """The flow run that makes a request of an experiment which others of its tree may share.

    Attributes:
        run: The ID of the outermost flow run.
        path: The digest of the calls of subflows down to it; empty in the outermost run itself.
        call: The same calls as Prefect counts them, whatever their parameters.
    """

    run: str
    path: str
    call: str


@dataclass(frozen=True)
class Place:
    """Where jobs are sent and looked up.

    Attributes:
        backend: The backend's name.
        instance: The instance's CRN.
        url: The platform's URL.
    """

    backend: str
    instance: str | None
    url: str | None


@dataclass(frozen=True, kw_only=True)
class ExperimentBegan(Kind):
    """The first fact of an experiment.

    Attributes:
        backend: The backend that its Block named; ``None`` for the least busy one.
        identity_version: The version of the rule that recognises the experiment.
        fingerprint_version: The version of the rule that recognises its requests.
        tags_version: The version of its jobs' tag grammar.
        family: The family of primitives that it began with.
        block: The saved Block that opened it; ``None`` if it was not saved as it was.
        account: The Block's account, without secrets; ``None`` if an older version began it.
        instance: The Block's instance.
        mode: The Block's execution mode; ``None`` if an older version began it.
        opened_in: The flows between the outermost flow run and the opening, in words.
        owner: Digest of its owner, if the Block named one, or if it was another owner's when it was
            taken; see :func:`session_block.tags.owner_digest`.
        taken: It was another owner's, and was taken by its UID.
    """

    KIND = "experiment"

    name: str
    number: int
    backend: str | None
    identity_version: int = 1
    fingerprint_version: int = 1
    tags_version: int = 1
    family: Implementation = "v2"
    block: str | None = _if_set()
    account: str | None = _if_set()
    instance: str | None = _if_set()
    mode: ExecutionMode | None = _if_set()
    opened_in: str | None = _if_set()
    owner: str | None = _if_set()
    taken: bool = _if_set(default=False)

    @property
    def versions(self) -> Versions:
        """The versions of the rules that recognise the experiment, fixed for life."""
        return Versions(self.identity_version, self.fingerprint_version, self.tags_version)


@dataclass(frozen=True, kw_only=True)
class Sealed(Kind):
    """The experiment is finished; its body is the report."""

    KIND = "sealed"

    report: Mapping[str, Any]

    @property
    def fact_body(self) -> dict[str, Any]:
        """The report itself."""
        return dict(self.report)

    @classmethod
    def _read_body(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"report": body}


@dataclass(frozen=True, kw_only=True)
class ChapterOpened(Kind):
    """A finished experiment goes on: its next chapter is open.

    Attributes:
        chapter: Its number; the first chapter, which begins with the experiment, has no such fact.
        flow_run_id: The outermost flow run that opened it; ``None`` outside a flow run.
    """

    KIND = "chapter"

    chapter: int = _place(6)
    flow_run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChapterOfRun(Kind):
    """The chapter that a call with ``extend`` goes on with, in each attempt of its flow run.

    Attributes:
        flow_run_id: The outermost flow run.
        path: The calls of subflows down to it; see :class:`Asker`.
        number: Which of such calls of that flow it is, counted from 1.
    """

    KIND = "chapter-of-run"

    flow_run_id: str = _place()
    path: str = _place()
    number: int = _place()
    chapter: int


@dataclass(frozen=True, kw_only=True)
class ChapterSealed(Sealed):
    """A later chapter is finished; its body is the report."""

    KIND = "chapter-sealed"

    chapter: int = _place(6)


@dataclass(frozen=True, kw_only=True)
class ProblemStated(Kind):
    """What the experiment is about; another problem is refused.

    Attributes:
        problem: A JSON value.
    """

    KIND = "problem"

    problem: Any


@dataclass(frozen=True, kw_only=True)
class BackendChosen(Kind):
    """The backend of all jobs, and why it was chosen."""

    KIND = "backend"

    name: str
    use_fractional_gates: bool | None
    calibration_id: str | None
    instance: str | None
    because: str


@dataclass(frozen=True, kw_only=True)
class ModeChosen(Kind):
    """The execution mode that replaced the Block's, and why."""

    KIND = "execution-mode"

    mode: ExecutionMode
    because: str


@dataclass(frozen=True, kw_only=True)
class CalibrationSeen(Kind):
    """The calibration that the experiment began with, as ISO 8601."""

    KIND = "calibration"

    calibrated_at: str | None


@dataclass(frozen=True, kw_only=True)
class AttemptBegan(Kind):
    """An attempt began: the experiment was opened.

    Attributes:
        results: How many results were recorded then.
        limited: Whether it counts against the limit of attempts without progress.
        stopped: Whether it was stopped at once because the limit was reached.
        flow_run_id: The outermost flow run; ``None`` outside a flow run, or if the experiment
            belongs to one place of the run.
        flow_run_attempt: The number of that run's attempt, whose openings share the experiment.
        chapter: The experiment's chapter then.
        sender: Which process makes it; ``None`` if an older version began it.
    """

    KIND = "attempt"

    attempt: int = _place(6)
    results: int
    limited: bool
    stopped: bool
    flow_run_id: str | None = _if_set()
    flow_run_attempt: int | None = _if_set()
    chapter: int = _if_set(default=1)
    sender: Sender | None = _if_set()

    def __post_init__(self) -> None:
        _make_sender(self)


@dataclass(frozen=True, kw_only=True)
class AttemptFailed(Kind):
    """An attempt failed; its session is kept for ``keep_seconds`` for the next one."""

    KIND = "failed"

    attempt: int = _place(6)
    keep_seconds: int


@dataclass(frozen=True, kw_only=True)
class AttemptLeft(Kind):
    """An attempt ended without an error, and does not need the session any more."""

    KIND = "left"

    attempt: int = _place(6)


@dataclass(frozen=True, kw_only=True)
class SessionIntent(Kind):
    """A session or batch is wanted.

    Attributes:
        mode: ``session`` or ``batch``; ``None`` if the ledger had lost it.
        sender: Who opens it; ``None`` if none is opened.
        borrowed: The ID of the session that is joined instead.
        restored: The ledger had lost it.
    """

    KIND = "session-intent"

    number: int = _place()
    backend: str
    instance: str | None
    url: str | None
    mode: SessionMode | None = _if_set()
    max_time_seconds: int | None
    sender: Sender | None = _if_set(written_as="owner")
    borrowed: str | None = _if_set()
    restored: bool = _if_set(default=False)

    def __post_init__(self) -> None:
        _make_sender(self)


@dataclass(frozen=True, kw_only=True)
class SessionOutcome(Kind):
    """What came of a session's intent."""

    KIND = "session"

    number: int = _place()
    kind: SessionKind
    session_id: str | None = _if_set()
    restored: bool = _if_set(default=False)


@dataclass(frozen=True, kw_only=True)
class SessionClosing(Kind):
    """The experiment is about to close a session."""

    KIND = "session-closing"

    number: int = _place()
    reason: str


@dataclass(frozen=True, kw_only=True)
class SessionClosingAgain(SessionClosing):
    """The experiment is about to close a session once more: the time before, it did not close.

    Attributes:
        again: Counted from 1.
    """

    KIND = "session-closing-again"

    again: int = _place()


@dataclass(frozen=True, kw_only=True)
class SessionEnded(Kind):
    """A session is over."""

    KIND = "session-end"

    number: int = _place()
    session_id: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stopped(Kind):
    """A person or the cost limit stopped the experiment: nothing is bought until it is resumed.

    Attributes:
        number: Counted from 1; the next one can come only after this one was lifted.
        cause: Who or what stopped it.
        because: The same for people, with what the platform says.
        session_id: The session that ended or is to be closed; ``None`` if there was none.
        jobs: The IDs of its jobs that had no recorded result then.
        charged_seconds: What the session had been charged; ``None`` if the platform was not asked.
    """

    KIND = "stopped"

    number: int = _place(6)
    cause: StopCause
    because: str
    session_id: str | None = _if_set()
    jobs: Sequence[str]
    charged_seconds: float | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class Resumed(Kind):
    """Somebody lifted a stop.

    Attributes:
        number: The number of the stop.
        by: Who or what: a person, a flow run that Prefect was told to go on with, or ``on_stop``.
        told_at: When Prefect was told so, by its clock, in seconds since the epoch; ``None`` if
            nobody told it, or if an older version recorded it. What is cancelled later is a new
            stop, also before this was recorded.
    """

    KIND = "resumed"

    number: int = _place(6)
    by: str
    told_at: float | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class Intent(Kind):
    """One generation of a submission is about to be sent.

    Attributes:
        fingerprint: The request's fingerprint; ``None`` if the ledger had lost it.
        occurrence: Which of several equal requests it is; ``None`` if the ledger had lost it.
        label: The user's label, or ``None``; ``?`` if the ledger had lost it.
        concurrent: Whether several threads or tasks made requests.
        kind: ``sampler``, ``estimator``, or the platform's name of another program; ``None`` if
            the ledger had lost it.
        tag: The job's whole tag.
        sender: Who sends it; ``None`` if the job was sent before this fact was recorded.
        registers: The names of the registers of each PUB's circuit, if an equal request may have
            others; ``None`` also if the ledger had lost them.
        asker: Which flow run asked for it; ``None`` if no other can share the experiment, or if it
            is unknown.
        chapter: The experiment's chapter then.
        task_run: ID of the Prefect task run that asked for it; empty if none did; ``None`` if that
            is unknown.
        part: For a part of a request that takes several jobs: its number, counted from 1, and how
            many there are.
        adopted: It was recorded for a job that appeared after all.
        restored: The ledger had lost it.
        level: The resilience level, where the job's cost was estimated.
        executions: How often its circuits run, by the estimate; ``None`` if there is none.
        execution_seconds: How long these take.
        expected_seconds: What it was expected to be charged, and both ends of the interval.
    """

    KIND = "intent"

    submission: str = _place()
    generation: int = _place()
    fingerprint: str | None
    occurrence: int | None
    label: str | None
    concurrent: bool
    kind: str | None = _if_set()
    implementation: Implementation | None = _if_set()
    backend: str
    instance: str | None
    url: str | None
    session_id: str | None
    calibrated_at: str | None = _if_set()
    tag: str
    sender: Sender | None = _if_set(written_as="owner")
    registers: Sequence[Sequence[str]] | None = _if_set()
    asker: Asker | None = _if_set()
    chapter: int = _if_set(default=1)
    task_run: str | None = _if_set()
    part: Sequence[int] | None = _if_set()
    adopted: bool = _if_set(default=False)
    restored: bool = _if_set(default=False)
    level: int | None = _if_set()
    executions: int | None = _if_set()
    execution_seconds: float | None = _if_set()
    expected_seconds: Sequence[float] | None = _if_set()

    def __post_init__(self) -> None:
        _make_sender(self)
        if isinstance(self.asker, Mapping):
            object.__setattr__(self, "asker", Asker(**self.asker))


@dataclass(frozen=True, kw_only=True)
class AskerFound(Kind):
    """A flow run asked again for a submission whose asker was lost with the ledger.

    Attributes:
        fingerprint: What it asked for, which was lost too.
    """

    KIND = "asker"

    submission: str = _place()
    asker: Asker
    fingerprint: str

    def __post_init__(self) -> None:
        if isinstance(self.asker, Mapping):
            object.__setattr__(self, "asker", Asker(**self.asker))


@dataclass(frozen=True, kw_only=True)
class Outcome(Kind):
    """What came of one generation: a job, a rejection, or neither.

    Attributes:
        kind: ``job``, ``rejected`` or ``abandoned``.
        job_id: The job, if there is one.
        cause: A rejection's cause: ``budget``, ``session-closed``, ``for-now``, or another.
        status: A rejection's HTTP status; ``None`` if nothing was sent.
        message: A rejection's message.
        adopted: The job was found at the platform, not just made.
        restored: The ledger had lost it.
        by: ``operator`` if an operator decided it.
    """

    KIND = "outcome"

    submission: str = _place()
    generation: int = _place()
    kind: OutcomeKind
    job_id: str | None = _if_set()
    cause: str | None = _if_set()
    status: int | None = _if_set()
    message: str | None = _if_set()
    adopted: bool = _if_set(default=False)
    restored: bool = _if_set(default=False)
    by: str | None = _if_set()

    @property
    def fact_body(self) -> dict[str, Any]:
        """The body; a rejection's status is written even if it is ``None``."""
        status = {"status": self.status} if self.kind == "rejected" else {}
        return {**super().fact_body, **status}

    @classmethod
    def of_job(
        cls, submission: str, generation: int, job_id: str, *, adopted: bool = False
    ) -> Self:
        """Return the outcome of a generation that made a job."""
        return cls(
            submission=submission,
            generation=generation,
            kind="job",
            job_id=job_id,
            adopted=adopted,
        )

    @classmethod
    def abandoned(cls, submission: str, generation: int, *, restored: bool = False) -> Self:
        """Return the outcome of a generation without a known job."""
        return cls(
            submission=submission, generation=generation, kind="abandoned", restored=restored
        )

    @property
    def made_job(self) -> bool:
        """Whether the generation made a job."""
        return self.kind == "job"


@dataclass(frozen=True, kw_only=True)
class JobEnded(Kind):
    """A generation's job gave no result, and never will."""

    KIND = "ended"

    submission: str = _place()
    generation: int = _place()
    because: str


@dataclass(frozen=True, kw_only=True)
class Hold(Kind):
    """A generation waits for an operator."""

    KIND = "hold"

    submission: str = _place()
    generation: int = _place()
    because: str
    job_id: str | None


@dataclass(frozen=True, kw_only=True)
class DrawnProgram(Kind):
    """What the client sends for a submission, drawn at random once; the payload is its inputs.

    Attributes:
        circuits: Digest of the circuits as they are sent.
    """

    KIND = "drawn"

    submission: str = _place()
    circuits: str = _place()


@dataclass(frozen=True, kw_only=True)
class Twin(Kind):
    """A job was surplus: its submission already had one."""

    KIND = "twin"

    submission: str = _place()
    job_id: str = _place()
    fate: str


@dataclass(frozen=True, kw_only=True)
class Result(Kind):
    """A submission has a result, which is the payload.

    Attributes:
        program: The platform's name of the program whose own text the payload is; ``None`` for a
            primitive's result, which is recorded as it was first returned.
        made_with: The versions of what made the result out of bits, if that was the client.
    """

    KIND = "result"

    submission: str = _place()
    job_id: str
    program: str | None = _if_set()
    made_with: Mapping[str, str] | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class RawResult(Kind):
    """The platform's own text of a job's result, which is the payload; kept if the Block says so.

    Attributes:
        program: The platform's name of the program.
    """

    KIND = "raw"

    submission: str = _place()
    job_id: str
    program: str


@dataclass(frozen=True, kw_only=True)
class NoiseLearned(Kind):
    """A noise model was learned, and its owner's other experiments may take it.

    Attributes:
        model: Digest of what it is a model of, and for whom.
        uid: The experiment that learned it.
        submission: The submission whose result it is.
        name: The experiment's name.
        job_id: The job that learned it.
        learned_at: When that job ended, as ISO 8601, by the platform's clock.
        calibrated_at: The backend's calibration then, as ISO 8601; ``None`` if it is not known.
    """

    KIND = "noise"

    model: str = _place()
    uid: str = _place()
    submission: str = _place()
    name: str
    job_id: str
    learned_at: str
    calibrated_at: str | None


@dataclass(frozen=True, kw_only=True)
class NoiseModelTaken(Kind):
    """The noise model that a request of this experiment was answered with, and always will be.

    Attributes:
        submission: The request's ID. Only if the experiment learned the model for it, there is such
            a submission.
        fingerprint: The request's fingerprint.
        occurrence: Which of several equal requests it is; 1 if it has a label.
        model: As :class:`NoiseLearned` says it, and so are the fields down to ``calibrated_at``.
        source: The submission whose result the model is.
        age_seconds: How old it was when it was taken.
        asker: The flow run that asked, if others may ask of the same experiment.
        chapter: The chapter in which it was taken.
        labelled: Whether the request has a label.
    """

    KIND = "noise-model"

    submission: str = _place()
    fingerprint: str
    occurrence: int
    model: str
    uid: str
    source: str
    name: str
    job_id: str
    learned_at: str
    calibrated_at: str | None
    age_seconds: float
    asker: Asker | None = _if_set()
    chapter: int = _if_set(default=1)
    labelled: bool = _if_set(default=False)

    def __post_init__(self) -> None:
        if isinstance(self.asker, Mapping):
            object.__setattr__(self, "asker", Asker(**self.asker))


@dataclass(frozen=True, kw_only=True)
class FinalJobUsage(Kind):
    """The final usage of a job.

    Attributes:
        began_at: When it began to run, as ISO 8601, by the platform's clock; ``None`` if that is
            not known.
        ended_at: When it ended.
    """

    KIND = "usage"

    job_id: str = _place()
    seconds: float
    began_at: str | None = _if_set()
    ended_at: str | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class JobCharged(Kind):
    """What a finished job of the family ``executor`` was charged; later estimates learn from it.

    Attributes:
        program: The platform's name of the program that was asked for.
        level: The resilience level; 0 for programs without one.
        backend: The backend's name.
        url: The platform's URL.
        executions: How often its circuits ran.
        execution_seconds: How long these were estimated to take.
        seconds: The charge.
    """

    KIND = "charged"

    program: str = _place()
    level: int = _place()
    backend: str = _place()
    url: str = _place()
    job_id: str = _place()
    executions: int
    execution_seconds: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class FinalSessionUsage(Kind):
    """The final usage of a session."""

    KIND = "usage-of-session"

    number: int = _place()
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SubmissionDeed(Kind):
    """What an operator did to a generation."""

    KIND = "operator"

    submission: str = _place()
    generation: int = _place()
    verb: str = _place()
    deed: str
    by: str


@dataclass(frozen=True, kw_only=True)
class SessionDeed(Kind):
    """What an operator did to a session."""

    KIND = "operator/session"

    session_id: str = _place()
    verb: str = _place()
    deed: str
    by: str


@dataclass(frozen=True, kw_only=True)
class Draw(Kind):
    """A value that was drawn once.

    Attributes:
        digest: The digest of the user's key; see :meth:`digest_of`.
        key: The user's key.
        value: The drawn value, as a JSON value.
    """

    KIND = "once"

    digest: str = _place()
    key: str
    value: Any

    @staticmethod
    def digest_of(key: str) -> str:
        """Return the digest of a user's key, which itself may be too long for a fact's key."""
        return hashlib.sha256(key.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class PinnedCircuit(Kind):
    """The ISA circuit for one of the user's circuits, as QPY in the payload.

    Attributes:
        circuit: The digest of the user's circuit and of its transpilation settings.
        pin: 1 for the first one, higher for its replacements.
    """

    KIND = "circuit"

    circuit: str = _place()
    pin: int = _place(3)
    name: str
    backend: str
    optimization_level: int
    seed_transpiler: int


@dataclass(frozen=True, kw_only=True)
class CircuitFits(Kind):
    """A circuit fitted the backend without transpilation."""

    KIND = "fits"

    circuit: str = _place()
    name: str


@dataclass(frozen=True, kw_only=True)
class NameGiven(Kind):
    """An experiment that a name stands for.

    Attributes:
        place: Its position in the ledger's list for the name.
        number: Its number among experiments of the name; higher than ``place`` if the ledger lost
            earlier ones.
        lost: The ledger had lost it; it was found by its jobs at the platform.
        versions: The versions of the rules that recognise its jobs (identity rule, fingerprint,
            tags), if they were read from the jobs' tags.
        family: Its family of primitives, if that was told from its jobs.
        taken_from: Digest of the other owner whose it was when it was taken by its UID.
    """

    KIND = "name"

    name: str = _place()
    place: int = _place()
    uid: str
    number: int
    lost: bool = False
    versions: list[int] | None = _if_set()
    family: Implementation | None = _if_set()
    taken_from: str | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class OpenedByRun(Kind):
    """The experiment that an outermost flow run opened by a name, and always opens by it.

    Attributes:
        paths: For an experiment without a name, the calls of subflows on the way to where it was
            opened; see :class:`session_block.records.places.RunPlace`.
        family: As :class:`NameGiven` says it, and so is ``taken_from``.
    """

    KIND = "run"

    flow_run_id: str = _place()
    name: str = _place()
    uid: str
    number: int
    lost: bool = False
    versions: list[int] | None = _if_set()
    family: Implementation | None = _if_set()
    paths: Sequence[str] | None = _if_set()
    taken_from: str | None = _if_set()


@dataclass(frozen=True, kw_only=True)
class SubflowCalled(Kind):
    """A flow run called a subflow, which opened an experiment or called a subflow that did.

    Attributes:
        parent: The caller's place; see :mod:`session_block.records.places`.
        flow: The called flow.
        number: The position in the list of these calls.
        call: Which of the caller's calls it is, as Prefect counts them: alike in every attempt.
        attempt: The ID of the caller's attempt.
        digest: The digest of all parameters, or of the user's key instead.
        parameters: The digest of each parameter, by its name.
        rank: The call's rank among equal ones, counted from 1.
        concurrent: Whether other calls of the caller were running.
    """

    KIND = "subflow"

    parent: str = _place()
    flow: str = _place()
    number: int = _place(6)
    call: str
    attempt: str
    digest: str
    parameters: Mapping[str, str]
    rank: int
    concurrent: bool = _if_set(default=False)


@dataclass(frozen=True, kw_only=True)
class BudgetMember(Kind):
    """An experiment counts against a Block's limits."""

    KIND = "member"

    uid: str = _place()


@dataclass(frozen=True, kw_only=True)
class Ticket(Kind):
    """A number of the job quota was given to one generation.

    Attributes:
        ticket: The number, counted from 1.
        holder: The generation, as experiment, submission and generation number.
    """

    KIND = "ticket"

    ticket: int = _place(9)
    holder: str


@dataclass(frozen=True, kw_only=True)
class TicketVoid(Kind):
    """The holder of a number of the job quota made no job."""

    KIND = "ticket-void"

    ticket: int = _place(9)


@dataclass(frozen=True, kw_only=True)
class BlockCopy(Kind):
    """What a saved Block says, without its secrets, for commands that reach no Prefect server.

    Attributes:
        block: The name under which it is saved.
        number: Counted from 1; the highest is the latest.
        credentials_type: Prefect's slug for the type of its credentials.
        credentials: The fields of its credentials, as JSON values.
        settings: Its own fields, as JSON values.
        left_out: The secret fields that it had.
    """

    KIND = "block"

    block: str = _place()
    number: int = _place(6)
    credentials_type: str
    credentials: Mapping[str, Any]
    settings: Mapping[str, Any]
    left_out: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Written(Kind):
    """The doctor has written to the ledger."""

    KIND = "written"

    token: str = _place()


KINDS: tuple[type[Kind], ...] = (
    ExperimentBegan,
    Sealed,
    ChapterOpened,
    ChapterOfRun,
    ChapterSealed,
    ProblemStated,
    BackendChosen,
    ModeChosen,
    CalibrationSeen,
    AttemptBegan,
    AttemptFailed,
    AttemptLeft,
    SessionIntent,
    SessionOutcome,
    SessionClosing,
    SessionClosingAgain,
    SessionEnded,
    Stopped,
    Resumed,
    Intent,
    AskerFound,
    Outcome,
    JobEnded,
    Hold,
    DrawnProgram,
    Twin,
    Result,
    RawResult,
    NoiseLearned,
    NoiseModelTaken,
    FinalJobUsage,
    JobCharged,
    FinalSessionUsage,
    SubmissionDeed,
    SessionDeed,
    Draw,
    PinnedCircuit,
    CircuitFits,
    NameGiven,
    OpenedByRun,
    SubflowCalled,
    BudgetMember,
    Ticket,
    TicketVoid,
    BlockCopy,
    Written,
)
"""All kinds of facts."""

SubmissionFact = Intent | Outcome | JobEnded | Hold | Result | Twin
"""The facts about one submission."""

SessionFact = SessionIntent | SessionOutcome | SessionClosing | SessionClosingAgain | SessionEnded
"""The facts about one session of an experiment."""

_BY_KIND = {one.KIND: one for one in KINDS}


def kind_of(key: str) -> type[Kind] | None:
    """Return the kind that a key belongs to; ``None`` for a kind of a newer version."""
    head, _, rest = key.partition("/")
    longer = f"{head}/{rest.partition('/')[0]}"
    return _BY_KIND.get(longer) or _BY_KIND.get(head)


def typed(fact: Fact) -> Kind | None:
    """Return the typed record of a fact; ``None`` for a kind of a newer version.

    Raises:
        LedgerError: A field is missing or not valid.
    """
    kind = kind_of(fact.key)
    return None if kind is None else kind.of(fact)


@dataclass(frozen=True)
class _Field:
    """A field of a kind.

    Attributes:
        is_number: Whether it is an integer.
        digits: How many digits a number in a key is padded to; 0 for no padding.
        if_set: Whether it is written only if it differs from its default.
        written_as: Its name in the ledger.
    """

    name: str
    default: object
    is_number: bool
    digits: int
    if_set: bool
    written_as: str


@dataclass(frozen=True)
class _Layout:
    """A kind's fields.

    Attributes:
        place: The fields in its key.
        contents: The fields in its body.
        names: The names of the body's fields, by their names in the ledger.
    """

    place: tuple[_Field, ...]
    contents: tuple[_Field, ...]
    names: Mapping[str, str]


_LAYOUTS: dict[type[Kind], _Layout] = {}


def _layout(kind: type[Kind]) -> _Layout:
    """Return the layout of a kind; cached, because every fact that is read needs it."""
    found = _LAYOUTS.get(kind)
    if found is None:
        own = [one for one in fields(kind) if one.name not in _AROUND]
        place = tuple(_field(one) for one in own if "digits" in one.metadata)
        contents = tuple(_field(one) for one in own if "digits" not in one.metadata)
        found = _Layout(place, contents, {one.written_as: one.name for one in contents})
        _LAYOUTS[kind] = found
    return found


def _field(one: Field[Any]) -> _Field:
    return _Field(
        name=one.name,
        default=one.default,
        is_number=one.type == "int",
        digits=one.metadata.get("digits", 0),
        if_set="if_set" in one.metadata,
        written_as=one.metadata.get("written_as") or one.name,
    )


def _make_sender(fact: AttemptBegan | SessionIntent | Intent) -> None:
    if isinstance(fact.sender, Mapping):
        object.__setattr__(fact, "sender", Sender(**fact.sender))
