"""``session-block usage``: QPU seconds, by instance and experiment."""

from __future__ import annotations

from typing import Annotated

import typer

from session_block.cli.common import (
    AsJSON,
    LedgerURL,
    OptionalBlockName,
    answer,
    connect,
    ledger_of,
    load,
    print_table,
    reporting,
    seconds_shown,
    title,
)


def usage(
    experiment: Annotated[
        str | None, typer.Argument(help="Name or UID of the experiment; all by default.")
    ] = None,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Show QPU usage in seconds, by instance and experiment.

    With --block the platform is asked about the Block's instance. Without it, and for other
    instances, only the usage in the ledger is shown: what was final when it was last asked for.

    Example: session-block usage --block my-session
    """
    from session_block.operations.usage_by_instance import usage_by_instance

    with reporting():
        loaded = None if block is None else load(block, ledger_url)
        ledger = ledger_of(loaded, ledger_url)
        connection = None if loaded is None else connect(loaded)
        found = usage_by_instance(ledger, experiment, connection)
    if as_json:
        answer([one.described() for one in found])
        return
    if not found:
        typer.echo("No experiments.")
    for one in found:
        known = seconds_shown(one.seconds, final=all(used.final for used in one.experiments))
        typer.echo(f"{known} at {one.instance or 'no instance yet'}")
        if one.limit is not None:
            typer.echo(f"    limit of the instance: {one.limit}")
        for name, value in (one.allocation or {}).items():
            typer.echo(f"    {name}: {value}")
        if one.experiments:
            print_table(
                ["experiment", "usage", "source"],
                [
                    [
                        title(used.identity),
                        seconds_shown(used.seconds, final=used.final),
                        used.source,
                    ]
                    for used in one.experiments
                ],
                whole=["usage", "source"],
                cut=["experiment"],
            )
    if connection is None and any(not used.final for one in found for used in one.experiments):
        typer.echo("Not all is known yet. Ask the platform: session-block usage --block NAME")
