"""``session-block ledger``: move to another store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from session_block.cli.common import AsJSON, answer, fail, reporting

app = typer.Typer(no_args_is_help=True, help="The store of all that is recorded.")


@app.callback()
def _keep_the_name_copy() -> None:
    """The store of all that is recorded."""


@app.command()
def copy(
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="URL of the ledger to copy; by default the file under PREFECT_HOME."
        ),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Copy all facts of a ledger into the one that SESSION_BLOCK_LEDGER_URL names.

    The first ledger stays as it is. Stop your runs before, and use only the second one afterwards.
    What is there already is left as it is, so that an interrupted copy can be run again.

    Example: SESSION_BLOCK_LEDGER_URL=postgresql://… session-block ledger copy
    """
    import os

    from session_block.ledger.store import Ledger, copy_ledger
    from session_block.ledger.urls import LEDGER_URL, embedded_ledger_url, is_missing

    target = os.environ.get(LEDGER_URL)
    if not target:
        fail(f"Name the ledger to copy into: export {LEDGER_URL}=postgresql://…")
    with reporting():
        url = source or embedded_ledger_url()
        if is_missing(url):
            fail("There is no ledger to copy: the file is not there. Name another one with --from.")
        with closing(Ledger(url)) as old, closing(Ledger(target)) as new:
            copied = copy_ledger(old, new)
    if as_json:
        answer({"from": str(old), "to": str(new), **asdict(copied)})
    else:
        typer.echo(
            f"{copied.copied} facts of {old} were copied into {new}; {copied.present} were there "
            "already."
        )
