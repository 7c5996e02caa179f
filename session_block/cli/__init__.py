"""``session-block``: experiments, sessions and the local platform, from a shell."""

from __future__ import annotations

import logging
from typing import Annotated

import typer
from rich.console import Console

from session_block.cli import (
    check,
    deployment,
    doctor,
    experiments,
    ledger,
    platform,
    sessions,
    setup,
    submissions,
    up,
    usage,
)
from session_block.cli.common import EPILOG, AsJSON, ExitCode, answer, reporting

app = typer.Typer(
    no_args_is_help=True,
    epilog=EPILOG,
)
app.add_typer(platform.app, name="platform")
app.add_typer(setup.app, name="setup")
app.add_typer(deployment.app, name="deployment")
app.add_typer(experiments.app, name="experiments")
app.add_typer(submissions.app, name="submissions")
app.add_typer(sessions.app, name="sessions")
app.add_typer(ledger.app, name="ledger")
app.command()(up.up)
app.command()(up.deploy)
app.command()(check.check)
app.command()(usage.usage)
app.command()(doctor.doctor)


def main() -> None:
    """Run the command line."""
    app()


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        Console().print(version("prefect-quantum-sessions"), highlight=False)
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """IBM Quantum sessions for Prefect: experiments that survive anything."""


@app.command()
def demo(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over instead of continuing.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Run a VQE of H2 inside one session of the local platform.

    Kill it (kill -9) in the middle and run it again: it continues in the same session, and no
    job is submitted twice.

    Example: session-block demo --fresh
    """
    from session_block.cli.demo_screen import DemoScreen

    console = Console(stderr=as_json)
    screen = DemoScreen(console)
    try:
        with reporting(), screen.shown():
            from session_block.lab.demo import run_demo

            logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
            outcome = run_demo(fresh=fresh, on_evaluation=screen.progress)
    except KeyboardInterrupt:
        console.print("Interrupted. Run it again to continue where it stopped.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        answer(outcome.model_dump(mode="json"))
    else:
        screen.outcome(outcome)
