"""Flows of the tests of Prefect's own conduct, for processes that are killed and cancelled.

Arguments: ``serve``, and a file for what the served flow tells; or a directory for what the family
tells.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow
from prefect.runtime import flow_run as this_run

TOLD = "FACTS_TOLD"
"""The environment variable with the file to which the flows append what they see."""


def tell(what: str, **more: object) -> None:
    """Append a line about this moment, with the process in which it is."""
    line = json.dumps({"what": what, "process": os.getpid(), **more})
    with Path(os.environ[TOLD]).open("a") as file:
        file.write(line + "\n")


def told(file: Path) -> list[dict[str, Any]]:
    """Return all lines."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@flow
def killed_child() -> None:
    """Kill this process the first time."""
    tell("child", run=this_run.id)
    if this_run.run_count == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@flow
def killed_parent() -> None:
    """Run the child."""
    tell("parent", run=this_run.id)
    killed_child()


def declared(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Tell of a cancellation; a runner gives the arguments by these names."""
    tell("declared", run=str(flow_run.id), state=state.name, hooks=len(flow.on_cancellation_hooks))


def added(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001
    """Tell of a cancellation, to which the run itself adds this hook."""
    tell("added")


@flow(on_cancellation=[declared])
def served() -> None:
    """Wait until the run is cancelled."""
    served.on_cancellation(added)
    tell("begins")
    try:
        time.sleep(60)
    except BaseException as error:
        tell("raised", error=type(error).__name__, exception=isinstance(error, Exception))
        raise


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        served.serve("facts")
    else:
        killed_parent()
