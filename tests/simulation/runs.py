"""The programs of a world: what users write, killed and started again until they are over."""

from __future__ import annotations

import hashlib
import random
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
    ExperimentStoppedError,
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
from session_block.ledger.store import Ledger
from session_block.pubs.request import Request
from session_block.records import stops
from session_block.records.identity import Identity
from session_block.records.journal import Journal

from . import wire
from .ledgers import Disk
from .platform import INSTANCE
from .schedule import Killed
from .world import Machine, Process, World

MOST_ATTEMPTS = 40
RESTART_SECONDS = 300.0
QUICK_RESTART_SECONDS = 5.0

TRY_AGAIN = (
    ConnectionFailedError,
    LedgerUnavailableError,
    SubmissionNotSentError,
    SubmissionRejectedError,
    SubmissionHeldError,
    JobEndedInPassingError,
    SessionError,
)
"""After these errors a user, or Prefect, runs the program again."""


@dataclass(frozen=True)
class SimulatedRequest(Request):
    """A request that says no more than its content, for circuits cost time."""

    content: str = ""

    def fingerprint_by(self, version: int) -> str:
        """Return the digest of the content."""
        return hashlib.sha256(f"{version}/{self.content}".encode()).hexdigest()

    @property
    def registers(self) -> None:  # type: ignore[override]
        """It has none."""

    @property
    def like(self) -> Hashable:
        """All take equally long."""
        return "simulated"

    def check_faulty(self, backend: Any) -> None:
        """Nothing is faulty."""

    def check_isa(self, target: Any) -> None:
        """Everything fits."""

    def send(self, mode: Any, tags: Sequence[str]) -> Any:
        """Send it."""
        return wire.send(mode, self.content, list(tags))


def request(content: str, label: str | None = None) -> SimulatedRequest:
    """Make a request."""
    return SimulatedRequest("estimator", "v2", (), None, label, content=content)


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


@dataclass(frozen=True)
class Step:
    """One request of a program.

    Attributes:
        content: What it runs.
        follows: Whether what it runs depends on the result before, as an optimiser's does.
        label: The user's label.
    """

    content: str
    follows: bool = False
    label: str | None = None

    def asks(self, before: float) -> str:
        """Return what it runs after a result."""
        return f"{self.content}({before!r})" if self.follows else self.content


@dataclass
class Run:
    """One program of a world.

    Attributes:
        observed: The value that each step saw, in its first attempt to get that far.
        recorded_at: When each value was first seen, and so is recorded.
        stopped_at: When somebody stopped it; ``None`` if nobody did, or it goes on again.
        over: How it ended: ``done``, ``stopped``, ``failed``; empty while it goes on.
        uids: The UIDs of its experiment: several only if ledgers were lost.
        ledger_lost: Whether its ledger was lost, or replaced by an older copy.
        records_lost: Whether that was when nobody was left to bring its records back.
        twinned: Whether the client itself made a second job of one call.
    """

    world: World
    name: str
    steps: Sequence[Step]
    fields: dict[str, Any]
    disk: Disk
    machines: Sequence[Machine]
    resumes: bool
    observed: dict[int, float] = field(default_factory=dict)
    recorded_at: dict[float, float] = field(default_factory=dict)
    attempts: int = 0
    working: int = 0
    stopped_at: float | None = None
    was_stopped: bool = False
    ledger_lost: bool = False
    records_lost: bool = False
    twinned: bool = False
    job_failed: bool = False
    over: str = ""
    errors: list[str] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)
    processes: set[Process] = field(default_factory=set)

    def begin(self, delay: float = 0.0) -> None:
        """Start a process that works on the program."""
        self.attempts += 1
        self.working += 1
        world = self.world
        number = len(world.processes) + 1
        process = Process(
            world,
            name=f"{self.name}#{self.attempts}",
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
        with block.experiment(self.name) as experiment:
            self.uids.add(experiment.uid)
            value = 0.0
            for index, step in enumerate(self.steps):
                asked = step.asks(value)
                result = experiment._run(request(asked, step.label))
                value = float(result[0].data.evs)
                process.check_alive()
                self._observe(index, value)
            experiment.seal({"value": value})

    def _observe(self, index: int, value: float) -> None:
        first = self.observed.setdefault(index, value)
        # Which of two twins had been recorded is not known any more once the ledger is lost.
        if first != value and not (self.ledger_lost and self.twinned):
            self.world.breaks("P7", f"step {index} of {self.name} saw {first}, and then {value}")
        self.observed[index] = value
        self.recorded_at.setdefault(value, self.world.now)
        if value in [one for at, one in self.observed.items() if at != index]:
            self.world.breaks("P8", f"step {index} of {self.name} got another step's result")

    def _attend(self, error: BaseException | None) -> None:
        """Do what whoever watches the program does when a process of it has ended."""
        world = self.world
        if error is None:
            self.over = "done"
            return
        if self.over or self.working or world.exhausted:
            return  # another process works on it
        match error:
            case ExperimentStoppedError():
                if not self.was_stopped and not self.ledger_lost:
                    world.breaks("P4", f"{self.name} stopped, and nobody had stopped it")
                self._stopped()
            case JobFailedError() | JobCancelledError() if self.job_failed:
                self.over = "failed"
            case BudgetExceededError() if "max_jobs" in self.fields:
                self.over = "failed"
            case SessionClosedError() if self.fields.get("on_expiry") == "fail":
                self.over = "failed"
            case Killed():
                longest = world.random.choice([QUICK_RESTART_SECONDS, RESTART_SECONDS])
                self._again(longest * world.random.random())
            case _ if isinstance(error, TRY_AGAIN):
                self.errors.append(f"{type(error).__name__}: {error}")
                self._again(60.0 + RESTART_SECONDS * world.random.random())
            case _:
                world.breaks("P11", f"{self.name} ended with {type(error).__name__}: {error}")
                self.over = "failed"

    def _again(self, delay: float) -> None:
        if self.attempts >= MOST_ATTEMPTS:
            last = self.errors[-1] if self.errors else "it was killed"
            self.world.breaks("liveness", f"{self.name} is not over after 40 attempts: {last}")
            self.over = "stuck"
            return
        self.begin(delay)

    def _stopped(self) -> None:
        if not self.resumes:
            self.over = "stopped"
            return
        self.resumes = False
        world = self.world
        operator = Process(
            world, f"{self.name} operator", self.machines[0], 99, self.disk, spared=True
        )

        def resume() -> None:
            ledger = Ledger("simulated", operator.environment)
            for uid in sorted(self.uids):
                journal = Journal(ledger, uid)
                if stops.standing_stop(journal) is not None:
                    stops.resume(journal, Identity(self.name, 1, uid), "a person")
            self.stopped_at = None
            world.platform.raise_limit()
            world.say(operator.name, "resumes it")
            self.begin(10.0)

        world.start(operator, resume, 900.0)


def draw_steps(drawn: random.Random) -> list[Step]:
    """Draw a program: independent requests, equal ones, an optimiser's, some with labels."""
    kind = drawn.choice(["optimiser", "sweep", "equal", "mixed"])
    number = drawn.randint(2, 7)
    match kind:
        case "optimiser":
            return [Step("energy", follows=True) for _ in range(number)]
        case "sweep":
            return [Step(f"point {index}") for index in range(number)]
        case "equal":
            return [Step("the same") for _ in range(number)]
    return [
        Step(
            drawn.choice(["a", "b", "c"]),
            follows=drawn.random() < 0.3,
            label=f"label {index}" if drawn.random() < 0.3 else None,
        )
        for index in range(number)
    ]
