"""``session-block deployment``: run a deployment, and watch what it finds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from session_block.cli.common import (
    AsJSON,
    ExitCode,
    answer,
    asking_prefect,
    at_prefect_server,
    fail,
    print_pairs,
    reporting,
)

if TYPE_CHECKING:
    from session_block.operations.deployment_runs import ExperimentResults, RunSeen
    from session_block.reporting.results_table import Row

LOOK_SECONDS = 2.0
"""Between two looks at a run; its table changes no faster."""

_LONG_SECONDS = 15.0
"""A run that waits longer for a worker may wait for ever."""

app = typer.Typer(no_args_is_help=True, help="Run a deployment, and watch what its run finds.")


@app.command()
def run(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment: FLOW/DEPLOYMENT.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            help="A parameter as NAME=VALUE, with a value in JSON or as text. Can be repeated.",
        ),
    ] = None,
    watch_it: Annotated[
        bool, typer.Option("--watch", help="Show what the run finds, until it ends.")
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Run a deployment now.

    With --watch, show the best value, the exact one where it is known, and the parameters or the
    counts, until the run ends. Exit code 1: it has not ended well. Ctrl-C ends the watching only.

    Example: session-block deployment run vqe/h2-nightly -p seed=11 --watch
    """
    parameters = dict(_parameter(one) for one in param or ())
    with reporting(), at_prefect_server():
        from session_block.operations.deployment_runs import look_at_run, run_deployment

        flow_run_id = run_deployment(deployment, parameters)
        if watch_it:
            _watch(flow_run_id, as_json=as_json)
            return
        seen = look_at_run(flow_run_id)
    if as_json:
        answer(seen.described())
        return
    typer.echo(f"Flow run {seen.name} ({flow_run_id}) is {seen.state}. Watch it:\n")
    typer.echo(f"    session-block deployment watch {flow_run_id}")


@app.command()
def watch(
    flow_run_id: Annotated[str, typer.Argument(help="ID of the flow run.")],
    as_json: AsJSON = False,
) -> None:
    """Show what a flow run finds, until it ends; any flow run that opens experiments.

    Exit code 1: it has not ended well. Ctrl-C ends the watching only.

    Example: session-block deployment watch 4e7cb22d-25fd-4eac-8ef2-dfdf599adc5b
    """
    with reporting(), at_prefect_server():
        _watch(flow_run_id, as_json=as_json)


def _parameter(given: str) -> tuple[str, Any]:
    name, mark, value = given.partition("=")
    if not name or not mark:
        fail(f"{given!r} is no parameter: write NAME=VALUE.", ExitCode.WRONG_USAGE)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _watch(flow_run_id: str, *, as_json: bool) -> None:
    from session_block.operations.deployment_runs import look_at_run

    console = Console(stderr=as_json)
    goes_on = (
        f"The run goes on. Watch it again: 'session-block deployment watch {flow_run_id}'. End it: "
        f"'prefect flow-run cancel {flow_run_id}'."
    )
    began = time.monotonic()
    try:
        with asking_prefect(f"{goes_on} "), _shown(console) as show:
            seen = look_at_run(flow_run_id)
            while not seen.is_over:
                show(seen, time.monotonic() - began)
                time.sleep(LOOK_SECONDS)
                seen = look_at_run(flow_run_id)
            show(seen, time.monotonic() - began)
    except KeyboardInterrupt:
        console.print(f"\n{goes_on}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        answer(seen.described())
    else:
        _show_end(seen)
    if not seen.is_completed:
        raise typer.Exit(ExitCode.REFUSED)


class _Lines:
    """Prints a line for each change, where nobody sees a screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()

    def show(self, seen: RunSeen, seconds: float) -> None:
        """Print what has changed since the last time."""
        self._say(seen.state)
        for hint in _hints(seen, seconds):
            self._say(hint)
        for one in seen.experiments:
            if one.latest is not None:
                self._say(_line(one, one.latest))

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _shown(console: Console) -> Iterator[Any]:
    """Give a function that shows a run: on a screen in a terminal, else in lines."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda seen, seconds: live.update(_screen(seen, seconds))


def _screen(seen: RunSeen, seconds: float) -> RenderableType:
    parts: list[RenderableType] = [Text(f"Flow run {seen.name}: {seen.state}", style="bold")]
    parts += [Text(hint) for hint in _hints(seen, seconds)]
    for one in seen.experiments:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        for name, value in _facts(one, running=True):
            rows.add_row(name, Text(value))
        parts += [Text(f"\n{one.about}"), rows]
    return Group(*parts)


def _hints(seen: RunSeen, seconds: float) -> Sequence[str]:
    """Say what a person may be waiting for in vain."""
    if not seen.has_begun and seconds > _LONG_SECONDS:
        pool = seen.work_pool or "POOL"
        begin = f"'session-block up' starts one, or 'prefect worker start --pool {pool}'."
        return [f"No worker runs it yet. {begin}"]
    if seen.has_begun and not seen.experiments and not seen.is_over:
        return ["It has no results yet."]
    return []


def _line(found: ExperimentResults, latest: Row) -> str:
    best, counts = found.best, latest.get("counts")
    told = f"evaluation {_number(latest)}: {counts or _value(latest, 'value')}"
    if best is not None and "value" in best:
        told += f"  best {_value(best, 'value')}"
    return f"{told}  exact {_value(latest, 'exact')}" if "exact" in latest else told


def _facts(found: ExperimentResults, *, running: bool) -> Iterator[tuple[str, str]]:
    latest = found.latest
    shown = found.best or latest
    if shown is None:
        return
    if shown.get("value") is not None:
        which = "" if shown["evaluation"] == "result" else f"  (evaluation {_number(shown)})"
        yield "best", f"{_value(shown, 'value')}{which}"
    if shown.get("exact") is not None:
        yield "exact", _value(shown, "exact")
    for name in ("parameters", "counts", "note"):
        if shown.get(name) is not None:
            yield name, str(shown[name])
    if running and latest is not None and latest.get("value") is not None:
        yield "latest", f"{_value(latest, 'value')}  (evaluation {_number(latest)})"


def _number(row: Row) -> str:
    return str(row["evaluation"]).partition(",")[0]


def _value(row: Row, name: str) -> str:
    value = row.get(name)
    return f"{value:.6f}" if isinstance(value, int | float) else "unknown"


def _show_end(seen: RunSeen) -> None:
    said = f": {seen.message}" if seen.message and not seen.is_completed else ""
    typer.echo(f"Flow run {seen.name} is {seen.state}{said}")
    for one in seen.experiments:
        typer.echo(f"\n{one.about}")
        print_pairs(_facts(one, running=False))
        typer.echo(f"All of it: session-block experiments show {one.uid}")
