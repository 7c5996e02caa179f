"""``session-block up`` and ``deploy``: everything on one machine, and what is told a server."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from session_block.cli_platform import fail
from session_block.errors import SessionBlockError

if TYPE_CHECKING:
    from session_block.up import Lab


def up(
    server_port: Annotated[
        int | None,
        typer.Option(
            help="Start a Prefect server at this port; by default one that answers is used.",
            min=1,
            max=65535,
        ),
    ] = None,
    platform_port: Annotated[
        int | None,
        typer.Option(help="Port of the local platform; by default as last time.", min=1, max=65535),
    ] = None,
) -> None:
    """Bring up Prefect server, worker, local platform and deployments, and wait.

    Ctrl-C ends what was started here. No job is cancelled and no session is closed: flow runs in
    progress go on where they are when it is started again.
    """
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    from session_block.up import Up

    try:
        Up(stop, typer.echo, server_port=server_port, platform_port=platform_port).run(_show)
    except KeyboardInterrupt:
        typer.echo("Ended. Start it again to go on.")
    except SessionBlockError as error:
        fail(str(error))


def deploy(
    pool_type: Annotated[
        Literal["process", "docker", "kubernetes"],
        typer.Option(help="What the workers of the work pool run flows in."),
    ] = "process",
) -> None:
    """Deploy the flows at the Prefect server that is configured: what 'up' does, without processes.

    Makes the work pool, the deployments and the automations that are not there, and leaves alone
    those that are.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from session_block.deploying import deploy_all
    from session_block.prefect_server import find_prefect_server

    api_url = find_prefect_server()
    if api_url is None:
        fail("No Prefect server answers. Start one, or name it: export PREFECT_API_URL=…")
    try:
        with temporary_settings({PREFECT_API_URL: api_url}):
            deployments = deploy_all(pool_type, Path.cwd())
    except SessionBlockError as error:
        fail(str(error))
    typer.echo(f"Deployed: {', '.join(deployments)}. Schedules are off until you switch them on.")


def _show(lab: Lab) -> None:
    found = " (it ran before, and will go on)" if lab.found_server else ""
    typer.echo(f"\nPrefect UI      {lab.api_url.removesuffix('/api')}{found}")
    typer.echo(f"Local platform  {lab.platform or 'none: the Block uses another one'}")
    typer.echo(f"Deployments     {', '.join(lab.deployments)}")
    typer.echo(f"Logs            {lab.logs}")
    if lab.rescheduled:
        typer.echo(f"Flow runs that were interrupted, and go on: {lab.rescheduled}")
    typer.echo("\nIn another shell:\n")
    typer.echo(f"    export PREFECT_API_URL={lab.api_url}")
    typer.echo(f"    prefect deployment run {lab.deployments[-1]}\n")
    typer.echo("Schedules are off until you switch them on. Ctrl-C ends what was started here.")
