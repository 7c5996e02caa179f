"""``session-block ledger``: copy a ledger to another store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from session_block.cli.common import AsJSON, answer, fail, reporting

app = typer.Typer(
    no_args_is_help=True, help="The ledger, which holds all facts: copy it to another store."
)


@app.callback()
def _group() -> None:
    """Keep ``ledger copy`` two words: Typer would drop the name of a single command."""


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
    """Copy all facts of a ledger into the one at SESSION_BLOCK_LEDGER_URL.

    Stop your runs first, and use only the new ledger afterwards. The old one stays as it is. Facts
    that the new one already holds are left alone, so an interrupted copy can be run again.

    Example: SESSION_BLOCK_LEDGER_URL=postgresql://… session-block ledger copy
    """
    import os

    from session_block.ledger.store import Ledger, copy_ledger
    from session_block.ledger.urls import LEDGER_URL, embedded_ledger_url, is_missing

    target = os.environ.get(LEDGER_URL)
    if not target:
        fail(f"Say which ledger to copy into: export {LEDGER_URL}=postgresql://…")
    with reporting():
        url = source or embedded_ledger_url()
        if is_missing(url):
            fail(
                "There is no ledger to copy: its file does not exist. Give another one with --from."
            )
        with closing(Ledger(url)) as old, closing(Ledger(target)) as new:
            copied = copy_ledger(old, new)
    if as_json:
        answer({"from": str(old), "to": str(new), **asdict(copied)})
    else:
        typer.echo(
            f"Copied {copied.copied} facts of {old} into {new}; {copied.present} were already "
            "there."
        )
