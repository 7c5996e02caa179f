"""``session-block up`` and ``deploy``: run a whole lab, or deploy to a running server."""

from __future__ import annotations

import shlex
import signal
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from session_block.cli.common import (
    AsJSON,
    answer,
    asking_prefect,
    at_prefect_server,
    note,
    reporting,
    soon,
)

if TYPE_CHECKING:
    from session_block.lab.lab import RunningLab


def up(
    server_port: Annotated[
        int | None,
        typer.Option(
            help="Start a Prefect server on this port; by default one that answers is used.",
            min=1,
            max=65535,
        ),
    ] = None,
    platform_port: Annotated[
        int | None,
        typer.Option(help="Port of the local platform; by default the last one.", min=1, max=65535),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Start Prefect server, worker, local platform and deployments, and wait.

    Ctrl-C ends what was started here, with exit code 0. No job is cancelled and no session is
    closed: flow runs in progress continue where they are when you start it again. With --json, one
    object on stdout says what runs, once everything is up.

    Example: session-block up --platform-port 8765
    """
    stop = Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), lambda *_: stop.set())
    soon("Starting what does not run yet …")
    from session_block.lab.lab import Lab

    with reporting(), asking_prefect():
        try:
            Lab(stop, note, server_port=server_port, platform_port=platform_port).run(
                _tell if as_json else _show
            )
        except KeyboardInterrupt:
            note("Ended. Start it again to continue.")


def deploy(
    pool_type: Annotated[
        Literal["process", "docker", "kubernetes"],
        typer.Option(help="What the work pool's workers run flows in."),
    ] = "process",
    as_json: AsJSON = False,
) -> None:
    """Deploy the flows to the configured Prefect server: like 'up', but starts no processes.

    Creates the work pool, the deployments and the automations that are missing, and leaves existing
    ones alone.

    Example: session-block deploy --pool-type kubernetes
    """
    with reporting(), at_prefect_server() as api_url:
        from session_block.lab.deployment import deploy_all

        deployments = deploy_all(pool_type, Path.cwd())
    if as_json:
        answer({"api_url": api_url, "deployments": deployments})
        return
    typer.echo(f"Deployed: {', '.join(deployments)}. Schedules are off until you switch them on.")


def _tell(lab: RunningLab) -> None:
    file = None if lab.auth_file is None else str(lab.auth_file)
    answer({**asdict(lab), "logs": str(lab.logs), "auth_file": file})


def _show(lab: RunningLab) -> None:
    found = " (was running before, and keeps running)" if lab.found_server else ""
    typer.echo(f"\nPrefect UI      {lab.api_url.removesuffix('/api')}{found}")
    if lab.auth_file is not None:
        typer.echo(f"                log in with what stands in {lab.auth_file}")
    typer.echo(f"Local platform  {lab.platform or 'none: the Block uses another platform'}")
    if lab.platform is not None:
        typer.echo("                open its page with 'session-block platform page'")
    typer.echo(f"Deployments     {', '.join(lab.deployments)}")
    typer.echo(f"Logs            {lab.logs}")
    if lab.rescheduled:
        typer.echo(f"Interrupted flow runs that now continue: {lab.rescheduled}")
    typer.echo("\nIn another shell:\n")
    typer.echo(f"    export PREFECT_API_URL={lab.api_url}")
    if lab.auth_file is not None:
        # Never the string itself: terminals and their logs are read by others.
        typer.echo(f'    export PREFECT_API_AUTH_STRING="$(cat {shlex.quote(str(lab.auth_file))})"')
    typer.echo(f"    session-block deployment run {lab.deployments[-1]} --watch\n")
    typer.echo("Schedules are off until you switch them on. Ctrl-C ends what was started here.")
