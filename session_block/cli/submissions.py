"""``session-block submissions``: look at submissions, and decide about held ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from session_block.cli.common import (
    AsJSON,
    ExitCode,
    LedgerURL,
    answer,
    ledger_of,
    print_pairs,
    print_table,
    reporting,
    title,
)

if TYPE_CHECKING:
    from session_block.operations.submissions import Operator, SubmissionOverview
    from session_block.records.keys import Kind

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the submissions of a ledger, and decide what is left to you.",
)

SHORT = 8
"""So many characters of a submission's ID stand for it."""

ExperimentName = Annotated[str, typer.Argument(help="Name or UID of the experiment.")]
SubmissionID = Annotated[str, typer.Argument(help="ID of the submission, or its beginning.")]


@app.command("list")
def list_(
    experiment: Annotated[
        str | None, typer.Argument(help="Name or UID of the experiment; all by default.")
    ] = None,
    held: Annotated[
        bool, typer.Option("--held", help="Only those that wait for you: held, or refused.")
    ] = False,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """List submissions with their state and job. Exit code 3: --held finds some.

    Example: session-block submissions list --held
    """
    with _operator(ledger_url) as operator:
        states = operator.submissions(experiment)
    if held:
        states = [one for one in states if one.waits]
    if as_json:
        answer([state.described() for state in states])
    elif not states:
        typer.echo("No submissions wait for your decision." if held else "No submissions.")
    else:
        print_table(
            ["experiment", "submission", "state", "job", "because" if held else "label"],
            [
                [
                    title(state.experiment),
                    state.submission[:SHORT],
                    state.state + f" (job {state.generations})" * (state.generations > 1),
                    state.job_id,
                    (state.held_because or state.refused_because) if held else state.label,
                ]
                for state in states
            ],
            whole=["submission", "state", "job"],
            cut=["experiment", "label"],
        )
    if held and states:
        raise typer.Exit(ExitCode.NEEDS_OPERATOR)


@app.command()
def show(
    experiment: ExperimentName,
    submission: SubmissionID,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Show one submission with all its facts.

    Example: session-block submissions show my-experiment 3f0c
    """
    with _operator(ledger_url) as operator:
        state = operator.show(experiment, submission)
    if as_json:
        story = [[_moment(fact), fact.fact_key, fact.fact_body] for fact in state.facts]
        answer({**state.described(), "facts": story})
        return
    _tell(state)


@app.command()
def adopt(
    experiment: ExperimentName,
    submission: SubmissionID,
    job_id: Annotated[str, typer.Argument(help="ID of its job.")],
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Say which job belongs to a submission that could not be settled.

    Example: session-block submissions adopt my-experiment 3f0c d1a2b3c4
    """
    with _operator(ledger_url) as operator:
        operator.adopt(experiment, submission, job_id)
        state = operator.show(experiment, submission)
    _decided(state, "Adopted. Run the experiment again to continue with it.", as_json=as_json)


@app.command()
def release(
    experiment: ExperimentName,
    submission: SubmissionID,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Say that a submission that could not be settled has no job; the next run sends it again.

    Example: session-block submissions release my-experiment 3f0c
    """
    with _operator(ledger_url) as operator:
        operator.release(experiment, submission)
        state = operator.show(experiment, submission)
    _decided(state, "Released. Run the experiment again to send it again.", as_json=as_json)


@app.command()
def retry(
    experiment: ExperimentName,
    submission: SubmissionID,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Give up a submission's job, or its refusal; the next run sends it again.

    Example: session-block submissions retry my-experiment 3f0c
    """
    with _operator(ledger_url) as operator:
        operator.retry(experiment, submission)
        state = operator.show(experiment, submission)
    _decided(state, "Given up. Run the experiment again to send it again.", as_json=as_json)


def _decided(state: SubmissionOverview, said: str, *, as_json: bool) -> None:
    if as_json:
        answer(state.described())
    else:
        typer.echo(said)


def _moment(fact: Kind, timespec: str = "auto") -> str:
    return "" if fact.recorded_at is None else fact.recorded_at.isoformat(timespec=timespec)


def _tell(state: SubmissionOverview) -> None:
    print_pairs(state.described().items())
    for fact in state.facts:
        when = _moment(fact, timespec="milliseconds")
        typer.echo(f"{when}  {fact.fact_key}  {json.dumps(fact.fact_body)}")


@contextmanager
def _operator(ledger_url: str | None) -> Iterator[Operator]:
    with reporting():
        from session_block.operations.submissions import Operator

        ledger = ledger_of(None, ledger_url)
        yield Operator(ledger)
        ledger.close()
