"""Apply the rules to a request: find all, or stop before it costs anything."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from session_block.client import Program
from session_block.errors import CheckFailedError, InvalidInputError
from session_block.prechecks.findings import CheckFinding
from session_block.prechecks.rules import CLIENT, FAULTY, NOT_ISA, RULES, UNDEFINED, Rule
from session_block.prechecks.subject import Device, Subject
from session_block.pubs.request import PrimitiveRequest, Request

_RAISED_BEFORE = (UNDEFINED, NOT_ISA, FAULTY)
"""What has an error of its own, which is raised for the first circuit that it is about."""

_logger = logging.getLogger(__name__)


def findings_of(request: Request, device: Device) -> list[CheckFinding]:
    """Return all that the rules find in a request; nothing is sent.

    Args:
        request: What is asked. If it takes several jobs, each of them is checked.
        device: Where it would run.
    """
    return [finding for part in request.parts for finding in _findings_of_part(part, device)]


def _findings_of_part(request: Request, device: Device) -> Iterator[CheckFinding]:
    found = list(_found(Subject(request, device), of_program=False))
    program = None
    if not any(one.severity == "refuse" for one in found):
        try:
            program = Program.of(lambda mode: request.send(mode, ()), device.backend)
        except InvalidInputError as error:
            found.append(CLIENT.finding(None, str(error), guessed=False))
    found += _found(Subject(request, device, program), of_program=True)
    yield from _renumbered(request, found)


def _found(
    subject: Subject, *, of_program: bool, without: tuple[Rule, ...] = ()
) -> Iterator[CheckFinding]:
    for rule in RULES:
        if rule.of_program is of_program and rule not in without:
            yield from rule.findings(subject)


def _renumbered(request: Request, found: Iterable[CheckFinding]) -> Iterator[CheckFinding]:
    """Give findings with the numbers that the PUBs of a part have in the whole request."""
    for one in found:
        if request.part is None or one.pub is None:
            yield one
        else:
            yield one.model_copy(update={"pub": request.part.places[one.pub]})


class Precheck:
    """Stops the requests of one experiment before they cost anything.

    Each rule's warning is logged once.

    Args:
        experiment: What the experiment is called in messages.
        uid: Its UID.
    """

    def __init__(self, experiment: str, uid: str) -> None:
        self._experiment = experiment
        self._uid = uid
        self._warned: set[str] = set()

    def check(self, request: Request, device: Device, program: Program | None = None) -> None:
        """Check a request, before the client makes what it sends, or that itself.

        That its circuits fit, and use nothing faulty, is checked before.

        Raises:
            CheckFailedError: A rule refuses it; nothing was recorded or sent.
        """
        subject = Subject(request, device, program)
        of_program = program is not None
        found = list(_found(subject, of_program=of_program, without=_RAISED_BEFORE))
        if not found:
            return
        found = list(_renumbered(request, found))
        if refused := [one for one in found if one.severity == "refuse"]:
            raise self._failed(refused, request)
        for one in found:
            if one.rule not in self._warned:
                self._warned.add(one.rule)
                _logger.warning(
                    "A request of experiment %s may fail (%s): %s", self._experiment, one.rule, one
                )

    def _failed(self, refused: list[CheckFinding], request: Request) -> CheckFailedError:
        what = request.kind if isinstance(request, PrimitiveRequest) else f"program {request.kind}"
        more = "" if len(refused) == 1 else f" And {len(refused) - 1} more: see error.findings."
        return CheckFailedError(
            f"A request of experiment {self._experiment} for the {what} would fail "
            f"({refused[0].rule}): {refused[0]} Nothing was submitted.{more}",
            experiment=self._uid,
            code=refused[0].code,
            findings=tuple(refused),
        )
