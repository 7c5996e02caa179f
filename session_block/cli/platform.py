"""``session-block platform``: the local platform from a shell."""

from __future__ import annotations

import shlex
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from session_block import local_platform
from session_block.cli.common import AsJSON, answer, fail, reporting, soon
from session_block.cli.fidelity import fidelity
from session_block.environment.private_files import replace_file


class _Reporting(TyperGroup):
    """Commands that all tell the package's errors in words."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Invoke the command that was asked for."""
        with reporting():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Reporting,
    no_args_is_help=True,
    help="The local platform: an IBM Quantum on your machine, for the unmodified client.",
)
app.command()(fidelity)

StateDir = Annotated[
    Path | None,
    typer.Option(help="Directory of the platform's state; by default under PREFECT_HOME."),
]


@app.command()
def start(
    port: Annotated[int | None, typer.Option(help="Port; a free one by default.")] = None,
    host: Annotated[
        str | None,
        typer.Option(help="IPv4 address to listen on; the loopback interface by default."),
    ] = None,
    state_dir: StateDir = None,
    layout: Annotated[
        Path | None, typer.Option(help="JSON file of accounts and instances, for a new platform.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="JSON file of fault rules to start with.")
    ] = None,
    noise: Annotated[
        Literal["exact", "shots", "device"] | None,
        typer.Option(help="'exact': no noise; 'shots': shot noise; 'device': the device's noise."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    job_seconds: Annotated[
        float | None, typer.Option(help="QPU time of each job, in seconds.")
    ] = None,
    circuit_time: Annotated[
        bool | None,
        typer.Option("--circuit-time/--no-circuit-time", help="Add shots x circuit duration."),
    ] = None,
    other_jobs: Annotated[
        int | None, typer.Option(help="Number of other users' jobs ahead in every queue.")
    ] = None,
    other_job_seconds: Annotated[
        float | None, typer.Option(help="How long each of these jobs takes, in seconds.")
    ] = None,
    interactive_seconds: Annotated[
        int | None,
        typer.Option(help="Idle time after which a session becomes inactive, in seconds."),
    ] = None,
    pending_seconds: Annotated[
        float | None,
        typer.Option(help="How long a session is pending_inactive or pending_closed, in seconds."),
    ] = None,
    token_seconds: Annotated[
        int | None, typer.Option(help="Lifetime of an access token, in seconds.")
    ] = None,
    time_scale: Annotated[
        float | None,
        typer.Option(help="Speed of the clock; at 0 it moves only when advanced."),
    ] = None,
    open_plan_sessions: Annotated[
        Literal["refuse", "ignore"] | None,
        typer.Option(help="What the open plan does with sessions."),
    ] = None,
    cancelled_session_jobs: Annotated[
        Literal["cancelled", "failed"] | None,
        typer.Option(help="What becomes of the queued jobs of a session that is cancelled."),
    ] = None,
    max_time_jobs: Annotated[
        Literal["cancelled", "failed"] | None,
        typer.Option(help="What becomes of queued jobs at their session's maximum time."),
    ] = None,
    cost_limit_jobs: Annotated[
        Literal["cancelled", "failed"] | None,
        typer.Option(help="What becomes of a session's queued jobs at the instance's cost limit."),
    ] = None,
    session_closed_status: Annotated[
        int | None, typer.Option(help="HTTP status of a job's refusal by a closed session.")
    ] = None,
    executor_failures: Annotated[
        Literal["as_v2", "none"] | None,
        typer.Option(help="Whether executor jobs fail after queueing as a sampler's do."),
    ] = None,
    charges: Annotated[
        Literal["ibm", "simulated"] | None,
        typer.Option(help="'ibm': as IBM charges; 'simulated': the time on the platform's QPU."),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Start the platform in the background, unless it is already running.

    Example: session-block platform start --noise device --job-seconds 2
    """
    soon("Starting the local platform, unless it runs …")
    try:
        info = local_platform.start(
            state_dir,
            host=host,
            port=port,
            layout=None if layout is None else _layout(layout),
            faults=faults,
            noise=noise,
            seed=seed,
            job_seconds=job_seconds,
            circuit_time=circuit_time,
            other_jobs=other_jobs,
            other_job_seconds=other_job_seconds,
            interactive_seconds=interactive_seconds,
            pending_seconds=pending_seconds,
            token_seconds=token_seconds,
            time_scale=time_scale,
            open_plan_sessions=open_plan_sessions,
            cancelled_session_jobs=cancelled_session_jobs,
            max_time_jobs=max_time_jobs,
            cost_limit_jobs=cost_limit_jobs,
            session_closed_status=session_closed_status,
            executor_failures=executor_failures,
            charges=charges,
        )
    except ValueError as error:
        fail(str(error))
    _show(info, as_json=as_json)


@app.command()
def stop(state_dir: StateDir = None, as_json: AsJSON = False) -> None:
    """Stop the platform; its jobs and sessions are kept.

    Example: session-block platform stop
    """
    stopped = local_platform.stop(state_dir)
    if as_json:
        answer({"stopped": stopped})
        return
    typer.echo("Stopped." if stopped else "No local platform was running.")


@app.command()
def status(state_dir: StateDir = None, as_json: AsJSON = False) -> None:
    """Show whether the platform runs, and where. Exit code 1: it does not.

    Example: session-block platform status --json
    """
    _show(_running(state_dir), as_json=as_json)


@app.command()
def page(
    state_dir: StateDir = None,
    print_only: Annotated[
        bool,
        typer.Option(
            "--print", help="Print its address, which holds the owner's key, and open nothing."
        ),
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Open the platform's page in a browser. Open it again after each start of the platform.

    Example: session-block platform page
    """
    info = _running(state_dir)
    if print_only:
        answer({"page": info.page}) if as_json else typer.echo(info.page)
        return
    # A file that only its user can read: an address would be seen among the arguments.
    file = info.state_dir / "page.html"
    replace_file(file, f'<meta http-equiv="refresh" content="0; url={info.page}">\n')
    opened = webbrowser.open(file.as_uri())
    if as_json:
        answer({"file": str(file), "opened": opened})
        return
    typer.echo(f"Opened {file}. If no browser came up, open the address that --print prints.")


@app.command()
def env(state_dir: StateDir = None, as_json: AsJSON = False) -> None:
    """Print the variables that point a plain QiskitRuntimeService() at the platform.

    Example: eval "$(session-block platform env)"
    """
    variables = local_platform.environment(_running(state_dir))
    if as_json:
        answer(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def advance(
    seconds: Annotated[float, typer.Argument(help="Seconds to advance by.")],
    state_dir: StateDir = None,
    as_json: AsJSON = False,
) -> None:
    """Advance the platform's clock; everything due in between happens.

    Example: session-block platform advance 3600
    """
    admin = local_platform.Admin.of(_running(state_dir))
    admin.advance(seconds)
    now = admin.now()
    if as_json:
        answer({"advanced_seconds": seconds, "now": datetime.fromtimestamp(now, UTC).isoformat()})


def _layout(path: Path) -> local_platform.Layout:
    try:
        return local_platform.read_layout(path)
    except OSError as error:
        fail(f"The layout cannot be read: {error}")


def _running(state_dir: Path | None) -> local_platform.PlatformInfo:
    info = local_platform.find(state_dir)
    if info is None:
        fail("No local platform is running. Start one: session-block platform start")
    return info


def _show(info: local_platform.PlatformInfo, *, as_json: bool) -> None:
    if as_json:
        described = {
            "url": info.url,
            "page": info.origin,
            "pid": info.pid,
            "instance": info.instance,
            "state_dir": str(info.state_dir),
        }
        answer(described)
        return
    typer.echo(f"The local platform runs at {info.url} (process {info.pid}).")
    typer.echo(f"Watch its backends, sessions and jobs at {info.origin}")
    typer.echo(f"Its state is in {info.state_dir}.")
    typer.echo('Point the client at it: eval "$(session-block platform env)"')
