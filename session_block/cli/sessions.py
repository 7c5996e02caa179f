"""``session-block sessions``: what became of every session, and those that nobody owns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from session_block.cli.common import (
    AsJSON,
    BlockName,
    ExitCode,
    LedgerURL,
    OptionalBlockName,
    answer,
    connect,
    fail,
    ledger_of,
    load,
    print_table,
    reporting,
)
from session_block.errors import InvalidInputError, SessionNotFoundError
from session_block.operations.sessions import RecordedSession, SessionOperator

if TYPE_CHECKING:
    from session_block.client import Connection
    from session_block.operations.orphans import Orphan

app = typer.Typer(
    no_args_is_help=True,
    help="The sessions of a ledger: look at them, close them, and find those that were orphaned.",
)

SessionID = Annotated[str, typer.Argument(help="ID of the session.")]


@app.command("list")
def list_(
    experiment: Annotated[
        str | None, typer.Argument(help="Name or UID of the experiment; all by default.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the platform for state and usage; needs --block.")
    ] = False,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """List sessions: whose they are, how they came about and how they ended.

    Example: session-block sessions list --live --block my-session
    """
    with reporting():
        loaded = None if block is None else load(block)
        if live and loaded is None:
            fail("--live asks the platform, so it needs a Block with credentials: --block NAME")
        sessions = SessionOperator(ledger_of(loaded, ledger_url)).sessions(experiment)
        rows = [session.described() for session in sessions]
        if live and loaded is not None:
            connection = connect(loaded)
            for session, row in zip(sessions, rows, strict=True):
                row.update(_live(session, connection))
    if as_json:
        answer(rows)
        return
    if not rows:
        typer.echo("No sessions.")
        return
    print_table(
        ["experiment", "n", "session", "mode", "backend", "kind", "opened at", "end"]
        + ["state", "usage"] * live,
        [_cells(session, row, live=live) for session, row in zip(sessions, rows, strict=True)],
        whole=["session"],
    )


@app.command()
def show(
    session_id: SessionID,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Tell all that the ledger knows of a session and, with --block, all that the platform does.

    Example: session-block sessions show SESSION --block my-session
    """
    with reporting():
        loaded = None if block is None else load(block)
        ledger = ledger_of(loaded, ledger_url)
        facts = SessionOperator(ledger).facts(session_id)
        if loaded is None and not facts:
            fail(
                f"{ledger} knows nothing of session {session_id}. With --block NAME the "
                "platform is asked."
            )
        details = None if loaded is None else connect(loaded).sessions.look(session_id)
    platform = {} if details is None else details.model_dump(mode="json")
    if as_json:
        story = [
            [fact.created_at.isoformat(), fact.experiment, fact.key, dict(fact.body)]
            for fact in facts
        ]
        answer({"session_id": session_id, "facts": story, "platform": platform or None})
        return
    for fact in facts:
        moment = fact.created_at.isoformat(timespec="milliseconds")
        typer.echo(f"{moment}  {fact.experiment}  {fact.key}  {json.dumps(dict(fact.body))}")
    for name, value in platform.items():
        typer.echo(f"{name:<20} {'' if value is None else value}")


@app.command()
def close(
    session_id: SessionID,
    block: BlockName,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Cancel its queued jobs instead of letting them finish."),
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Close a session that an experiment of the Block's ledger opened; its jobs finish.

    Example: session-block sessions close SESSION --block my-session
    """
    with reporting():
        loaded = load(block)
        operator = SessionOperator(loaded.ledger())
        closed = operator.close(session_id, connect(loaded), cancel_jobs=cancel)
    if as_json:
        answer({"session_id": session_id, "closed": closed, "cancelled": cancel})
    elif closed:
        typer.echo(f"{'Cancelled' if cancel else 'Closed'} session {session_id}.")
    else:
        typer.echo(f"Session {session_id} was closed already.")


@app.command()
def sweep(
    block: BlockName,
    close: Annotated[
        list[str] | None,
        typer.Option("--close", help="ID of an orphan to close; may be given several times."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """List orphan sessions: those whose opening was cut off. Closes only what --close names.

    Compare before you close: a colleague's session that was opened on the same backend, in the same
    minutes, with the same max time and that holds no job looks the same.

    Exit code 3: it lists some.

    Example: session-block sessions sweep --block my-session --close SESSION
    """
    with reporting():
        from session_block.operations.orphans import OrphanFinder

        loaded = load(block)
        sweeper = OrphanFinder(loaded.ledger(), connect(loaded))
        orphans = sweeper.close(close) if close else sweeper.find()
    if as_json:
        answer([orphan.described() for orphan in orphans])
    elif close:
        for orphan in orphans:
            typer.echo(f"Closed orphan session {orphan.session_id}.")
    elif not orphans:
        typer.echo("No orphan sessions.")
    else:
        _show_orphans(orphans)
    if orphans and not close:
        raise typer.Exit(ExitCode.NEEDS_OPERATOR)


def _show_orphans(orphans: list[Orphan]) -> None:
    print_table(
        ["session", "mode", "backend", "created", "max time", "state", "jobs", "experiment"],
        [
            [
                orphan.session_id,
                orphan.session.listed.mode,
                str(orphan.session.listed.backend),
                orphan.session.listed.created.isoformat(timespec="seconds"),
                str(orphan.session.details.max_time),
                orphan.session.details.state,
                str(len(orphan.session.jobs)),
                ", ".join(dict.fromkeys(str(one.experiment) for one in orphan.openings)),
            ]
            for orphan in orphans
        ],
        whole=["session"],
    )
    typer.echo("Close one by its ID: session-block sessions sweep --close ID")


def _live(session: RecordedSession, connection: Connection) -> dict[str, Any]:
    """Return the platform's state and usage of a session; of another instance's it tells none."""
    session_id = session.record.session_id
    if session_id is None:
        return {"state": None, "usage_seconds": None}
    try:
        details = connection.sessions.look(session_id)
    except (SessionNotFoundError, InvalidInputError):
        return {"state": "unknown", "usage_seconds": None}
    return {"state": details.state, "usage_seconds": details.usage_time}


def _cells(session: RecordedSession, row: dict[str, Any], *, live: bool) -> list[Any]:
    cells = [
        str(session.experiment),
        row["session_number"],
        row["session_id"],
        row["mode"],
        row["backend"],
        row["kind"] or "opening",
        session.record.intended_at.isoformat(timespec="seconds"),
        row["end"],
    ]
    if live:
        cells += [row["state"], row["usage_seconds"]]
    return cells
