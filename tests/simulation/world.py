"""A world: machines, processes, ledgers and a platform, in which a seed decides everything."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from urllib3.exceptions import ProtocolError

from session_block.environment.environment import Environment
from session_block.environment.process import ProcessIdentity

from . import faults as kinds
from .faults import OCCASIONS, Fault
from .flow_runs import Prefect
from .ledgers import Disk, SimulatedStore
from .platform import EPOCH, Answer, Job, Platform, Session, refused
from .schedule import Killed, Schedule
from .wire import be

LEDGER_SECONDS = 0.003
HTTP_SECONDS = 0.15
PREFECT_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 4000.0
LONGEST_OUTAGE_SECONDS = 900.0
LONGEST_LAG_SECONDS = 25.0
"""Within the settle window. A longer lag makes twins, which is a limit of the promise."""

UNSEEN = {"dropped unseen", "middlebox unseen"}
"""Faults after whose effect the listing lags."""

MOST_EFFECTS = 30_000
"""After so many, a world is taken to go on for ever."""


FATES: dict[str, tuple[str, str | None, int | None]] = {
    "job fails in passing": ("Failed", "A temporary internal error.", 9707),
    "job fails": ("Failed", "The circuit is not ISA.", 1517),
    "job runs out of memory": ("Failed", "Out of memory.", 1336),
    "job cancelled by a person": ("Cancelled", None, None),
}
"""What becomes of the next job after a fault: state, reason and code."""


@dataclass(frozen=True)
class Machine:
    """A machine, or a container of one.

    Attributes:
        skew: Seconds by which its clock is ahead.
        drift: How much faster its monotonic clock runs.
        sees_others: Whether its processes see each other.
    """

    name: str
    skew: float
    drift: float
    sees_others: bool = True


@dataclass(eq=False)
class Process:
    """A process that works on an experiment.

    Attributes:
        token: The access token that it uses.
        began: When it began.
        spared: Whether nothing happens to it, as to the process of an operator.
        told: The jobs that the platform told each of its threads of when they sent them.
    """

    world: World
    name: str
    machine: Machine
    pid: int
    disk: Disk
    token: str = ""
    alive: bool = True
    spared: bool = False
    began: float = 0.0
    paused_seconds: float = 0.0
    told: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    environment: SimulatedEnvironment = field(init=False)

    def __post_init__(self) -> None:
        self.environment = SimulatedEnvironment(self)

    def check_alive(self) -> None:
        """End the thread of a killed process, whatever it is about to do."""
        if not self.alive:
            raise Killed


class SimulatedEnvironment(Environment):
    """What a simulated process sees of its world."""

    def __init__(self, process: Process) -> None:
        super().__init__(lambda _: SimulatedStore(process, process.disk))
        self._process = process
        self._world = process.world
        self.random = random.Random(self._world.random.random())  # noqa: S311 - no secret
        self.own_token = self.new_id()[:16]

    def now(self) -> datetime:
        """Return the machine's wall clock."""
        return EPOCH + timedelta(seconds=self._world.now + self._process.machine.skew)

    def monotonic(self) -> float:
        """Return the machine's monotonic clock."""
        return 1000.0 + self._world.now * self._process.machine.drift

    def pause(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._world.pause(self._process, seconds)

    def new_id(self) -> str:
        """Return the next ID of the seed."""
        return f"{self._world.random.getrandbits(128):032x}"

    def pid(self) -> int:
        """Return the process's ID."""
        return self._process.pid

    def process(self) -> ProcessIdentity:
        """Return the process's identity."""
        machine = self._process.machine
        pid = self._process.pid
        return ProcessIdentity(machine.name, "boot", pid, float(pid), machine.sees_others)

    def may_be_running(self, pid: int, _started: float | None) -> bool:
        """Whether a process of the same machine still runs."""
        machine = self._process.machine
        return any(
            one.alive and one.pid == pid and one.machine is machine for one in self._world.processes
        )


class World:
    """One world.

    Args:
        seed: Decides everything.
        faults: What goes wrong, in the order of ``at``.

    Attributes:
        story: What happened: moment, who, what.
        broken: Which promises were broken, in words.
        on_effect: Called before each effect of a process.
    """

    def __init__(self, seed: int | str, faults: list[Fault]) -> None:
        self.random = random.Random(f"world {seed}")  # noqa: S311 - no secret
        self.schedule = Schedule()
        self.story: list[tuple[float, str, str]] = []
        self.broken: list[str] = []
        self.processes: list[Process] = []
        self.effects = 0
        self.outage_until = 0.0
        self.platform = Platform(
            self.random,
            dying=self.random.choice(["cancelled", "failed"]),
            words=self.random.random() < 0.5,
        )
        self.prefect = Prefect(self)
        self.acts: dict[str, Callable[[Fault, Process], None]] = {}
        self._tokens = 0
        self._ended_tokens: set[str] = set()
        self._pending = list(faults)
        self._lag = 0.0
        self._fate: tuple[str, str | None, int | None] | None = None
        self._kill_after: set[Process] = set()
        self._refuse_next = False
        self.platform.lag = self._take_lag
        self.platform.fate = self._take_fate

    @property
    def now(self) -> float:
        """The moment, in seconds from the world's beginning."""
        return self.schedule.now

    @property
    def exhausted(self) -> bool:
        """Whether it has had more effects than any world should."""
        return self.effects > MOST_EFFECTS

    @property
    def faults_left(self) -> bool:
        """Whether something may still go wrong."""
        return bool(self._pending)

    def say(self, who: str, what: str) -> None:
        """Add to the story."""
        self.story.append((self.now, who, what))

    def breaks(self, promise: str, what: str) -> None:
        """Note that a promise is broken."""
        self.broken.append(f"{promise}: {what}")
        self.say("world", f"BROKEN {promise}: {what}")

    def start(self, process: Process, work: Callable[[], None], delay: float = 0.0) -> None:
        """Let a process begin after a while."""
        self.processes.append(process)

        def run() -> None:
            be(process)
            try:
                work()
            except Killed:
                pass
            finally:
                process.alive = False

        self.schedule.begin(process.name, run, at=self.now + delay)

    def kill(self, process: Process) -> None:
        """Kill a process: nothing that it still does has an effect."""
        process.alive = False
        self.say(process.name, "is killed")

    def new_token(self) -> str:
        """Return a new access token."""
        self._tokens += 1
        return f"token-{self._tokens}"

    # Effects

    def pause(self, process: Process, seconds: float) -> None:
        """Let a process wait."""
        process.check_alive()
        self._before(process, f"waits {seconds:.3g} s", ())
        self.schedule.sleep(max(seconds, 0.001))
        self.after(process)

    def ledger(self, process: Process, what: str) -> str | None:
        """Let a process reach its ledger; return the fault of this access."""
        process.check_alive()
        occasions = (kinds.LEDGER, kinds.WRITE) if what.startswith("write") else (kinds.LEDGER,)
        fault = self._before(process, what, occasions)
        self.schedule.sleep(LEDGER_SECONDS * self.random.random())
        process.check_alive()
        return None if fault is None else fault.kind

    def prefect_call(self, process: Process, what: str) -> str | None:
        """Let a process reach Prefect's server; return the fault of this call."""
        process.check_alive()
        fault = self._before(process, what, ())
        self.schedule.sleep(PREFECT_SECONDS * self.random.random())
        self.after(process)
        return None if fault is None else fault.kind

    def after(self, process: Process) -> None:
        """End an effect of a process, which may have been killed meanwhile."""
        if process in self._kill_after:
            self._kill_after.discard(process)
            self.kill(process)
        process.check_alive()

    def request(
        self,
        process: Process,
        method: str,
        path: str,
        query: dict[str, list[str]],
        body: Any,
        made: str | None,
    ) -> tuple[Answer, str | None]:
        """Carry one request to the platform, and its answer back.

        Args:
            process: Who sends it.
            method: The HTTP method.
            path: The path.
            query: The query's values.
            body: The JSON body.
            made: The job that this call of the client made before.

        Returns:
            The answer, and the ID of the job that it made, if it made one.
        """
        process.check_alive()
        what = f"{method} {path}"
        fault = self._before(process, what, _occasions(method, path))
        kind = None if fault is None else fault.kind
        if fault is not None and kind in UNSEEN:
            self._lag = LONGEST_LAG_SECONDS * fault.share
        underway = HTTP_SECONDS * self.random.random()
        answer, effect = self._instead(process, path, kind), None
        if answer is None:
            answers: list[Answer] = []

            def arrive() -> None:  # also if its sender has been killed by then
                answers.append(
                    self.platform.answer(
                        method, path, query, body, self.now, process.name, parent=made
                    )
                )
                self.say(process.name, f"{what} → {answers[0].status} {_told(answers[0])}")

            self.schedule.at(self.now + underway, arrive)
            self.schedule.sleep(underway)
            [answer] = answers
            if method == "POST" and path == "/jobs" and answer.status == 200:
                effect = str(answer.body["id"])
        self.schedule.sleep(HTTP_SECONDS * self.random.random())
        self.after(process)
        match kind:
            case "dropped after":
                raise ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            case "dropped unseen":
                raise ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            case "500 after" | "500 after, then refused":
                self._refuse_next = kind != "500 after"
                return Answer(500, text="Internal server error"), effect
            case "middlebox unseen":
                return self._page(), effect
            case "strange answer":
                return Answer(200, {}), effect
        return answer, effect

    def _page(self) -> Answer:
        status = self.random.choice([403, 404, 407, 409, 413, 451])
        return Answer(status, text="<html>The proxy says no.</html>")

    def _instead(self, process: Process, path: str, kind: str | None) -> Answer | None:
        """Return what is answered without an effect, or raise; ``None`` if IBM answers."""
        if self.now < self.outage_until:
            kind = "dropped before"
        if process.token in self._ended_tokens and path != "/token":
            return refused(401, 1205, "Unauthorized: the token has expired.")
        if self._refuse_next and path == "/jobs":
            self._refuse_next = False
            kind = "refused"
        match kind:
            case "dropped before":
                raise ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            case "500 before":
                return Answer(500, text="Internal server error")
            case "middlebox":
                return self._page()
            case "too many":
                return refused(429, 1429, "Too many requests.")
            case "too many, with Retry-After":
                answer = refused(429, 1429, "Too many requests.")
                return Answer(answer.status, answer.body, headers={"Retry-After": "20"})
            case "refused":
                return refused(400, 1310, "The request is not valid.")
        return None

    def _before(self, process: Process, what: str, occasions: tuple[str, ...]) -> Fault | None:
        """Begin an effect; return the fault that is its own."""
        if process.spared:
            return None
        self.effects += 1
        if self.effects > MOST_EFFECTS:
            if self.effects == MOST_EFFECTS + 1:
                self.breaks("liveness", f"{process.name} goes on and on: {what}")
            self.kill(process)
            raise Killed
        while True:
            fault = self._due(occasions)
            if fault is None:
                return None
            self.say("world", f"{fault.kind} ({process.name}: {what})")
            if not self._happens(fault, process):
                return fault

    def _due(self, occasions: tuple[str, ...]) -> Fault | None:
        for fault in self._pending:
            if fault.at > self.effects:
                return None
            if OCCASIONS[fault.kind] in (kinds.ANY, *occasions):
                self._pending.remove(fault)
                return fault
        return None

    def _happens(self, fault: Fault, process: Process) -> bool:
        """Let happen what does not concern the effect itself; return whether that is so."""
        match fault.kind:
            case "killed before":
                self.kill(process)
                raise Killed
            case "killed after":
                self._kill_after.add(process)
            case "paused":
                self.stand_still(process, LONGEST_PAUSE_SECONDS ** (0.3 + 0.7 * fault.share))
            case "outage":
                self.outage_until = self.now + LONGEST_OUTAGE_SECONDS * fault.share
            case "token ended":
                self._ended_tokens.add(process.token)
            case "listing lags":
                self._lag = LONGEST_LAG_SECONDS * fault.share
            case "killed unseen":
                self._lag = LONGEST_LAG_SECONDS * fault.share
                self._kill_after.add(process)
            case kind if kind in FATES:
                self._fate = FATES[kind]
            case kind if kind in self.acts:
                self.acts[kind](fault, process)
            case _:
                return False
        return True

    def list_all(self) -> None:
        """Let listings show all jobs: with its ledger, one that none shows yet is lost for good."""
        self._lag = 0.0
        for job in self.platform.jobs.values():
            job.listed_at = min(job.listed_at, self.now)

    def stand_still(self, process: Process, seconds: float) -> None:
        """Let a process do nothing for a while, as one that was stopped or whose laptop sleeps."""
        process.paused_seconds += seconds
        self.say(process.name, f"stands still for {seconds:.0f} s")
        self.schedule.sleep(seconds)
        process.check_alive()

    def _take_lag(self) -> float:
        lag, self._lag = self._lag, 0.0
        return lag

    def _take_fate(self) -> tuple[str, str | None, int | None]:
        fate, self._fate = self._fate, None
        return fate or ("Completed", None, None)


def _occasions(method: str, path: str) -> tuple[str, ...]:
    found = [kinds.HTTP]
    match [method, path]:
        case ["POST", "/jobs"]:
            found.append(kinds.POST_JOB)
        case ["POST", "/sessions"]:
            found.append(kinds.POST_SESSION)
        case ["GET", "/jobs"]:
            found.append(kinds.LISTING)
        case ["GET", one] if one.endswith("/results"):
            found.append(kinds.RESULTS)
        case ["PATCH" | "DELETE", _]:
            found.append(kinds.CLOSING)
    return tuple(found)


def _told(answer: Answer) -> str:
    """Return what matters of an answer, for the story."""
    body = answer.body
    if not isinstance(body, dict):
        return ""
    if "errors" in body:
        return str(body["errors"][0]["message"])
    if "jobs" in body:
        return f"{len(body['jobs'])} jobs"
    told = [str(body[name]) for name in ("id", "status", "state") if name in body]
    return " ".join(told)


__all__ = ["Job", "Machine", "Process", "Session", "World"]
