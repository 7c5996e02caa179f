"""Shared by all commands: exit codes, options, answers and errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from session_block.errors import (
    CredentialsRequiredError,
    SessionBlockError,
    SubmissionHeldError,
)

if TYPE_CHECKING:
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.client import Connection
    from session_block.ledger.store import Ledger
    from session_block.records.identity import Identity


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    REFUSED = 1
    WRONG_USAGE = 2
    NEEDS_OPERATOR = 3
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused, or an error: the message says what to do",
    ExitCode.WRONG_USAGE: "wrong usage: an unknown command, option or value",
    ExitCode.NEEDS_OPERATOR: (
        "somebody has to decide or fix something: a held submission, an orphan session, a failed "
        "check"
    ),
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); run the command again to continue",
}

_FORM_OF_ERRORS = (
    'With --json, stdout holds only the JSON answer, and an error is {"error": …} on stderr. '
    "Wrong usage is always reported as text."
)
EPILOG = "\n\n".join(
    [
        "Exit codes:",
        *(f"{code.value:>4}  {meaning}" for code, meaning in MEANINGS.items()),
        _FORM_OF_ERRORS,
    ]
)

_MONTH_SECONDS = 30 * 24 * 3600.0
_UNITS = (("d", 24 * 3600.0), ("h", 3600.0), ("min", 60.0), ("s", 5.0))

_FILE_WIDTH = 200
_GAP, _LEAST_WIDTH = 2, 8
"""Columns of a table that is not printed to a terminal, where Rich would fold it at 80."""

_as_json: ContextVar[bool] = ContextVar("session_block_as_json", default=False)

_until_the_end: ContextVar[ExitStack] = ContextVar("session_block_until_the_end")


def _note_json(as_json: bool) -> bool:
    _as_json.set(as_json)
    return as_json


AsJSON = Annotated[
    bool, typer.Option("--json", callback=_note_json, help="Print JSON, and nothing else.")
]
_BLOCK = typer.Option(
    "--block",
    envvar="SESSION_BLOCK_BLOCK",
    help="Name of the QuantumSession Block to use, with its credentials and ledger.",
)
BlockName = Annotated[str, _BLOCK]
OptionalBlockName = Annotated[str | None, _BLOCK]
LedgerURL = Annotated[
    str | None,
    typer.Option(
        "--ledger-url",
        help=(
            "URL of the ledger; by default the Block's, else SESSION_BLOCK_LEDGER_URL, else the "
            "SQLite file under PREFECT_HOME."
        ),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def fail(message: str, code: ExitCode = ExitCode.REFUSED) -> NoReturn:
    """Print an error to stderr, as JSON under ``--json``, and exit."""
    typer.echo(json.dumps({"error": message}) if _as_json.get() else message, err=True)
    raise typer.Exit(code)


def answer(value: Any) -> None:
    """Print a command's answer as JSON."""
    typer.echo(json.dumps(value))


def note(text: str) -> None:
    """Print progress for people; under ``--json`` to stderr, since stdout is the answer's."""
    typer.echo(text, err=_as_json.get())


def soon(text: str) -> None:
    """Say what is being done, so that nobody looks at nothing for seconds; not under ``--json``."""
    if not _as_json.get():
        typer.echo(text, err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask a question, and exit unless the user agrees; ``yes`` answers it beforehand."""
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        fail("Nobody answered, so nothing was done. To skip the question, give --yes.")
    if not agreed:
        fail("Nothing was done.")


@contextmanager
def reporting() -> Iterator[None]:
    """Turn the package's errors into messages and exit codes."""
    with ExitStack() as stack:
        token = _until_the_end.set(stack)
        try:
            yield
        except SubmissionHeldError as error:
            fail(str(error), ExitCode.NEEDS_OPERATOR)
        except CredentialsRequiredError as error:
            fail(str(error), ExitCode.WRONG_USAGE)
        except SessionBlockError as error:
            fail(str(error))
        finally:
            _until_the_end.reset(token)


@contextmanager
def at_prefect_server() -> Iterator[str]:
    """Use the Prefect server that answers: the configured one, else the local one.

    Exits if no server answers, or if the server fails a request.
    """
    with at_prefect_server_if_any() as api_url:
        if api_url is None:
            fail(
                "No Prefect server of yours answers. Start one, or point to it: "
                "export PREFECT_API_URL=… (and PREFECT_API_AUTH_STRING=…, if it asks for one)"
            )
        yield api_url


@contextmanager
def at_prefect_server_if_any() -> Iterator[str | None]:
    """Use the Prefect server that answers, as :func:`at_prefect_server` does; ``None`` if none.

    Exits if one is configured and none answers, or if the server fails a request.
    """
    soon("Looking for the Prefect server …")
    from prefect.settings import get_current_settings, temporary_settings

    from session_block.lab.prefect_server import find_prefect_server, reaching, shown

    api_url = find_prefect_server()
    if api_url is None:
        configured = get_current_settings().api.url
        if configured is not None:
            fail(
                f"No Prefect server of yours answers, and {shown(configured)} is configured "
                "(PREFECT_API_URL). Start it, or point to another one: export PREFECT_API_URL=… "
                "(and PREFECT_API_AUTH_STRING=…, if it asks for one)"
            )
        yield None
        return
    with temporary_settings(reaching(api_url)), asking_prefect():
        yield api_url


@contextmanager
def asking_prefect(consequence: str = "") -> Iterator[None]:
    """Exit if the Prefect server fails a request, or answers what Prefect does not understand.

    Args:
        consequence: What came of it; the message begins with it.
    """
    from json import JSONDecodeError

    import httpx
    from prefect.exceptions import PrefectException
    from prefect.settings import get_current_settings
    from pydantic import ValidationError

    from session_block.lab.prefect_server import shown

    nonsense = (ValidationError, JSONDecodeError)
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, PrefectException, *nonsense) as error:
        where = shown(get_current_settings().api.url or "")
        fail(
            f"{consequence}The Prefect server at {where} failed a request ({type(error).__name__}: "
            f"{error}). Check that it runs, and that PREFECT_API_URL is its address."
        )


def print_table(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    whole: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> None:
    """Print a table without lines; cells that do not fit are folded.

    Args:
        names: The columns' names.
        rows: The cells; ``None`` is printed as an empty cell.
        whole: Columns that are never folded, so that their values can be copied.
        cut: Columns that are cut short in a terminal, so that each row is one line.
    """
    console = Console()
    width = console.width if console.is_terminal else _FILE_WIDTH
    columns = [
        [name, *("" if row[place] is None else str(row[place]) for row in rows)]
        for place, name in enumerate(names)
    ]
    widths = [max(map(cell_len, column)) for column in columns]
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place, name in enumerate(names):
        # Rich would take from the columns that are to stay whole, too.
        if name in cut and excess > 0:
            room = max(widths[place] - excess, _LEAST_WIDTH)
            excess -= widths[place] - room
            columns[place] = [_cut(cell, room) for cell in columns[place]]
        table.add_column(name, no_wrap=name in whole or name in cut, overflow="fold")
    for cells in list(zip(*columns, strict=True))[1:]:
        table.add_row(*cells)
    Console(width=width, markup=False, emoji=False).print(table)  # a name may be "[/]" or ":x:"


def _cut(text: str, room: int) -> str:
    return text if cell_len(text) <= room else f"{set_cell_size(text, room - 1).rstrip()}…"


def title(identity: Identity) -> str:
    """Return an experiment's name, with its number if it is not the first of that name."""
    return identity.name + f" ({identity.number})" * (identity.number > 1)


def seconds_shown(seconds: float, *, final: bool) -> str:
    """Say what is known of usage; what is unknown is never shown as zero."""
    if final:
        return f"{seconds:g} s"
    return f"{seconds:g} s, not final" if seconds else "unknown"


def ago(moment: datetime | None) -> str | None:
    """Say how long ago a moment was, or its date if that is long.

    Example:
        >>> ago(datetime.now(UTC) - timedelta(minutes=3))
        '3 min ago'
    """
    if moment is None:
        return None
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds >= _MONTH_SECONDS:
        return f"{moment.astimezone():%Y-%m-%d}"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair per line."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        typer.echo(f"{name:<{width}}  {'' if value is None else value}".rstrip())


def load(name: str, ledger_url: str | None = None) -> QuantumSession:
    """Load a Block, or exit; silences the client's warnings for the rest of the command.

    Where no Prefect server answers, its copy in the ledger serves. None is started: that would take
    a minute, and find no Block of another machine.

    Args:
        name: The Block's name.
        ledger_url: Where to look for a copy; by default in the default ledger.
    """
    import logging

    from session_block.environment.prefect_settings import no_server_for_certain
    from session_block.ledger.urls import default_ledger_url
    from session_block.records.block_copies import find_copy

    ledger_url = ledger_url or default_ledger_url()
    nowhere = no_server_for_certain()
    copy = find_copy(ledger_url, name) if nowhere else None
    if nowhere and copy is None:  # told before Prefect is imported, which takes a second
        _no_block(name, ledger_url, None)
    soon(f"Loading Block {name!r} …")
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    if not nowhere and _reach_server():
        from session_block.blocks.quantum_session import load_block

        with asking_prefect(f"Block {name!r} could not be loaded. "):
            return load_block(name)
    from session_block.operations.copied_blocks import block_of

    copy = copy or find_copy(ledger_url, name)
    if copy is None:
        _no_block(name, ledger_url, _configured_server())
    block = block_of(copy, ledger_url)
    lacking = f", without its {' and '.join(copy.left_out)}" if copy.left_out else ""
    typer.echo(
        f"No Prefect server answers, so Block {copy.block!r} is taken from its copy in the ledger"
        f"{lacking}: recorded {ago(copy.recorded_at)}.",
        err=True,
    )
    return block


def _no_block(name: str, ledger_url: str, configured: str | None) -> NoReturn:
    from session_block.ledger.urls import LEDGER_URL, shown_url

    where = (
        "none is configured or runs here"
        if configured is None
        else f"the one that is configured, {configured}, does not answer"
    )
    fail(
        f"Block {name!r} is saved at a Prefect server, and {where}. Start it ('prefect server "
        "start', or 'session-block up'), or point to it: export PREFECT_API_URL=… Without a "
        "server its copy in a ledger serves, which each experiment opened with it and "
        f"'session-block setup ibm' leave there, but {shown_url(ledger_url)} has none. To look "
        f"in another ledger: export {LEDGER_URL}=…",
        ExitCode.WRONG_USAGE,
    )


def _configured_server() -> str | None:
    from prefect.settings import get_current_settings

    from session_block.lab.prefect_server import shown

    configured = get_current_settings().api.url
    return None if configured is None else shown(configured)


def _reach_server() -> bool:
    """Reach the Prefect server that has the Blocks until the command ends, if it answers.

    It is the configured one, or this user's own if none is configured.
    """
    from prefect.settings import get_current_settings

    from session_block.lab.prefect_server import find_prefect_server

    configured = get_current_settings().api.url
    found = find_prefect_server()
    if found is None or configured not in (None, found):
        return False
    return _reach(found)


def at_configured_server() -> bool:
    """Reach the configured Prefect server until the command ends: it may have more to ask.

    Returns:
        Whether one is configured. It is not asked whether it answers.
    """
    from prefect.settings import get_current_settings

    return _reach(get_current_settings().api.url)


def _reach(api_url: str | None) -> bool:
    from prefect.settings import temporary_settings

    from session_block.lab.prefect_server import reaching

    if api_url is not None:
        _until_the_end.get().enter_context(temporary_settings(reaching(api_url)))
    return api_url is not None


def ledger_of(block: QuantumSession | None, ledger_url: str | None) -> Ledger:
    """Return the ledger at the URL, else the Block's, else the default one."""
    from session_block.ledger.store import Ledger
    from session_block.ledger.urls import default_ledger_url

    if ledger_url is None and block is not None:
        return block.ledger()
    return Ledger(ledger_url or default_ledger_url())


def connect(block: QuantumSession) -> Connection:
    """Connect to the Block's instance."""
    from session_block.client import Connection

    return Connection(block.credentials).open()
