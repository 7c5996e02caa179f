"""``session-block experiments``: list, show, compare, export, retry, cancel and resume them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from session_block.cli.common import (
    AsJSON,
    BlockName,
    LedgerURL,
    OptionalBlockName,
    Yes,
    ago,
    answer,
    at_prefect_server,
    confirm,
    ledger_of,
    load,
    print_table,
    reporting,
    soon,
    title,
)
from session_block.cli.experiment_page import show_experiment, show_side_by_side

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the experiments of a ledger; compare, export, retry, cancel and resume them.",
)

ExperimentName = Annotated[
    str,
    typer.Argument(
        help="Name of the experiment (the latest of that name), or its UID or how that begins."
    ),
]


@app.command("list")
def list_(
    block: OptionalBlockName = None, ledger_url: LedgerURL = None, as_json: AsJSON = False
) -> None:
    """List all experiments of a ledger, one in a line; the platform is not asked.

    The best value is that of a finished experiment's report. Other commands take the ID, too.

    Example: session-block experiments list --json
    """
    from session_block.records.identity import SHORT_UID
    from session_block.records.overviews import overviews

    with reporting():
        found = overviews(_ledger(block, ledger_url))
    if as_json:
        answer([one.described() for one in found])
        return
    if not found:
        typer.echo("No experiments.")
        return
    print_table(
        ["experiment", "id", "state", "best", "jobs", "last activity"],
        [
            [
                title(one.identity),
                one.identity.uid[:SHORT_UID],
                one.state.value,
                None if one.best is None else f"{one.best:.7g}",
                one.jobs,
                ago(one.last_activity_at),
            ]
            for one in found
        ],
        whole=["id", "state", "best", "last activity"],
        cut=["experiment"],
    )


@app.command()
def show(
    experiment: ExperimentName,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Show one experiment: its result first, then cost, sessions and submissions.

    With --json it is shown in full, with the whole report.

    Example: session-block experiments show my-experiment
    """
    from session_block.operations.experiments import described_in_full

    with reporting():
        ledger = _ledger(block, ledger_url)
        about = described_in_full(ledger, _identity(experiment, ledger))
    if as_json:
        answer(about)
        return
    show_experiment(about)


@app.command()
def compare(
    first: ExperimentName,
    second: ExperimentName,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Compare two experiments: what each found, and then submission by submission.

    Submissions are paired in the order of the requests. A difference is the largest one between
    expectation values, in the unit of their observables.

    Example: session-block experiments compare monday tuesday
    """
    soon("Reading the results …")  # their values need Qiskit, whose import takes a while
    from session_block.operations.comparison import compare_submissions

    with reporting():
        ledger = _ledger(block, ledger_url)
        found = compare_submissions(ledger, _identity(first, ledger), _identity(second, ledger))
    if as_json:
        answer(found.described())
        return
    show_side_by_side(found.experiments)
    typer.echo()
    print_table(
        ["n", "request", "result", "difference", "label", "first's job", "second's job"],
        [
            [
                pair.number,
                _alike(pair.same_request, pair.left is None or pair.right is None),
                _alike(pair.same_result, pair.same_result is None),
                pair.largest_difference,
                one.label if (one := pair.left or pair.right) else None,
                pair.left.job_id if pair.left else None,
                pair.right.job_id if pair.right else None,
            ]
            for pair in found.pairs
        ],
        whole=["first's job", "second's job"],
    )
    at = found.first_difference
    typer.echo(
        "Both made the same requests."
        if at is None
        else f"Their requests first differ at submission {at}."
    )


@app.command()
def retry(
    experiment: ExperimentName,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Retry the experiment's flow run: a worker continues it where it stopped.

    Example: session-block experiments retry my-experiment
    """
    with reporting(), at_prefect_server():
        from session_block.operations.flow_runs import retry_flow_run

        ledger = _ledger(block, ledger_url)
        run = retry_flow_run(ledger, _identity(experiment, ledger))
    if as_json:
        answer({"flow_run_id": run.flow_run_id, "name": run.name, "was": run.was})
        return
    typer.echo(f"Flow run {run.name} ({run.flow_run_id}) was {run.was} and is scheduled again.")


@app.command()
def cancel(
    experiment: ExperimentName, block: BlockName, yes: Yes = False, as_json: AsJSON = False
) -> None:
    """Cancel an experiment's pending jobs, and close the session that it opened.

    Nothing more is bought for it until 'session-block experiments resume'. A flow run that waits
    for the jobs ends with an error. To end it as Cancelled, cancel it in Prefect instead.

    Example: session-block experiments cancel my-experiment --block my-session
    """
    with reporting():
        loaded = load(block)
        from session_block.operations.flow_runs import cancel_experiment
        from session_block.operations.sessions import operator

        identity = _identity(experiment, loaded.ledger())
        confirm(
            f"Cancel the pending jobs of experiment {identity}, and close its session?", yes=yes
        )
        cancelled = cancel_experiment(loaded, identity, f"{operator()} cancelled it", by_hand=True)
    if as_json:
        answer({"experiment": identity.name, "uid": identity.uid, "cancelled": cancelled})
    elif cancelled:
        typer.echo(f"Experiment {identity} is cancelled.")
    else:
        typer.echo(f"Experiment {identity} was already finished; its session is closed.")


@app.command()
def resume(
    experiment: ExperimentName,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Let an experiment go on that a person or the instance's cost limit stopped.

    It is stopped if somebody cancelled it or its flow run, or ended its session. What died then is
    bought again when its program runs again, in a new session. This lifts the present stop, not
    the next one.

    Example: session-block experiments resume my-experiment
    """
    from session_block.operations.sessions import operator
    from session_block.records.journal import Journal
    from session_block.records.stops import resume as lift

    with reporting():
        ledger = _ledger(block, ledger_url)
        identity = _identity(experiment, ledger)
        stop = lift(Journal(ledger, identity.uid), identity, operator())
    if as_json:
        answer({"experiment": identity.name, "uid": identity.uid, "was": stop.because})
        return
    typer.echo(
        f"Experiment {identity} was stopped because {stop.because}. Now it may go on: run its "
        "program again, or 'session-block experiments retry'."
    )


@app.command()
def export(
    experiment: ExperimentName,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; by default the document is printed."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    block: OptionalBlockName = None,
    ledger_url: LedgerURL = None,
    as_json: AsJSON = False,
) -> None:
    """Export all facts and results of an experiment as one JSON document, without secrets.

    The module session_block.operations.export describes its members. Results are plain numbers,
    and also IBM's runtime JSON.

    Example: session-block experiments export my-experiment -o my-experiment.json
    """
    soon("Reading the results …")  # their values need Qiskit, whose import takes a while
    from session_block.operations.export import exported, write

    with reporting():
        ledger = _ledger(block, ledger_url)
        document = exported(ledger, _identity(experiment, ledger))
        if output is None:
            answer(document)
            return
        write(document, output, overwrite=overwrite)
    counts = {"facts": len(document["facts"]), "results": len(document["results"])}
    if as_json:
        answer({"file": str(output), **counts})
        return
    typer.echo(f"Exported {counts['facts']} facts and {counts['results']} results to {output}.")


def _ledger(block: str | None, ledger_url: str | None) -> Any:
    return ledger_of(None if block is None else load(block, ledger_url), ledger_url)


def _identity(name: str, ledger: Any) -> Any:
    from session_block.records.views import load_experiment

    return load_experiment(name, ledger).identity


def _alike(same: bool | None, missing: bool) -> str:
    if missing:
        return "-"
    return "same" if same else "differs"
