"""Draw a world from a seed, run it, and say which promises it broke."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import StateType

from session_block.tags import uid_tag

from . import faults as kinds
from .faults import Fault
from .ledgers import Disk
from .platform import Job, Session
from .programs import draw_program, steps_of
from .promises import Watch
from .runs import Run
from .schedule import StuckError
from .seams import install
from .world import Machine, Process, World

SEEDS = 20_000
"""How many worlds a whole run has."""

LONGEST_STILLNESS_SECONDS = 1500.0
LIMITED_SECONDS = 3600.0
"""After this time somebody raises the instance's limit."""

EFFECTS = (100, 200, 400, 800)
"""Over how many first effects the faults of a world are spread: small worlds have few."""

THEMES = {0: ("tree", "ledger gone"), 5: ("chapters", "killed after")}
"""By a seed's last digit, a kind of program and a fault that chance alone rarely brings together.
"""

_FAR_FROM_ITS_END = 90.0


@dataclass(frozen=True)
class Outcome:
    """How a world ended.

    Attributes:
        broken: The promises that were broken; empty if all held.
        effects: How many effects its processes had.
    """

    seed: int
    faults: Sequence[Fault]
    broken: Sequence[str]
    effects: int
    story: Sequence[tuple[float, str, str]]
    jobs: int
    over: Sequence[str]


def plan_of(seed: int) -> list[Fault]:
    """Return what goes wrong in the world of a seed."""
    drawn = random.Random(f"faults {seed}")  # noqa: S311 - no secret
    faults = kinds.draw(drawn, drawn.choice(EFFECTS))
    _, kind = _theme(seed)
    if kind is not None:
        more = Fault(kind, drawn.randrange(EFFECTS[0], EFFECTS[2]), drawn.random())
        faults = sorted([*faults, more], key=lambda fault: fault.at)
    return faults


def _theme(seed: int) -> tuple[str, str] | tuple[None, None]:
    return THEMES.get(seed % 10, (None, None))


def run_world(seed: int, faults: Sequence[Fault] | None = None) -> Outcome:
    """Run the world of a seed, with all its faults or with some of them."""
    install()
    chosen = plan_of(seed) if faults is None else list(faults)
    world = World(seed, list(chosen))
    runs = _draw_runs(world, _theme(seed)[0])
    watch = Watch(world, runs)
    acts = _Acts(world, runs)
    world.acts = {
        "person closes": acts.person,
        "person cancels": acts.person,
        "limit reached": acts.limit,
        "another worker": acts.another_worker,
        "sender stands still": acts.sender_stands_still,
        "ledger gone": acts.ledger_gone,
        "ledger from an older copy": acts.ledger_gone,
        "session nearly over": acts.nearly_over,
        "program changed": acts.program_changed,
        "another owner": acts.another_owner,
        "cancelled in Prefect": acts.cancelled,
    }
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for run in runs:
                run.begin(world.random.random() * 20.0)
            world.schedule.run()
    except StuckError as stuck:
        world.breaks("liveness", str(stuck))
    finally:
        logging.disable(logging.NOTSET)
    watch.at_the_end()
    return Outcome(
        seed,
        chosen,
        world.broken,
        world.effects,
        world.story,
        len(world.platform.jobs),
        [run.over for run in runs],
    )


def _draw_runs(world: World, kind: str | None) -> list[Run]:
    drawn = random.Random(world.random.random())  # noqa: S311 - no secret
    machines = [
        Machine(
            f"machine {number}",
            skew=drawn.uniform(-5.0, 5.0),
            drift=drawn.uniform(0.999, 1.001),
            sees_others=drawn.random() < 0.8,
        )
        for number in range(drawn.choice([1, 2, 3]))
    ]
    runs = []
    disk = Disk()
    for number in range(drawn.choice([1, 1, 1, 2])):
        fields: dict[str, Any] = {
            "backend_name": "ibm_simulated",
            "mode": drawn.choice(["session", "session", "session", "batch", "job"]),
        }
        if fields["mode"] != "job":
            fields["max_time"] = drawn.choice([60, 300, 3600, None])
        if fields["mode"] == "session" and drawn.random() < 0.3:
            fields["min_time_left"] = 30
        program = draw_program(drawn, kind)
        if drawn.random() < 0.15:
            fields["max_jobs"] = drawn.randint(1, len(list(steps_of(program.body))))
        title = name = f"experiment {number}"
        if number and drawn.random() < 0.3:  # of another owner, with a ledger of their own
            name, disk = runs[0].name, Disk()
            fields["owner"] = "somebody else"
        runs.append(
            Run(
                world,
                title,
                name,
                program,
                fields,
                disk,
                machines,
                resumes=drawn.random() < 0.5,
            )
        )
    return runs


class _Acts:
    """What people and accidents do to the runs of a world."""

    def __init__(self, world: World, runs: Sequence[Run]) -> None:
        self._world = world
        self._runs = runs

    def person(self, fault: Fault, process: Process) -> None:
        """Let a person close or cancel the session that a run works in."""
        run, session = self._run_of(process), self._session_of(process)
        if session is None:
            return
        world = self._world
        run.stop(process)
        world.say("a person", f"ends session {session.id} of {run.title}")
        if fault.kind == "person closes":
            world.platform.close(session, world.now, "a person")
        else:
            world.platform.cancel(session, world.now, "a person")

    def limit(self, _: Fault, process: Process) -> None:
        """Let the instance reach its limit."""
        if self._session_of(process) is None:
            return
        self._world.say("IBM", "ends all sessions at the instance's limit")
        for run in self._runs:
            run.was_stopped = True
            for one in run.uids:
                if self._session_in(run, one) is not None:
                    run.stopped_at[one] = self._world.now
        self._world.platform.reach_limit(self._world.now)
        later = self._world.now + LIMITED_SECONDS
        self._world.schedule.at(later, self._world.platform.raise_limit)

    def nearly_over(self, fault: Fault, process: Process) -> None:
        """Let the run's session come near its end."""
        session = self._session_of(process)
        if session is not None and session.started is not None:
            left = session.started + session.max_time - self._world.now
            session.started -= left - 5.0 * fault.share

    def another_worker(self, _: Fault, process: Process) -> None:
        """Let another process work on the same program at the same time."""
        run = self._run_of(process)
        if not run.over and run.cancelled_at is None:
            run.begin(1.0)

    def sender_stands_still(self, fault: Fault, process: Process) -> None:
        """Let a process stand still before it sends a job, and another one take over."""
        self.another_worker(fault, process)
        self._world.stand_still(process, LONGEST_STILLNESS_SECONDS * fault.share)

    def ledger_gone(self, fault: Fault, process: Process) -> None:
        """Let the ledger be lost, with the processes that had it open."""
        disk = process.disk
        old = disk.copy()
        self._world.list_all()
        if self._world.random.random() < 0.5:  # kept on the same disk
            self._world.prefect.forget_results()
        if fault.kind == "ledger gone":
            disk.facts = {}
        else:
            facts = list(old.facts.items())  # in the order in which they were written
            disk.facts = dict(facts[: int(len(facts) * fault.share)])
        for run in self._runs:
            run.ledger_lost, run.lost_at = True, self._world.now
            run.records_lost = run.records_lost or bool(run.over)
            for uid in list(run.stopped_at):
                # Sessions have no tags: nothing tells whose the stopped one was.
                if not any(uid_tag(uid) in job.tags for job in self._jobs()):
                    del run.stopped_at[uid]
        self._world.say("world", f"the ledger keeps {len(disk.facts)} of {len(old.facts)} facts")
        for run in self._runs:
            for one in list(run.processes):
                if one.alive and one is not process:
                    self._world.kill(one)
        self._world.kill(process)
        process.check_alive()

    def program_changed(self, fault: Fault, process: Process) -> None:
        """Let somebody change the program, and start it again."""
        run = self._run_of(process)
        if not run.program.in_order or run.changed_at is not None:
            return
        run.change(fault.share)
        self._kill_all(run, process)

    def cancelled(self, _: Fault, process: Process) -> None:
        """Let a person cancel the flow run in Prefect, while its process goes on."""
        run = self._run_of(process)
        if run.flow_run is None or run.over or run.cancelled_at is not None:
            return
        run.cancelled_at, run.was_stopped = self._world.now, True
        self._world.say("a person", f"cancels {run.title} in Prefect")
        self._world.prefect.set_state(run.flow_run, StateType.CANCELLED)

    def another_owner(self, _: Fault, process: Process) -> None:
        """Let the experiment's owner leave, and another one go on with it by its UID."""
        run, uid = self._run_of(process), self._run_of(process).experiment_of(process)
        bought = uid is not None and any(uid_tag(uid) in job.tags for job in self._jobs())
        if uid is None or not bought or not run.program.in_order or run.program.flow or run.taken:
            return
        run.ledger_lost, run.lost_at = True, self._world.now
        run.take_over(uid)
        self._kill_all(run, process)

    def _jobs(self) -> list[Job]:
        return list(self._world.platform.jobs.values())

    def _kill_all(self, run: Run, process: Process) -> None:
        for one in list(run.processes):
            if one.alive and one is not process:
                self._world.kill(one)
        self._world.kill(process)
        process.check_alive()

    def _run_of(self, process: Process) -> Run:
        return next(run for run in self._runs if process in run.processes)

    def _session_of(self, process: Process) -> Session | None:
        run = self._run_of(process)
        uid = run.experiment_of(process)
        return None if uid is None else self._session_in(run, uid)

    def _session_in(self, run: Run, uid: str) -> Session | None:
        """Return the session that an experiment works in, if its ledger knows it as the latest."""
        outcomes = [
            fact
            for fact in run.disk.facts.values()
            if fact.key.startswith("session/") and fact.experiment == uid
        ]
        if not outcomes:
            return None
        latest = max(outcomes, key=lambda fact: int(fact.key.rpartition("/")[2]))
        session = self._world.platform.sessions.get(str(latest.body.get("session_id")))
        if session is None:
            return None
        self._world.platform.advance(self._world.now)
        closing = [
            fact
            for fact in run.disk.facts.values()
            if fact.key.startswith(("session-closing", "session-end"))
            and fact.experiment == latest.experiment
        ]
        begun = session.started is None or (
            session.started + session.max_time - self._world.now > _FAR_FROM_ITS_END
        )
        usable = session.state != "closed" and session.accepting and begun and not closing
        return session if usable else None
