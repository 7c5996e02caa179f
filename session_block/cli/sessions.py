"""``session-block sessions``: list, show and close sessions, and find orphans."""

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
    ago,
    answer,
    connect,
    fail,
    ledger_of,
    load,
    print_table,
    reporting,
    title,
)
from session_block.errors import InvalidInputError, SessionNotFoundError

if TYPE_CHECKING:
    from session_block.client import Connection
    from session_block.operations.orphans import Orphan
    from session_block.operations.sessions import RecordedSession

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the sessions of a ledger, close them, and find orphan sessions.",
)

SessionID = Annotated[str, typer.Argument(help="ID of the session, or how it begins.")]


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
    """List sessions: their experiment, how they began and how they ended.

    Example: session-block sessions list --live --block my-session
    """
    from session_block.operations.sessions import SessionOperator

    with reporting():
        loaded = None if block is None else load(block, ledger_url)
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
        ["experiment", "session", "mode", "backend", "opened"]
        + (["state", "usage"] if live else ["end"]),
        [_cells(session, row, live=live) for session, row in zip(sessions, rows, strict=True)],
        whole=["session", "mode", "opened", "state", "usage"],
        cut=["experiment", "backend", "end"],
    )


@app.command()
def show(
    session_id: SessionID,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Show all that the ledger knows about a session and, with --block, the platform.

    Example: session-block sessions show SESSION --block my-session
    """
    from session_block.operations.sessions import SessionOperator

    with reporting():
        loaded = None if block is None else load(block, ledger_url)
        ledger = ledger_of(loaded, ledger_url)
        operator = SessionOperator(ledger)
        session_id = operator.called(session_id)
        facts = operator.facts(session_id)
        if loaded is None and not facts:
            fail(
                f"{ledger} knows nothing about session {session_id}. To ask the platform, give "
                "--block NAME."
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
    from session_block.operations.sessions import SessionOperator

    with reporting():
        loaded = load(block)
        operator = SessionOperator(loaded.ledger())
        session_id = operator.called(session_id)
        closed = operator.close(session_id, connect(loaded), cancel_jobs=cancel)
    if as_json:
        answer({"session_id": session_id, "closed": closed, "cancelled": cancel})
    elif closed:
        typer.echo(f"{'Cancelled' if cancel else 'Closed'} session {session_id}.")
    else:
        typer.echo(f"Session {session_id} was already closed.")


@app.command()
def orphans(
    block: BlockName,
    close: Annotated[
        list[str] | None,
        typer.Option("--close", help="ID of an orphan to close; may be given several times."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """List orphan sessions: those whose opening was cut off. Closes only those given by --close.

    Compare before you close: a colleague's session without jobs, opened on the same backend, in the
    same minutes and with the same max time, looks the same.

    Exit code 3: orphans are listed.

    Example: session-block sessions orphans --block my-session --close SESSION
    """
    with reporting():
        loaded = load(block)
        from session_block.operations.orphans import OrphanFinder

        finder = OrphanFinder(loaded.ledger(), connect(loaded))
        found = finder.close(close) if close else finder.find()
    if as_json:
        answer([orphan.described() for orphan in found])
    elif close:
        for orphan in found:
            typer.echo(f"Closed orphan session {orphan.session_id}.")
    elif not found:
        typer.echo("No orphan sessions.")
    else:
        _show_orphans(found)
    if found and not close:
        raise typer.Exit(ExitCode.NEEDS_OPERATOR)


def _show_orphans(found: list[Orphan]) -> None:
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
            for orphan in found
        ],
        whole=["session"],
    )
    typer.echo("Close one by its ID: session-block sessions orphans --close ID")


def _live(session: RecordedSession, connection: Connection) -> dict[str, Any]:
    """Return a session's state and usage at the platform; unknown at another instance."""
    session_id = session.record.session_id
    if session_id is None:
        return {"state": None, "usage_seconds": None}
    try:
        details = connection.sessions.look(session_id)
    except (SessionNotFoundError, InvalidInputError):
        return {"state": "unknown", "usage_seconds": None}
    return {"state": details.state, "usage_seconds": details.usage_time}


def _cells(session: RecordedSession, row: dict[str, Any], *, live: bool) -> list[Any]:
    from session_block.operations.sessions import SHORT_ID

    used = row.get("usage_seconds")
    return [
        title(session.experiment),
        None if row["session_id"] is None else row["session_id"][:SHORT_ID],
        row["mode"],
        row["backend"],
        ago(session.record.intended_at),
        *([row["state"], "unknown" if used is None else f"{used:g} s"] if live else [row["end"]]),
    ]
