"""The fidelity suite from a shell: on a platform of its own, or on a live one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from session_block.cli.common import AsJSON, ExitCode, answer, confirm, note, reporting, soon

if TYPE_CHECKING:
    from session_block.account import Account
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.doctor.fidelity.record import Tally
    from session_block.doctor.fidelity.suite import Finding
    from session_block.doctor.fidelity.target import Target
    from session_block.local_platform import LocalPlatform

_LOCAL_PATIENCE_SECONDS = 120.0
_LOCAL_SPEED = 30.0
"""How many seconds pass on the local platform while one does here: batches idle for a minute."""

_OTHER_JOBS = 5
_OTHER_JOB_SECONDS = 12.0
"""Behind these, a job stays queued for two seconds here."""

_LOCAL_BACKEND = "ibm_fez"
_ALL_SECONDS = 60.0
QPUSeconds = Annotated[
    float,
    typer.Option(
        "--qpu-seconds",
        help="The most QPU time that the suite may spend, in seconds. At 0 only what costs nothing "
        "is sent; 60 is enough for all of it.",
        min=0,
    ),
]


def fidelity(
    qpu_seconds: QPUSeconds = _ALL_SECONDS,
    record: Annotated[
        Path | None, typer.Option(help="File for the record of what was asked and answered.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Check the local platform against what is known of IBM Quantum.

    It starts a platform of its own, and stops it. To check IBM Quantum itself, use session-block
    doctor --live --suite.

    Exit code 1: a case differs.

    Example: session-block platform fidelity
    """
    soon("Starting a local platform for the suite …")
    from session_block.doctor.fidelity.target import Target
    from session_block.local_platform import LocalPlatform

    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    with reporting(), ExitStack() as stack:
        platform = stack.enter_context(
            LocalPlatform(
                time_scale=_LOCAL_SPEED,
                other_jobs=_OTHER_JOBS,
                other_job_seconds=_OTHER_JOB_SECONDS,
            )
        )
        account = account_of(platform)
        crns = {one.plan: one.crn for one in platform.accounts[0].instances}
        targets = [
            stack.enter_context(Target(account, crns["paygo"], "paid", _LOCAL_BACKEND)),
            stack.enter_context(Target(account, crns["open"], "open", _LOCAL_BACKEND)),
        ]
        counted, written = _run(targets, qpu_seconds, _LOCAL_PATIENCE_SECONDS, "local")
    if record is not None:
        _write(written, record)
    if as_json:
        answer(written)
    else:
        typer.echo(str(counted))
    if counted.differ:
        raise typer.Exit(ExitCode.REFUSED)


def run_live(
    block: QuantumSession, file: Path | None, qpu_seconds: float, timeout: float, *, yes: bool
) -> tuple[Tally, dict[str, Any]]:
    """Run the suite at a Block's instance, and write and return its record.

    Raises:
        ConnectionFailedError: The platform does not answer, or refuses the credentials.
    """
    from session_block.client import PLAN_WITHOUT_SESSIONS, Connection
    from session_block.doctor.fidelity.case import read_book
    from session_block.doctor.fidelity.suite import planned
    from session_block.doctor.fidelity.target import Target

    connection = Connection(block.credentials).open()
    plan: Literal["open", "paid"]
    plan = "open" if connection.plan() == PLAN_WITHOUT_SESSIONS else "paid"
    plans = planned(read_book(), [plan], qpu_seconds)
    confirm(
        f"Send {sum(map(len, plans.by_set_up.values()))} requests and spend up to "
        f"{plans.seconds:g} s of QPU time? Sessions and batches are opened and closed. Jobs that "
        "should cost nothing are sent only where there is a queue, and cancelled in it.",
        yes=yes,
    )
    with Target(connection.account, connection.instance, plan, block.backend_name) as target:
        connection.close()
        counted, written = _run([target], qpu_seconds, timeout, "live")
    file = file or Path(f"session-block-fidelity-{datetime.now(UTC):%Y%m%dT%H%M%S}.json")
    _write(written, file)
    note(f"The record is in {file}. It does not tell whose it is, so it can be shared.")
    return counted, written


def account_of(platform: LocalPlatform) -> Account:
    """Return the first account of a local platform."""
    from session_block.account import Account
    from session_block.local_platform import service_environment

    return Account(
        token=platform.info.token,
        channel="ibm_quantum_platform",
        url=platform.info.url,
        environment=service_environment(platform.info.origin),
    )


def _run(
    targets: Sequence[Target], bound: float, patience: float, platform: str
) -> tuple[Tally, dict[str, Any]]:
    from session_block.doctor.fidelity.case import read_book
    from session_block.doctor.fidelity.record import record_of, tally
    from session_block.doctor.fidelity.suite import Suite

    suite = Suite(read_book(), targets, bound=bound, patience=patience, tell=_tell)
    about = {
        "platform": platform,
        "plans": [one.plan for one in targets],
        "processor": targets[0].processor(),
        "bound_seconds": bound,
        "planned_seconds": suite.planned.seconds,
        "versions": {
            name: version(name) for name in ("prefect-quantum-sessions", "qiskit-ibm-runtime")
        },
    }
    try:
        found = suite.run()
    except KeyboardInterrupt:
        note("Interrupted. The jobs and sessions that the suite made are ended.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    secrets = {one for target in targets for one in target.secrets()}
    return tally(found), record_of(found, secrets=secrets, about=about)


def _tell(finding: Finding) -> None:
    """Print a case that does not simply agree."""
    from session_block.doctor.fidelity.suite import CaseOutcome

    if finding.outcome is not CaseOutcome.AGREES:
        kind = f" ({finding.case.class_})"
        note(f"{finding.outcome.value:<8} {finding.case.id}{kind}: {finding}")


def _write(written: dict[str, Any], file: Path) -> None:
    from session_block.operations.export import write

    write(written, file, overwrite=True)
