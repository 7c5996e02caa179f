"""``session-block setup``: the Blocks that everything else names."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from session_block.cli.common import AsJSON, answer, at_prefect_server, fail, note, reporting

if TYPE_CHECKING:
    from session_block.blocks.credentials import IBMSessionCredentials

app = typer.Typer(
    no_args_is_help=True,
    help="Save the Blocks with which experiments reach a platform, after checking them.",
)

LEAST_BUSY = "least-busy"
_TOKEN = "QISKIT_IBM_TOKEN"  # noqa: S105 - the name of a variable


@app.callback()
def _group() -> None:
    """Keep ``setup ibm`` two words, though there is one command."""


@app.command()
def ibm(
    token_stdin: Annotated[
        bool,
        typer.Option(
            "--token-stdin",
            help=f"Read the API key from stdin; else {_TOKEN} is used, else you are asked for it.",
        ),
    ] = False,
    instance: Annotated[
        str | None,
        typer.Option(
            envvar="QISKIT_IBM_INSTANCE", help="CRN or service name of the instance to use."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help=f"Backend on which jobs run, or '{LEAST_BUSY}' when first needed."),
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Longest time of a session, such as '2h 30m'.")
    ] = None,
    without_sessions: Annotated[
        Literal["fail", "batch", "job"],
        typer.Option(help="Where the plan has no sessions: 'fail', or use 'batch' or 'job' mode."),
    ] = "fail",
    url: Annotated[
        str | None,
        typer.Option(envvar="QISKIT_IBM_URL", help="Base URL of another platform than IBM's."),
    ] = None,
    credentials_name: Annotated[
        str, typer.Option(help="Name under which the credentials are saved.")
    ] = "ibm-quantum",
    name: Annotated[
        str,
        typer.Option(
            help="Name under which the QuantumSession is saved; the deployments use the default."
        ),
    ] = "quantum-session",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace Blocks of these names.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Ask for an IBM Quantum account, check it at the platform, and save both Blocks.

    What no option gives is asked for. The API key is never an option, which a shell's history would
    keep. Nothing is saved unless key, instance and backend are confirmed by the platform.

    Example: session-block setup ibm --backend ibm_fez --max-time 1h
    """
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    with reporting(), at_prefect_server():
        from session_block.doctor.setup import Names, check, check_free, credentials_of, save

        names = Names(credentials_name, name)
        if not overwrite:
            check_free(names)
        token = _token(from_stdin=token_stdin)
        if instance is None:
            instance = _asked_instance(credentials_of(token, None, url))
        credentials = credentials_of(token, instance, url)
        backend = backend or _asked_backend(credentials)
        max_time = max_time or _asked("Longest time of a session", "--max-time", default="1h")
        note("Asking the platform …")
        checked = check(
            credentials,
            None if backend == LEAST_BUSY else backend,
            max_time,
            without_sessions,
        )
        for warning in checked.warnings:
            note(f"Warning: {warning}")
        save(checked, names, overwrite=overwrite)
    if as_json:
        answer(
            {
                "credentials": names.credentials,
                "block": names.session,
                "instance": checked.session.credentials.account().instance,
                "plan": checked.plan,
                "backend": checked.session.backend_name,
                "max_time": checked.session.max_time,
                "warnings": list(checked.warnings),
            }
        )
        return
    typer.echo(
        f"Saved the credentials {names.credentials!r} and the QuantumSession {names.session!r}. "
        f"See that all is well: session-block doctor --block {names.session}"
    )


def _token(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    found = os.environ.get(_TOKEN)
    return found or _asked("API key", f"--token-stdin, or set {_TOKEN}", hidden=True)


def _asked_instance(credentials: IBMSessionCredentials) -> str:
    from session_block.doctor.setup import offers

    found = offers(credentials)
    if not found:
        fail("The API key may use no instance. Create one, or let its owner invite you.")
    if len(found) == 1:
        return found[0].crn
    for number, one in enumerate(found, start=1):
        typer.echo(f"{number:>3}  {one.name}  ({one.plan} plan)  {one.crn}", err=True)
    chosen = _asked("Number or CRN of the instance", "--instance")
    if chosen.isdecimal() and 1 <= int(chosen) <= len(found):
        return found[int(chosen) - 1].crn
    return chosen


def _asked_backend(credentials: IBMSessionCredentials) -> str:
    from session_block.doctor.setup import backends_of

    typer.echo(f"Its backends: {', '.join(backends_of(credentials))}", err=True)
    return _asked(f"Backend, or {LEAST_BUSY}", "--backend", default=LEAST_BUSY)


def _asked(what: str, option: str, *, default: str | None = None, hidden: bool = False) -> str:
    try:
        answered: str = typer.prompt(what, default=default, hide_input=hidden, err=True)
    except typer.Abort:
        fail(f"{what}: nobody answered, so nothing was saved. Give it with {option}.")
    return answered
