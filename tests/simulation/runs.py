"""The programs of a world: what users write, killed and started again until they are over."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import PrivateAttr, SecretStr

from session_block import QuantumSession
from session_block.blocks.credentials import IBMSessionCredentials
from session_block.client import Connection
from session_block.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    CrashLoopError,
    ExperimentDivergedError,
    ExperimentSealedError,
    ExperimentStoppedError,
    InvalidInputError,
    JobCancelledError,
    JobEndedInPassingError,
    JobFailedError,
    LedgerUnavailableError,
    SessionBlockError,
    SessionClosedError,
    SessionError,
    SubmissionHeldError,
    SubmissionNotSentError,
    SubmissionRejectedError,
)
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import Ledger
from session_block.pubs.request import Request
from session_block.records import stops
from session_block.records.identity import Identity
from session_block.records.journal import Journal

from . import wire
from .flow_runs import FlowRun
from .ledgers import Disk
from .platform import INSTANCE
from .programs import Body, Call, Key, Keys, Path, Program, Step, Threads, changed
from .schedule import Killed
from .seams import SimulatedThread, get_ident
from .world import Machine, Process, World

MOST_ATTEMPTS = 40
RESTART_SECONDS = 300.0
QUICK_RESTART_SECONDS = 5.0
AFTERWARDS = 20
"""How many more effects a flow has that has finished its experiment itself."""

TRY_AGAIN = (
    ConnectionFailedError,
    CrashLoopError,
    LedgerUnavailableError,
    SubmissionNotSentError,
    SubmissionRejectedError,
    SubmissionHeldError,
    JobEndedInPassingError,
    SessionError,
)
"""After these errors a user, or Prefect, runs the program again."""


@dataclass(frozen=True, kw_only=True)
class SimulatedRequest(Request):
    """A request that says no more than its content, for circuits cost time."""

    content: str

    @property
    def inputs(self) -> dict[str, Any]:
        """The content."""
        return {"content": self.content}

    def identity_by(self, version: int) -> str:
        """Return the digest of the content."""
        return hashlib.sha256(f"{version}/{self.content}".encode()).hexdigest()

    @property
    def like(self) -> Hashable:
        """All take equally long."""
        return "simulated"

    def send(self, mode: Any, tags: Sequence[str]) -> Any:
        """Send it."""
        return wire.send(mode, self.content, list(tags))


def request(content: str, label: str | None = None) -> SimulatedRequest:
    """Make a request."""
    return SimulatedRequest(
        kind="estimator", implementation="v2", options=None, label=label, content=content
    )


class SimulatedBlock(QuantumSession):
    """A Block whose ledger and connection are a simulated process's."""

    _block_type_name = "Simulated Session"
    _block_type_slug = "simulated-session"
    _process: Process = PrivateAttr()
    _ledger: Ledger = PrivateAttr()

    def ledger(self) -> Ledger:
        """Return the process's ledger."""
        return self._ledger

    def _connection(self, ledger: Ledger) -> Connection:
        return wire.SimulatedConnection(wire.account(self._process), ledger.environment)


@dataclass
class Run:
    """One program of a world.

    Attributes:
        title: Its name in the story.
        name: The name of its experiment, if it has one.
        body: What its program does in this chapter, as it stands now.
        chapter: How many chapters are over.
        flow_run: Its outermost flow run; ``None`` for a script.
        observed: The value that each request saw, in its first attempt to get that far.
        recorded_at: When each value was first seen, and so is recorded.
        stopped_at: When somebody stopped which experiment, unless it goes on again.
        over: How it ended: ``done``, ``stopped``, ``failed``; empty while it goes on.
        ended_at: When a process of it was done last.
        uids: The UIDs of its experiment: several only if ledgers were lost.
        ledger_lost: Whether its ledger was lost, or replaced by an older copy.
        lost_at: When that was last.
        records_lost: Whether that was when nobody was left to bring its records back.
        twinned: Whether the client itself made a second job of one call.
        changed_at: When its program was changed, if it is as it was changed.
        asked: What each process has asked for.
        places: The UIDs of the experiments that its flows opened, by their paths.
        cancelled_at: When somebody cancelled its flow run in Prefect.
        lent: The sessions of an owner who has left; whoever goes on borrows them.
        taken: The UID by which another owner goes on with it.
    """

    world: World
    title: str
    name: str
    program: Program
    fields: dict[str, Any]
    disk: Disk
    machines: Sequence[Machine]
    resumes: bool
    body: Body = ()
    chapter: int = 0
    flow_run: FlowRun | None = None
    observed: dict[Key, float] = field(default_factory=dict)
    recorded_at: dict[float, float] = field(default_factory=dict)
    attempts: int = 0
    working: int = 0
    stopped_at: dict[str, float] = field(default_factory=dict)
    was_stopped: bool = False
    ledger_lost: bool = False
    lost_at: float = 0.0
    records_lost: bool = False
    twinned: bool = False
    job_failed: bool = False
    over: str = ""
    ended_at: float = 0.0
    errors: list[str] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)
    processes: set[Process] = field(default_factory=set)
    changed_at: float | None = None
    asked: dict[str, list[str]] = field(default_factory=dict)
    places: dict[Path, set[str]] = field(default_factory=dict)
    cancelled_at: float | None = None
    lent: set[str] = field(default_factory=set)
    taken: str | None = None
    _current: dict[Process, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.body = self.program.body
        self._begin_chapter()

    @property
    def chapters(self) -> tuple[Body, ...]:
        """What the program does in each chapter."""
        return (self.program.body, *self.program.later)

    @property
    def _is_over_in_prefect(self) -> bool:
        state = None if self.flow_run is None else self.flow_run.state
        return state is not None and state.is_final() and not state.is_crashed()

    def experiment_of(self, process: Process) -> str | None:
        """Return the UID of the experiment that a process has opened last."""
        return self._current.get(process)

    def begin(self, delay: float = 0.0) -> None:
        """Start a process that works on the program."""
        self.attempts += 1
        self.working += 1
        world = self.world
        number = len(world.processes) + 1
        process = Process(
            world,
            name=f"{self.title}#{self.attempts}",
            machine=world.random.choice(list(self.machines)),
            pid=100 + number,
            disk=self.disk,
        )
        self.processes.add(process)
        world.start(process, lambda: self._work(process), delay)

    def _work(self, process: Process) -> None:
        process.began = self.world.now
        self.world.say(process.name, f"begins on {process.machine.name}")
        error: BaseException | None = None
        try:
            self._program(process)
        except Killed as killed:
            error = killed
            raise
        except SessionBlockError as failed:
            error = failed
            self.world.say(process.name, f"ends with {type(failed).__name__}: {failed}")
        except BaseException as failed:
            error = failed
            self.world.say(process.name, f"ends with {type(failed).__name__}: {failed}")
            raise
        finally:
            self.working -= 1
            process.alive = False
            self._attend(error)

    def _program(self, process: Process) -> None:
        block = SimulatedBlock(
            credentials=IBMSessionCredentials(
                token=SecretStr("simulated"), instance=INSTANCE, url=wire.URL
            ),
            **self.fields,
        )
        block._process = process
        block._ledger = Ledger("simulated", process.environment)
        run = self.flow_run
        if run is None:
            self._do(process, block, self.body, ())
            return
        prefect = self.world.prefect
        prefect.run(
            process,
            run,
            lambda: self._do(process, block, self.body, ()),
            elsewhere=TRY_AGAIN,
        )

    def _do(self, process: Process, block: SimulatedBlock, body: Body, path: Path) -> float:
        """Run the body of a flow or a script; return its last value."""
        name = self.name if self.program.named else None
        extend = self.chapter > 0
        with block.experiment(name, extend=extend, uid=self.taken) as experiment:
            self.uids.add(experiment.uid)
            self.places.setdefault(path, set()).add(experiment.uid)
            self._current[process] = experiment.uid
            keys, value = Keys(path), 0.0
            for index, one in enumerate(body):
                match one:
                    case Step():
                        value = self._ask(process, experiment, keys, one, value)
                    case Threads():
                        value = self._ask_at_once(process, experiment, keys, one, value)
                    case Call():
                        value = self._call(process, block, one, (*path, index))
                        self._current[process] = experiment.uid
            if self.flow_run is None:
                experiment.seal({"value": value})
            elif self.program.finishes:
                experiment.finish()
                for _ in range(AFTERWARDS):  # it goes on with something else
                    process.environment.pause(1.0)
        return value

    def _call(self, process: Process, block: SimulatedBlock, call: Call, path: Path) -> float:
        return self.world.prefect.call(
            process,
            call.flow,
            call.parameters,
            lambda: self._do(process, block, call.body, path),
            retries=call.retries,
            keep=call.keep,
        )

    def _ask(
        self, process: Process, experiment: Experiment, keys: Keys, step: Step, before: float
    ) -> float:
        asked = step.asks(before)
        key = keys.of(step, asked)
        self.asked.setdefault(process.name, []).append(asked)
        process.told.pop(get_ident(), None)  # of a request that failed: it is made again
        result = experiment._run(request(asked, step.label))
        value = float(result[0].data.evs)
        process.check_alive()
        self._check_told(process)
        self._observe(key, value)
        return value

    def known_jobs(self) -> set[str]:
        """Return the IDs of the jobs that the ledger knows, twins among them."""
        found = set()
        for fact in self.disk.facts.values():
            if fact.key.startswith("twin/"):
                found.add(fact.key.rpartition("/")[2])
            elif fact.key.startswith("outcome/") and fact.body.get("job_id"):
                found.add(fact.body["job_id"])
        return found

    def _check_told(self, process: Process) -> None:
        """Check that what a thread was told of is recorded once its request has returned."""
        told = set(process.told.pop(get_ident(), ()))
        if told - self.known_jobs() and not self.ledger_lost:
            self.world.breaks("P2", f"{self.title} returned, and did not record {sorted(told)}")

    def _ask_at_once(
        self, process: Process, experiment: Experiment, keys: Keys, several: Threads, value: float
    ) -> float:
        values: dict[int, float] = {}
        errors: list[Exception] = []

        def ask(index: int, step: Step) -> None:
            try:
                values[index] = self._ask(process, experiment, keys, step, value)
            except Exception as error:  # noqa: BLE001 - raised where they are waited for
                errors.append(error)

        threads = [
            SimulatedThread(ask, f"thread {index}", (index, step))
            for index, step in enumerate(several.steps)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process.check_alive()
        if errors:
            raise errors[0]
        return values[len(threads) - 1]

    def stop(self, process: Process) -> None:
        """Note that somebody stops the experiment that a process works on."""
        uid = self.experiment_of(process)
        if uid is not None:
            self.stopped_at[uid] = self.world.now
        self.was_stopped = True

    def change(self, share: float) -> None:
        """Change the program before its next attempt."""
        self.body = changed(self.program.body, share)
        self.changed_at = self.world.now
        self.world.say(self.title, f"is changed: {self.body}")

    def restore(self) -> None:
        """Let the program be as it was."""
        self.body, self.changed_at = self.program.body, None
        self.world.say(self.title, "is as it was")

    def take_over(self, uid: str) -> None:
        """Let another owner go on with the experiment, from a ledger of their own."""
        self.lent = {one.id for one in self.world.platform.sessions.values()}
        self.disk, self.taken = Disk(), uid
        self.fields["owner"] = "another owner"
        self.world.say(self.title, f"is taken over by another owner, uid={uid}")

    def _begin_chapter(self) -> None:
        self.body, self.cancelled_at = self.chapters[self.chapter], None
        flow = self.program.flow
        self.flow_run = None if flow is None else self.world.prefect.new_run(flow, {})

    def _observe(self, key: Key, value: float) -> None:
        first = self.observed.setdefault(key, value)
        # Which of two twins had been recorded is not known any more once the ledger is lost.
        if first != value and not (self.ledger_lost and self.twinned):
            self.world.breaks("P7", f"{key} of {self.title} saw {first}, and then {value}")
        self.observed[key] = value
        self.recorded_at.setdefault(value, self.world.now)
        if value in [one for at, one in self.observed.items() if at != key]:
            self.world.breaks("P8", f"{key} of {self.title} got another request's result")

    def _attend(self, error: BaseException | None) -> None:  # noqa: C901, PLR0912 - a table
        """Do what whoever watches the program does when a process of it has ended."""
        world = self.world
        if error is None:
            self._succeeded()
            return
        if self.over or self.working or world.exhausted:
            return  # another process works on it
        match error:
            case Killed() | SessionBlockError() if self.cancelled_at is not None:
                self._stopped()  # Prefect does not begin a cancelled run again by itself
            case _ if isinstance(error, (Killed, *TRY_AGAIN)) and self._is_over_in_prefect:
                self._stopped()  # another process has failed meanwhile
            case InvalidInputError() if "another owner" in str(error):
                self.name = f"{self.name} of mine"  # as the error advises
                self._again(60.0, by_a_person=True)
            case InvalidInputError() if self.taken and "run again in a minute" in str(error):
                self._again(60.0, by_a_person=True)
            case ExperimentStoppedError():
                if not self.was_stopped and not self.ledger_lost:
                    world.breaks("P4", f"{self.title} stopped, and nobody had stopped it")
                self._stopped()
            case ExperimentDivergedError() | ExperimentSealedError() if self.changed_at is not None:
                self.restore()
                self._again(60.0, by_a_person=True)
            case ExperimentDivergedError() if self.ledger_lost and self.chapter:
                self.over = "failed"  # what earlier chapters are was lost, as the error says
            case ExperimentDivergedError() if self.ledger_lost and self.twinned:
                self.over = "failed"  # which of two twins had given its result was lost
            case JobFailedError() | JobCancelledError() if self.job_failed:
                self.over = "failed"
            case BudgetExceededError() if "max_jobs" in self.fields:
                self.over = "failed"
            case SessionClosedError() if self.taken:
                self.fields["on_expiry"] = "reopen"  # as the error advises
                self._again(60.0, by_a_person=True)
            case SessionClosedError() if self.fields.get("on_expiry") == "fail":
                self.over = "failed"
            case Killed():
                longest = world.random.choice([QUICK_RESTART_SECONDS, RESTART_SECONDS])
                self._again(longest * world.random.random())
            case _ if isinstance(error, TRY_AGAIN):
                self.errors.append(f"{type(error).__name__}: {error}")
                self._again(60.0 + RESTART_SECONDS * world.random.random())
            case _:
                world.breaks("P11", f"{self.title} ended with {type(error).__name__}: {error}")
                self.over = "failed"

    def _succeeded(self) -> None:
        self.ended_at = self.world.now
        if self.over or self.chapter + 1 == len(self.chapters):
            self.over = "done"
        elif not self.working:
            self.chapter += 1
            self._begin_chapter()
            self.begin(10.0)

    def _again(self, delay: float, *, by_a_person: bool = False) -> None:
        if self.attempts >= MOST_ATTEMPTS:
            last = self.errors[-1] if self.errors else "it was killed"
            self.world.breaks("liveness", f"{self.title} is not over after 40 attempts: {last}")
            self.over = "stuck"
            return
        if self.flow_run is not None:
            self.world.prefect.begin_anew(self.flow_run, by_a_person=by_a_person)
        self.begin(delay)

    def _stopped(self) -> None:
        if not self.resumes:
            self.over = "stopped"
            return
        self.resumes = False
        world = self.world
        operator = Process(
            world, f"{self.title} operator", self.machines[0], 99, self.disk, spared=True
        )

        def resume() -> None:
            ledger = Ledger("simulated", operator.environment)
            in_prefect = self.flow_run is not None and world.random.random() < 0.5
            for uid in [] if in_prefect else sorted(self.uids):
                journal = Journal(ledger, uid)
                if stops.standing_stop(journal) is not None:
                    stops.resume(journal, Identity(self.name, 1, uid), "a person")
            self.stopped_at.clear()
            self.cancelled_at = None
            world.platform.raise_limit()
            world.say(operator.name, "resumes it")
            self._again(10.0, by_a_person=True)

        world.start(operator, resume, 900.0)
