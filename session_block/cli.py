"""``session-block``: the local platform and the demonstration, from a shell."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console

from session_block import local_platform
from session_block.errors import SessionBlockError

if TYPE_CHECKING:
    from session_block.demo import DemoOutcome
    from session_block.vqe import Evaluation

app = typer.Typer(
    no_args_is_help=True,
    help="IBM Quantum sessions for Prefect: experiments that survive anything.",
)
platform = typer.Typer(
    no_args_is_help=True,
    help="The local platform: an IBM Quantum of your own, which the unmodified client talks to.",
)
app.add_typer(platform, name="platform")

_INTERRUPTED = 130

StateDir = Annotated[
    Path | None,
    typer.Option(help="Where the platform keeps its state; by default under PREFECT_HOME."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line."""
    app()


@platform.command()
def start(
    port: Annotated[int | None, typer.Option(help="Port; a free one by default.")] = None,
    state_dir: StateDir = None,
    noise: Annotated[
        Literal["exact", "shots"] | None,
        typer.Option(help="'exact': no noise; 'shots': shot noise."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all that is random.")] = None,
    job_seconds: Annotated[
        float | None, typer.Option(help="Least time that a job occupies its backend.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Start the platform in the background; one that runs already is left as it is."""
    try:
        info = local_platform.start(
            state_dir, port=port, noise=noise, seed=seed, job_seconds=job_seconds
        )
    except local_platform.PlatformError as error:
        _fail(str(error))
    _show(info, as_json=as_json)


@platform.command()
def stop(state_dir: StateDir = None) -> None:
    """Stop the platform; its jobs and sessions are kept."""
    stopped = local_platform.stop(state_dir)
    typer.echo("Stopped." if stopped else "No local platform was running.")


@platform.command()
def status(state_dir: StateDir = None, as_json: AsJSON = False) -> None:
    """Say whether the platform runs, and where. Exit code 1: it does not."""
    _show(_running(state_dir), as_json=as_json)


@platform.command()
def env(state_dir: StateDir = None) -> None:
    """Print what points a plain QiskitRuntimeService() at the platform.

    Use it as: eval "$(session-block platform env)"
    """
    for name, value in local_platform.environment(_running(state_dir)).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew instead of going on.")] = False,
) -> None:
    """Run a VQE of H2 inside one session of the local platform.

    Kill it (kill -9) in the middle and run it again: it goes on in the same session, and no job is
    submitted twice.
    """
    console = Console()
    with console.status("Starting the local platform …") as spinner:
        from session_block.demo import run_demo

        logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)

        def progress(number: int, evaluation: Evaluation, replayed: bool) -> None:
            origin = "from the ledger" if replayed else "one job"
            spinner.update("Optimising …")
            console.print(f"evaluation {number:>3}  {evaluation.energy:+.6f}  [dim]{origin}[/dim]")

        try:
            outcome = run_demo(fresh=fresh, on_evaluation=progress)
        except KeyboardInterrupt:
            console.print("Interrupted. Run it again to go on where it stopped.")
            raise typer.Exit(_INTERRUPTED) from None
        except SessionBlockError as error:
            _fail(str(error))
    _show_outcome(console, outcome)


def _show_outcome(console: Console, outcome: DemoOutcome) -> None:
    report = outcome.report
    difference = abs(report.energy - outcome.exact_energy)
    console.print()
    if outcome.already_finished:
        console.print(
            f"Experiment {outcome.experiment} was finished before: nothing was submitted. "
            "Start anew with --fresh."
        )
    console.print(f"energy      {report.energy:+.6f} Ha")
    console.print(f"exact       {outcome.exact_energy:+.6f} Ha  (difference {difference:.1e})")
    console.print(f"session     {report.session_id}")
    console.print(f"jobs        {outcome.jobs}  ({outcome.replayed} of them replayed just now)")
    if outcome.server_url:
        console.print(f"Prefect UI  {outcome.server_url.removesuffix('/api')}/runs")
    else:
        console.print(
            "Prefect UI  no Prefect server was found. To watch it there, run 'prefect server "
            "start' in another terminal, then this demo with --fresh."
        )


def _running(state_dir: Path | None) -> local_platform.PlatformInfo:
    info = local_platform.find(state_dir)
    if info is None:
        _fail("No local platform is running. Start one: session-block platform start")
    return info


def _show(info: local_platform.PlatformInfo, *, as_json: bool) -> None:
    if as_json:
        described = {
            "url": info.url,
            "pid": info.pid,
            "instance": info.instance,
            "state_dir": str(info.state_dir),
        }
        typer.echo(json.dumps(described))
        return
    typer.echo(f"The local platform runs at {info.url} (process {info.pid}).")
    typer.echo(f"Its state is in {info.state_dir}.")
    typer.echo('Point the client at it: eval "$(session-block platform env)"')


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
