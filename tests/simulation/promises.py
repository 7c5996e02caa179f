"""The promises as code: checked at the platform, where every effect arrives."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .platform import Job, Session, value_of
from .programs import Body, Call, Keys, Path, Step, Threads
from .runs import Run
from .world import Process, World

DEADLINE_SECONDS = 900.0
"""A sender that stood still for longer may wake up too late: its job is then a twin."""

CANCELLATION_SECONDS = 2.0
"""Prefect is asked about once a second, in the background."""

PASSING = {9707}
"""Codes of failures after which a job is simply run again."""

_SUBMISSION = "qs-sub:"


def core_of(job: Job) -> tuple[str, str, int] | None:
    """Return UID, submission and generation of a job, as its tag says."""
    for tag in job.tags:
        if tag.startswith(_SUBMISSION):
            uid, submission, generation = tag.removeprefix(_SUBMISSION).split(".")[:3]
            return uid, submission, int(generation)
    return None


@dataclass
class Watch:
    """Watches the effects of a world's runs."""

    world: World
    runs: Sequence[Run]
    jobs: dict[tuple[str, str], list[Job]] = field(default_factory=lambda: defaultdict(list))
    twins: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world.platform.on_job = self.job
        self.world.platform.on_session = self.session
        self.world.platform.on_close = self.close
        self.world.platform.on_results = self.results

    def job(self, job: Job, now: float) -> None:
        """Check a job that the platform has just accepted."""
        run, sender, core = self._run_of(job.sender), self._process(job.sender), core_of(job)
        if core is None:
            self.world.breaks("P2", f"job {job.id} bears no tag of its submission")
            return
        uid, submission, generation = core
        status, _, code = job.fate
        run.job_failed = run.job_failed or (status != "Completed" and code not in PASSING)
        if uid in run.stopped_at and now > run.stopped_at[uid]:
            self.world.breaks("P4", f"job {job.id} of {run.title} was bought after a stop")
        self._check_cancelled(job, run, sender, (uid, f"intent/{submission}/{generation}"))
        self._check_changed(job, run, sender, uid)
        if (uid, f"intent/{submission}/{generation}") not in run.disk.facts and sender.alive:
            self.world.breaks("P3", f"job {job.id} of {run.title} has no recorded intent")
        run.twinned = run.twinned or job.parent is not None
        if sender.paused_seconds > DEADLINE_SECONDS:
            self.late.add(job.id)
        self._check_double(job, run, sender, self.jobs[uid, submission], now)
        self.jobs[uid, submission].append(job)
        self._check_budget(run, uid)

    def results(self, job: Job, sender: str) -> None:
        """Check that a result that was recorded is not fetched again."""
        run = self._run_of(sender)
        recorded = run.recorded_at.get(value_of(job))
        began = self._process(sender).began
        if recorded is not None and began > recorded and not run.ledger_lost:
            self.world.breaks("P7", f"{run.title} fetched the result of job {job.id} again")

    def _check_budget(self, run: Run, uid: str) -> None:
        most = run.fields.get("max_jobs")
        jobs = [job for (owner, _), of in self.jobs.items() if owner == uid for job in of]
        # Whoever sends after its deadline finds its generation decided, and cancels its job.
        bought = [job for job in jobs if job.id not in self.twins | self.late]
        if most is not None and len(bought) > most:
            self.world.breaks("P12", f"{run.title} bought {len(bought)} jobs, and may buy {most}")

    def _check_double(
        self, job: Job, run: Run, sender: Process, before: list[Job], now: float
    ) -> None:
        standing = [one for one in before if one.pending or one.status == "Completed"]
        if not standing:
            return
        # Of a POST that the client repeats by itself, it tells the last job alone. If that one
        # fails, and the listing lags, nobody can know of the first.
        repeated = {one.parent for one in before}
        excused = (
            job.parent is not None
            or all(one.id in repeated and one.listed_at > now for one in standing)
            or sender.paused_seconds > DEADLINE_SECONDS
            or not sender.alive
            or any(self._process(one.sender).paused_seconds > DEADLINE_SECONDS for one in standing)
        )
        self.twins.add(job.id)
        if not excused:
            self.world.breaks(
                "P1", f"job {job.id} of {run.title} was submitted although {standing[0].id} stands"
            )

    def session(self, session: Session, now: float) -> None:
        """Check a session that the platform has just opened."""
        run = self._run_of(session.opener)
        if len(run.places) > 1 and not run.program.shared:
            return  # whose it is stands in no record yet
        if any(now > moment for moment in run.stopped_at.values()):
            self.world.breaks("P4", f"session {session.id} of {run.title} was opened after a stop")
        recorded = self._recorded_sessions(run)
        for one in self.world.platform.sessions.values():
            if one is session or one.id not in recorded or self._run_of(one.opener) is not run:
                continue
            if one.state != "closed" and one.accepting:
                self.world.breaks(
                    "P4", f"{run.title} opened {session.id} although {one.id} takes jobs"
                )

    def close(self, session: Session, by: str) -> None:
        """Check a close that the platform has just carried out."""
        if by in {one.name for one in self.world.processes}:
            run = self._run_of(by)
            if self._run_of(session.opener) is not run or session.id in run.lent:
                self.world.breaks("P5", f"{run.title} closed another's session {session.id}")

    def at_the_end(self) -> None:
        """Check what must hold once every run is over."""
        for run in self.runs:
            if run.over in {"", "stuck"}:
                if not run.over:
                    self.world.breaks("liveness", f"{run.title} is not over")
                continue
            if run.over == "done":
                self._check_done(run)

    def _check_done(self, run: Run) -> None:
        platform = self.world.platform
        known = run.known_jobs()
        for (uid, submission), jobs in self.jobs.items():
            if uid not in run.uids:
                continue
            for job in jobs:
                late = self._process(job.sender).paused_seconds > DEADLINE_SECONDS
                # Nobody can find what no listing shows before the experiment is over, if its
                # request has another job, or a changed program does not make it again. Of a POST
                # that the client repeats by itself, it tells the last job alone.
                repeated = any(one.parent == job.id for one in jobs)
                unasked = job.id in self.twins or repeated or run.changed_at is not None
                hidden = unasked and job.listed_at > self._last_look(run, uid)
                hidden = hidden or self._is_forgotten(run, uid)
                if job.id not in known and not (run.records_lost or late or hidden):
                    self.world.breaks("P2", f"job {job.id} of {run.title} is in no record")
            effective = [job for job in jobs if job.status == "Completed"]
            if len([job for job in effective if job.id not in self.twins]) > 1:
                self.world.breaks("P1", f"submission {submission} of {run.title} ran twice")
        by_value = {value_of(job): job for job in platform.jobs.values()}
        for body in run.chapters if run.changed_at is None else [run.body]:
            self._check_body(run, body, (), by_value)
        self._check_places(run)
        self._check_chapters(run)

    def _last_look(self, run: Run, uid: str) -> float:
        """Return when an experiment's jobs were listed last, which is after the last one was made.

        What follows only ends its session, and reads what its jobs were charged.
        """
        of = [job for (owner, _), jobs in self.jobs.items() if owner == uid for job in jobs]
        looks = [self.world.platform.listed.get(tag, 0.0) for job in of for tag in job.tags]
        looked_at = max(looks, default=0.0)
        return looked_at if looked_at > max(job.created for job in of) else run.ended_at

    def _check_body(self, run: Run, body: Body, path: Path, by_value: dict[float, Job]) -> float:
        """Check that each request of a flow saw the result of what it asked for."""
        keys, value = Keys(path), 0.0
        for index, one in enumerate(body):
            match one:
                case Step():
                    value = self._check_step(run, keys, one, value, by_value)
                case Threads():
                    seen = [self._check_step(run, keys, of, value, by_value) for of in one.steps]
                    value = seen[-1]
                case Call():
                    value = self._check_body(run, one.body, (*path, index), by_value)
        return value

    def _check_step(
        self, run: Run, keys: Keys, step: Step, before: float, by_value: dict[float, Job]
    ) -> float:
        asked = step.asks(before)
        key = keys.of(step, asked)
        value = run.observed.get(key)
        found = None if value is None else by_value.get(value)
        foreign = found is not None and self._run_of(found.sender) is not run
        if value is None or found is None or found.content != asked or foreign:
            self.world.breaks("P8", f"{key} of {run.title} got a wrong result")
            return 0.0
        return value

    def _check_places(self, run: Run) -> None:
        """Check that each flow had one experiment, of its own unless it has a name."""
        bought = {uid for uid, _ in self.jobs}
        of_places = [uids & bought for uids in run.places.values()]
        shared = run.program.named
        groups = [set[str]().union(*of_places)] if shared else of_places
        for uids in groups:
            if len(uids) > 1:
                self.world.breaks("P2", f"{run.title} was two experiments: {sorted(uids)}")
        if not shared and len(set[str]().union(*of_places)) < sum(map(bool, of_places)):
            self.world.breaks("P8", f"two flows of {run.title} were one experiment")

    def _check_chapters(self, run: Run) -> None:
        """Check that each flow run had one chapter, which its retries went on with."""
        opened = [one for one in run.disk.facts.values() if one.key.startswith("chapter/")]
        known = [one for one in opened if one.experiment in run.uids]
        if len(known) > len(run.program.later):
            self.world.breaks("P8", f"{run.title} opened {len(known)} more chapters")

    def _check_cancelled(self, job: Job, run: Run, sender: Process, at: tuple[str, str]) -> None:
        """Check that nothing is bought once Prefect has had time to tell of a cancellation."""
        if run.cancelled_at is None or sender.paused_seconds:
            return
        wanted_at = run.disk.written_at.get(at, job.created)
        if wanted_at > run.cancelled_at + CANCELLATION_SECONDS:
            self.world.breaks("P4", f"job {job.id} of {run.title} was bought after a cancellation")

    def _check_changed(self, job: Job, run: Run, sender: Process, uid: str) -> None:
        """Check that a changed program buys nothing new before it has repeated what was bought."""
        if run.changed_at is None or sender.began < run.changed_at:
            return
        before = Counter(
            one.content
            for (owner, _), jobs in self.jobs.items()
            for one in jobs[:1]
            if owner == uid and one.created < run.changed_at
        )
        asked = Counter(run.asked.get(sender.name, ()))
        if before - asked and job.content not in before:
            self.world.breaks("P8", f"job {job.id} of {run.title} was bought by a changed program")

    def _is_forgotten(self, run: Run, uid: str) -> bool:
        """Whether an experiment's records were lost, and Prefect kept what it had given."""
        kept = run.flow_run is not None and run.flow_run.id in self.world.prefect.with_kept
        unopened = all(
            owner != uid or moment <= run.lost_at
            for (owner, _), moment in run.disk.written_at.items()
        )
        return kept and run.ledger_lost and unopened

    def _recorded_sessions(self, run: Run) -> set[str]:
        return {
            fact.body["session_id"]
            for fact in run.disk.facts.values()
            if fact.key.startswith("session/") and fact.body.get("session_id")
        }

    def _run_of(self, sender: str) -> Run:
        process = self._process(sender)
        return next(run for run in self.runs if process in run.processes)

    def _process(self, name: str) -> Process:
        return next(one for one in self.world.processes if one.name == name)
