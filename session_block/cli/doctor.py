"""``session-block doctor``: check the set-up and, with ``--live``, what the platform does."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from session_block.cli.common import (
    AsJSON,
    ExitCode,
    LedgerURL,
    OptionalBlockName,
    Yes,
    answer,
    confirm,
    fail,
    load,
    note,
    reporting,
)

if TYPE_CHECKING:
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.doctor.check import Check

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

    Exit code 3: a check failed.

    Example: session-block doctor --block my-session --live
    """
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    from session_block.doctor.check import Verdict
    from session_block.doctor.doctor import examine

    if live and block is None:
        fail("--live runs a job, so it needs a Block with credentials: --block NAME")
    with reporting():
        checks = []
        for check in examine(block, ledger_url):
            checks.append(check)
            if not as_json:
                _show(check)
        failed = any(check.verdict is Verdict.FAILED for check in checks)
        recorded: dict[str, Any] | None = None
        if live and failed:
            note("No job is run while a check fails.")
        elif live and block is not None:
            recorded, check = _run_live(load(block), report, timeout, yes=yes)
            checks.append(check)
            if not as_json:
                _show(check)
    if as_json:
        answer({"checks": [check.described() for check in checks], "live": recorded})
    if any(check.verdict is Verdict.FAILED for check in checks):
        raise typer.Exit(ExitCode.NEEDS_OPERATOR)


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
