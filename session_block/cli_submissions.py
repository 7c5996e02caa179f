"""``session-block submissions``: what became of every job, and what an operator decides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from session_block.cli_platform import AsJSON, fail
from session_block.errors import SessionBlockError
from session_block.ledger import Ledger, default_ledger_url
from session_block.operator import Operator, SubmissionState

app = typer.Typer(
    no_args_is_help=True,
    help="The submissions of a ledger: look at them, and decide what the product leaves to you.",
)

LedgerURL = Annotated[
    str | None,
    typer.Option(
        "--ledger-url",
        envvar="SESSION_BLOCK_LEDGER_URL",
        help="The ledger; by default the SQLite file under PREFECT_HOME.",
    ),
]
ExperimentName = Annotated[str, typer.Argument(help="Name or UID of the experiment.")]
SubmissionID = Annotated[str, typer.Argument(help="ID of the submission, or how it begins.")]


@app.command("list")
def list_(
    experiment: Annotated[
        str | None, typer.Argument(help="Name or UID of the experiment; all by default.")
    ] = None,
    held: Annotated[bool, typer.Option("--held", help="Only those that wait for you.")] = False,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """List submissions, their state and their job."""
    with _operator(ledger_url) as operator:
        states = operator.submissions(experiment)
    if held:
        states = [state for state in states if state.held_because or state.state == "held"]
    if as_json:
        typer.echo(json.dumps([state.described() for state in states]))
        return
    table = Table("experiment", "submission", "state", "generation", "job", "label")
    for state in states:
        table.add_row(
            str(state.experiment),
            state.submission,
            state.state,
            str(state.generations),
            state.job_id or "",
            state.label or "",
        )
    Console(width=None if states else 80).print(table)


@app.command()
def show(
    experiment: ExperimentName,
    submission: SubmissionID,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Tell the whole story of one submission."""
    with _operator(ledger_url) as operator:
        state = operator.show(experiment, submission)
    if as_json:
        story = [[moment.isoformat(), key, dict(body)] for moment, key, body in state.facts]
        typer.echo(json.dumps({**state.described(), "facts": story}))
        return
    _tell(state)


@app.command()
def adopt(
    experiment: ExperimentName,
    submission: SubmissionID,
    job_id: Annotated[str, typer.Argument(help="The job that is its own.")],
    ledger_url: LedgerURL = None,
) -> None:
    """Say which job is the one of a submission that could not be settled."""
    with _operator(ledger_url) as operator:
        operator.adopt(experiment, submission, job_id)
    typer.echo("Adopted. Run the experiment again to go on with it.")


@app.command()
def release(
    experiment: ExperimentName, submission: SubmissionID, ledger_url: LedgerURL = None
) -> None:
    """Say that a submission that could not be settled has no job, so that it is sent again."""
    with _operator(ledger_url) as operator:
        operator.release(experiment, submission)
    typer.echo("Released. Run the experiment again to send it once more.")


@app.command()
def retry(
    experiment: ExperimentName, submission: SubmissionID, ledger_url: LedgerURL = None
) -> None:
    """Give up a submission's job, or its refusal, so that it is sent again."""
    with _operator(ledger_url) as operator:
        operator.retry(experiment, submission)
    typer.echo("Given up. Run the experiment again to send it once more.")


def _tell(state: SubmissionState) -> None:
    for name, value in state.described().items():
        typer.echo(f"{name:<12} {'' if value is None else value}")
    for moment, key, body in state.facts:
        typer.echo(f"{moment.isoformat(timespec='milliseconds')}  {key}  {json.dumps(dict(body))}")


@contextmanager
def _operator(ledger_url: str | None) -> Iterator[Operator]:
    try:
        ledger = Ledger(ledger_url or default_ledger_url())
        yield Operator(ledger)
        ledger.close()
    except SessionBlockError as error:
        fail(str(error))
