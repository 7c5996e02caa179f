"""``session-block doctor``: check the set-up and, with ``--live``, what the platform does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from session_block.cli.common import (
    AsJSON,
    ExitCode,
    LedgerURL,
    OptionalBlockName,
    Yes,
    answer,
    at_configured_server,
    confirm,
    fail,
    load,
    note,
    reporting,
    soon,
)
from session_block.cli.fidelity import QPUSeconds, run_live

if TYPE_CHECKING:
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.doctor.check import Check
    from session_block.doctor.fidelity.record import Tally

_HOUR_SECONDS = 3600.0


def doctor(
    block: OptionalBlockName = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Also run one small job in a session, which costs QPU time, and record what the "
            "platform does.",
        ),
    ] = False,
    suite: Annotated[
        bool,
        typer.Option(
            "--suite",
            help="With --live: in place of that job, send the requests of the fidelity suite, and "
            "record where IBM answers otherwise than expected.",
        ),
    ] = False,
    qpu_seconds: QPUSeconds = 0.0,
    report: Annotated[
        Path | None,
        typer.Option(help="File for the report of --live; by default one named after the time."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="How long --live waits for its job, in seconds.", min=1)
    ] = _HOUR_SECONDS,
    yes: Yes = False,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Check versions, Prefect API, ledger, credentials, instance and backend; say what to fix.

    Without --block no platform is checked. A Block for the local platform starts it if it is not
    running.

    Exit code 3: a check failed. Exit code 1: a case of the suite differs.

    Example: session-block doctor --block my-session --live
    """
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    if live and block is None:
        fail("--live runs a job, so it needs a Block with credentials: --block NAME")
    if suite and not live:
        fail("--suite sends requests to the platform, so it needs --live")
    soon("Checking versions, Prefect and the ledger …")
    with reporting():
        at_configured_server()
        checks = _checked(block, ledger_url, show=not as_json)
        recorded: dict[str, Any] | None = None
        if live and _fails(checks):
            note("Nothing is sent while a check fails.")
        elif suite and block is not None:
            counted, recorded = run_live(
                load(block, ledger_url), report, qpu_seconds, timeout, yes=yes
            )
            _end_with(counted, None if not as_json else {**_described(checks), "live": recorded})
        elif live and block is not None:
            recorded, check = _run_live(load(block, ledger_url), report, timeout, yes=yes)
            checks.append(check)
            if not as_json:
                _show(check)
    if as_json:
        answer({**_described(checks), "live": recorded})
    if _fails(checks):
        raise typer.Exit(ExitCode.NEEDS_OPERATOR)


def _checked(block: str | None, ledger_url: str | None, *, show: bool) -> list[Check]:
    from session_block.doctor.doctor import examine

    checks = []
    for check in examine(block, ledger_url):
        checks.append(check)
        if show:
            _show(check)
    return checks


def _fails(checks: Sequence[Check]) -> bool:
    from session_block.doctor.check import Verdict

    return any(check.verdict is Verdict.FAILED for check in checks)


def _described(checks: Sequence[Check]) -> dict[str, Any]:
    return {"checks": [check.described() for check in checks]}


def _end_with(counted: Tally, told: dict[str, Any] | None) -> NoReturn:
    """End the command with what the suite counted, or with its JSON."""
    if told is None:
        typer.echo(str(counted))
    else:
        answer(told)
    raise typer.Exit(ExitCode.REFUSED if counted.differ else ExitCode.DONE)


def _run_live(
    block: QuantumSession, file: Path | None, timeout_seconds: float, *, yes: bool
) -> tuple[dict[str, Any], Check]:
    from session_block.doctor.check import Check, Verdict
    from session_block.doctor.live import SHOTS, LiveCheck
    from session_block.doctor.live_report import disagreements
    from session_block.operations.export import write

    confirm(
        f"Open a session, run one job of {SHOTS} shots in it, and close it? Your account pays for "
        "the QPU time.",
        yes=yes,
    )
    found = LiveCheck(block, note, timeout_seconds=timeout_seconds).run()
    file = file or Path(f"session-block-live-{datetime.now(UTC):%Y%m%dT%H%M%S}.json")
    write(found, file, overwrite=False)
    told = f"The report is in {file}."
    if found["error"] is not None:
        return found, Check("live", Verdict.FAILED, f"{found['error']} {told}")
    if others := disagreements(found):
        differ = f"{told} The platform differs from what is assumed: {'; '.join(others)}."
        return found, Check("live", Verdict.WARNING, differ, "Please report this, with the file.")
    return found, Check("live", Verdict.OK, f"{told} The platform does all that is assumed.")


def _show(check: Check) -> None:
    typer.echo(f"{check.verdict.value:<8} {check.what:<14} {check.found}")
    if check.advice:
        typer.echo(f"{'':<8} {'':<14} -> {check.advice}")
