"""``session-block setup``: save the Blocks that everything else uses."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from session_block.cli.common import (
    AsJSON,
    answer,
    at_prefect_server_if_any,
    fail,
    note,
    reporting,
)

if TYPE_CHECKING:
    from session_block.blocks.credentials import IBMSessionCredentials
    from session_block.doctor.setup import CheckedSetup, Names

app = typer.Typer(
    no_args_is_help=True,
    help="Check and save the Blocks through which experiments reach a platform.",
)

LEAST_BUSY = "least-busy"
_TOKEN = "QISKIT_IBM_TOKEN"  # noqa: S105 - the name of a variable


@app.callback()
def _group() -> None:
    """Keep ``setup ibm`` two words: Typer would drop the name of a single command."""


@app.command()
def ibm(
    token_stdin: Annotated[
        bool,
        typer.Option(
            "--token-stdin",
            help=f"Read the API key from stdin; by default from {_TOKEN}, else it is prompted for.",
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
        typer.Option(help=f"Backend to run jobs on, or '{LEAST_BUSY}': chosen when first needed."),
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Maximum time of a session, such as '2h 30m'.")
    ] = None,
    without_sessions: Annotated[
        Literal["fail", "batch", "job"],
        typer.Option(help="Where the plan has no sessions: 'fail', or use 'batch' or 'job' mode."),
    ] = "fail",
    url: Annotated[
        str | None,
        typer.Option(envvar="QISKIT_IBM_URL", help="Base URL of a platform other than IBM's."),
    ] = None,
    credentials_name: Annotated[
        str, typer.Option(help="Name to save the credentials under.")
    ] = "ibm-quantum",
    name: Annotated[
        str,
        typer.Option(
            help="Name to save the QuantumSession under; the deployments use the default."
        ),
    ] = "quantum-session",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing Blocks of these names.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Ask for an IBM Quantum account, check it at the platform, and save both Blocks.

    Prompts for what no option gives. The API key is never an option, since the shell's history
    would keep it. Nothing is saved unless the platform confirms key, instance and backend.

    Without a Prefect server the account is saved in IBM's own file (~/.qiskit/qiskit-ibm.json), and
    what else the Block says in the ledger: commands work with that, flows do not. Run it again when
    there is a server.

    Example: session-block setup ibm --backend ibm_fez --max-time 1h
    """
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    with reporting(), at_prefect_server_if_any() as api_url:
        from session_block.doctor.setup import Names, check, credentials_of

        names = Names(credentials_name, name)
        keep = _keeper(names, api_url, overwrite=overwrite)
        token = _token(from_stdin=token_stdin)
        if instance is None:
            instance = _asked_instance(credentials_of(token, None, url))
        credentials = credentials_of(token, instance, url)
        backend = backend or _asked_backend(credentials)
        max_time = max_time or _asked("Maximum time of a session", "--max-time", default="1h")
        note("Asking the platform …")
        checked = check(
            credentials,
            None if backend == LEAST_BUSY else backend,
            max_time,
            without_sessions,
        )
        for warning in checked.warnings:
            note(f"Warning: {warning}")
        file = keep(checked)
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
                "account_file": None if file is None else str(file),
            }
        )
        return
    if file is None:
        typer.echo(
            f"Saved the credentials {names.credentials!r} and the QuantumSession "
            f"{names.session!r}. Check them: session-block doctor --block {names.session}"
        )
        return
    typer.echo(
        f"Saved the account {names.credentials!r} in {file}, and the settings of "
        f"{names.session!r} in the ledger. Commands work with it: session-block doctor --block "
        f"{names.session}\nNot done: no Block is saved, which flows and deployments need. Once a "
        "Prefect server runs (prefect server start, or session-block up), run this command again."
    )


def _keeper(
    names: Names, api_url: str | None, *, overwrite: bool
) -> Callable[[CheckedSetup], Path | None]:
    """Return what saves a checked account; say where to, and refuse names that are taken."""
    from session_block.doctor.setup import check_free, check_free_here, save, save_here

    if api_url is None:
        from session_block.ledger.urls import default_ledger_url

        note(
            "No Prefect server of yours answers, so no Block can be saved. The API key will be "
            "saved in IBM's own file of accounts, which only you can read."
        )
        ledger_url = default_ledger_url()
        if not overwrite:
            check_free_here(names, ledger_url)
        return lambda checked: save_here(checked, names, ledger_url, overwrite=overwrite)
    from session_block.lab.prefect_server import OPEN_SERVER_ADVICE, shown, who_may_read

    if readers := who_may_read(api_url):
        note(
            f"Warning: the Prefect server at {shown(api_url)} asks for no password. The API key "
            f"that is saved there can be read by {' and by '.join(readers)}. {OPEN_SERVER_ADVICE}"
        )
    if not overwrite:
        check_free(names)
    return lambda checked: save(checked, names, overwrite=overwrite)


def _token(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    found = os.environ.get(_TOKEN)
    return found or _asked("API key", f"--token-stdin, or set {_TOKEN}", hidden=True)


def _asked_instance(credentials: IBMSessionCredentials) -> str:
    from session_block.doctor.setup import offers

    found = offers(credentials)
    if not found:
        fail("The API key has access to no instance. Create one, or ask an owner to invite you.")
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
