"""Run the cases against a platform, within a bound of QPU time, and leave nothing behind.

What each case and set-up may cost is declared, and what does not fit into the bound is left out
before anything is sent. Each job carries its own limit of QPU time, so a platform that answers
otherwise than expected cannot cost more than declared either. A set-up is made once for all cases
that need it.
"""

from __future__ import annotations

import json
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from session_block.client.service import disconnect, plain_service
from session_block.doctor.fidelity.calls import CALLS
from session_block.doctor.fidelity.case import Book, Case, Plan, RawRequest, SetUp, Step, filled
from session_block.doctor.fidelity.reply import (
    Difference,
    Reply,
    differences,
    is_absent,
    values_at,
)
from session_block.doctor.fidelity.target import Target

if TYPE_CHECKING:
    from qiskit_ibm_runtime import QiskitRuntimeService

_SOON_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_PAUSE_GROWTH = 1.2
_MOST_SHOWN = 3
_SUCCESS = range(200, 300)
_ENDS = ("Completed", "Failed", "Cancelled")


class CaseOutcome(StrEnum):
    """What came of a case."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Finding:
    """A case, and what came of it.

    Attributes:
        answer: What the platform answered; ``None`` if nothing was sent.
        differences: How the answer differs.
        why: Why it was not run, or why its set-up could not be made.
    """

    case: Case
    outcome: CaseOutcome
    answer: Reply | None = None
    differences: tuple[Difference, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        reasons = [self.why] if self.why else []
        reasons += map(str, self.differences[:_MOST_SHOWN])
        if len(self.differences) > _MOST_SHOWN:
            reasons.append(f"and {len(self.differences) - _MOST_SHOWN} more")
        return "; ".join(reasons)


@dataclass(frozen=True)
class Planned:
    """What a run will do.

    Attributes:
        by_set_up: The cases to run, by the name of their set-up.
        left_out: The cases that are not run, each with the reason.
        seconds: The most QPU time that all this can cost, in seconds.
    """

    by_set_up: Mapping[str, Sequence[Case]]
    left_out: Mapping[str, str]
    seconds: float


def planned(book: Book, plans: Sequence[Plan], bound: float) -> Planned:
    """Choose the cases that fit into a bound, the cheapest set-ups first.

    Args:
        book: Set-ups and cases.
        plans: The plans on which the run has an instance.
        bound: The most QPU time to spend, in seconds.
    """
    left_out: dict[str, str] = {}
    chosen: dict[str, list[Case]] = {}
    spent = 0.0
    names = {case.set_up: None for case in book.cases}
    for name in sorted(names, key=lambda one: book.set_ups[one].planned_seconds):
        set_up = book.set_ups[name]
        for case in [one for one in book.cases if one.set_up == name]:
            missing = {set_up.plan, case.plan} - {"any", *plans}
            cost = case.seconds + (0.0 if name in chosen else set_up.planned_seconds)
            if missing:
                left_out[case.id] = f"needs an instance on the {missing.pop()} plan"
            elif spent + cost > bound:
                left_out[case.id] = f"costs up to {cost:g} s"
            else:
                spent += cost
                chosen.setdefault(name, []).append(case)
    return Planned(chosen, left_out, spent)


class NotReadyError(Exception):
    """A set-up could not be made, for a reason that says nothing about the platform's answers."""


class _StrangeAnswerError(Exception):
    """A set-up could not be made, because of an answer that no case could live with."""


class _OtherEndError(Exception):
    """A set-up's job has ended otherwise than it should."""


class Suite:
    """Runs the cases of a book.

    Args:
        book: Sources, set-ups and cases.
        targets: An instance for each plan that there is; the first is the usual one.
        bound: The most QPU time to spend, in seconds.
        patience: How long to wait for the end of a job, in seconds.
        tell: Called with each finding as it is made.
    """

    def __init__(
        self,
        book: Book,
        targets: Sequence[Target],
        *,
        bound: float = 0,
        patience: float = 3600,
        tell: Callable[[Finding], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._targets = targets
        self._patience = patience
        self._tell = tell
        self._bound = bound
        self.planned = planned(book, [one.plan for one in targets], bound)
        self.findings: list[Finding] = []

    def run(self) -> list[Finding]:
        """Run all cases that are planned; in any case, end what they made.

        Raises:
            ConnectionFailedError: The platform has stopped answering.
        """
        self._spent = self.planned.seconds
        for case_id, why in self.planned.left_out.items():
            case = next(one for one in self._book.cases if one.id == case_id)
            self._found(Finding(case, CaseOutcome.NOT_RUN, why=why))
        with ExitStack() as stack:
            for target in self._targets:
                stack.callback(target.cancel_lost_jobs)
                stack.callback(target.clean_up)
            runs = {target: stack.enter_context(closing(_Run(target))) for target in self._targets}
            for name, cases in self.planned.by_set_up.items():
                for target in self._targets:
                    own = [one for one in cases if self._target_of(one) is target]
                    if own:
                        self._run_set_up(runs[target], self._book.set_ups[name], own)
                        target.clean_up()
        return self.findings

    def _target_of(self, case: Case) -> Target:
        """Return the target of a case: the first on whose plan it can be run."""
        wanted = {self._book.set_ups[case.set_up].plan, case.plan} - {"any"}
        return next(one for one in self._targets if wanted <= {one.plan})

    def _run_set_up(self, run: _Run, set_up: SetUp, cases: Sequence[Case]) -> None:
        try:
            self._wait_for_queue(run.target, set_up)
            values = run.make(set_up, self._patience)
        except NotReadyError as error:
            findings = [Finding(one, CaseOutcome.NOT_RUN, why=str(error)) for one in cases]
        except _StrangeAnswerError as error:
            findings = [Finding(one, CaseOutcome.DIFFERS, why=str(error)) for one in cases]
        else:
            findings = [run.judge(one, values) for one in cases]
            kept = set_up.still is None or run.holds(set_up.still, values)
            if not kept or (set_up.queue is not None and run.has_started(values)):
                findings = [_excused(one) for one in findings]
        for finding in findings:
            self._found(finding)

    def _wait_for_queue(self, target: Target, set_up: SetUp) -> None:
        if set_up.queue is None or target.queue_length() >= set_up.queue:
            return
        if self._spent + set_up.seconds > self._bound:
            raise NotReadyError(
                f"{target.backend()} has no queue in which a job waits: it could cost "
                f"{set_up.seconds:g} s"
            )
        self._spent += set_up.seconds

    def _found(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._tell(finding)


class _Run:
    """The state of a run at one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._values: Mapping[str, Any] | None = None

    def make(self, set_up: SetUp, patience: float) -> Mapping[str, Any]:
        """Make a set-up; return the values that its cases may name.

        Raises:
            NotReadyError: Its jobs did not end in time.
            _StrangeAnswerError: The platform refuses a step, or what it answers lacks something.
        """
        if self._values is None:
            self._values = self.target.values()
        kept: dict[str, Any] = {}
        for step in set_up.steps:
            try:
                kept |= self._take(step, _with(self._values, kept), patience)
            except _OtherEndError as error:
                # Behind a queue that moved faster than this, a job starts before it is cancelled.
                kind = _StrangeAnswerError if set_up.queue is None else NotReadyError
                raise kind(str(error)) from error
        return _with(self._values, kept)

    def judge(self, case: Case, values: Mapping[str, Any]) -> Finding:
        """Send a case's request, compare the answer, and end what the request made."""
        made = len(self.target.made)
        answer = (
            self._call(case, values)
            if case.request is None
            else self.target.send(case.request, values)
        )
        if answer.status == 0 or answer.raised:  # no answer is not another answer
            self.target.check_reachable()
        self.target.clean_up(made)
        if answer.status == 0:
            return Finding(case, CaseOutcome.NOT_RUN, why="it was not answered")
        found = tuple(differences(answer, case.expect, values))
        return Finding(case, CaseOutcome.DIFFERS if found else CaseOutcome.AGREES, answer, found)

    def holds(self, step: Step, values: Mapping[str, Any]) -> bool:
        """Whether a set-up is as it was."""
        return _is_reached(self.target.send(step.request, values), step)

    def has_started(self, values: Mapping[str, Any]) -> bool:
        """Whether a set-up's job, which was to wait, has started after all."""
        if "job" not in values:
            return False
        request = RawRequest(send="GET /jobs/$job/metrics")
        return any(
            isinstance(one, str)
            for _, one in values_at(self.target.send(request, values).body, "timestamps.running")
        )

    def close(self) -> None:
        """Close the client's connections."""
        if "_service" in vars(self):
            disconnect(self._service)

    @cached_property
    def _service(self) -> QiskitRuntimeService:
        return plain_service(self.target.account, self.target.crn)

    def _call(self, case: Case, values: Mapping[str, Any]) -> Reply:
        try:
            given = CALLS[str(case.call)](self._service, filled(case.given, values))
        except Exception as error:  # noqa: BLE001 - what the client raises is the answer
            names = tuple(one.__name__ for one in type(error).__mro__)
            return Reply(None, text=json.dumps({"message": str(error)}), raised=names)
        return Reply(None, text=json.dumps(given, default=str))

    def _take(self, step: Step, values: Mapping[str, Any], patience: float) -> dict[str, Any]:
        end = time.monotonic() + (patience if step.patience == "job" else _SOON_SECONDS)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            answer = self.target.send(step.request, values)
            if answer.status == 0:
                self.target.check_reachable()
                raise NotReadyError(f"the set-up's {step.request.send} was not answered")
            if answer.status not in _SUCCESS:
                raise _StrangeAnswerError(
                    f"the set-up's {step.request.send} was answered with {answer.status}"
                )
            if _is_reached(answer, step):
                return dict(_kept(answer, step))
            _check_waited_for(answer, step)
            if time.monotonic() > end:
                raise NotReadyError(f"{step.request.send} did not say in time: {step.until}")
            time.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)


def _with(values: Mapping[str, Any], kept: Mapping[str, Any]) -> Mapping[str, Any]:
    return ChainMap(dict(kept), values)  # type: ignore[arg-type]  # only the first is written


def _is_reached(answer: Reply, step: Step) -> bool:
    return all(
        value in wanted
        for path, wanted in step.until.items()
        for _, value in values_at(answer.body, path)
    )


def _check_waited_for(answer: Reply, step: Step) -> None:
    """Do not wait for what cannot come any more.

    Raises:
        _OtherEndError: The job has ended otherwise.
        _StrangeAnswerError: The answer says nothing of what is waited for.
    """
    for path, wanted in step.until.items():
        for _, value in values_at(answer.body, path):
            if is_absent(value):
                raise _StrangeAnswerError(f"the set-up's {step.request.send} lacks {path}")
            if path == "state.status" and value in _ENDS:
                raise _OtherEndError(f"the set-up's job is {value}, not {' or '.join(wanted)}")


def _kept(answer: Reply, step: Step) -> Iterator[tuple[str, Any]]:
    for name, path in step.keep.items():
        for _, value in values_at(answer.body, path):
            if is_absent(value):
                raise _StrangeAnswerError(f"the set-up's {step.request.send} lacks {path}")
            yield name, value


def _excused(finding: Finding) -> Finding:
    """Do not count a difference that only shows that the set-up did not last."""
    if finding.outcome is not CaseOutcome.DIFFERS:
        return finding
    why = "what it needs ended before it was asked"
    return replace(finding, outcome=CaseOutcome.NOT_RUN, why=why)
