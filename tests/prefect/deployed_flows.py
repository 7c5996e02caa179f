"""Flows that are served from this file, and a parent that calls them by ``run_deployment``.

What happens to a run is said by files in a folder, which all attempts of the parent pass on.
``<number>.<arrival>.<step>`` is for the run of child ``number`` that came as the n-th, after so
many steps. Its words: ``hold`` waits for another word, ``go`` goes on, ``fail`` raises an error,
``kill`` kills the process.

Arguments: ``serve``, or those of ``own_process.py``.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

from own_process import run
from prefect import flow, serve
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run as this_run
from prefect_helpers import eventually, flipped

from session_block.blocks.quantum_session import load_block

DEPLOYMENT = "t-children"
CHILD_JOBS = 2
HOLD_SECONDS = 300
PARENT = 0
"""The parent's own number in the folder; its one step is the end."""


class GivenUpError(Exception):
    """The failure that a test asks for."""


def place_in(folder: str, number: int, arrival: int, step: int) -> Path:
    """Return the file that says what happens to a child's run after a step."""
    return Path(folder, f"{number}.{arrival}.{step}")


def arrived(folder: str, number: int) -> dict[int, str]:
    """Return the flow runs of a child that have begun, by their order."""
    files = Path(folder).glob(f"{number}.*.run")
    return {int(one.name.split(".")[1]): one.read_text() for one in files}


def _arrive(folder: str, number: int) -> int:
    """Return as which of its child's runs this one has come."""
    for arrival in count(1):
        try:
            with Path(folder, f"{number}.{arrival}.run").open("x") as file:
                file.write(str(this_run.id))
        except FileExistsError:
            continue
        return arrival
    raise AssertionError


def _released(place: Path) -> list[str] | None:
    words = place.read_text().split()
    return None if "hold" in words else words


def _obey(place: Path) -> None:
    if not place.exists():
        return
    words = place.read_text().split()
    if "hold" in words:
        place.with_suffix(f"{place.suffix}-reached").touch()
        words = eventually(lambda: _released(place), seconds=HOLD_SECONDS, what=f"{place} goes on")
    if "kill" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    if "fail" in words:
        raise GivenUpError(place.name)


@flow
def child(block: str, number: int, folder: str, name: str | None = None) -> str:
    """Ask twice, and obey before, between and afterwards."""
    arrival = _arrive(folder, number)
    _obey(place_in(folder, number, arrival, 0))
    with load_block(block).experiment(name) as experiment:
        for step in range(1, CHILD_JOBS + 1):
            experiment.run_sampler([flipped()], shots=10 + step)
            _obey(place_in(folder, number, arrival, step))
        return experiment.uid


def call(block: str, number: int, folder: str, name: str | None = None) -> FlowRun:
    """Run a child's deployment as a part of this flow, and wait for its end."""
    ended = run_deployment(
        f"child/{DEPLOYMENT}",
        parameters={"block": block, "number": number, "folder": folder, "name": name},
        poll_interval=0.2,
    )
    assert isinstance(ended, FlowRun)
    return ended


@flow
def parent(block: str, folder: str, numbers: list[int], *, again: bool = False) -> None:
    """Ask once, call the children one after another, and fail as the folder says.

    Args:
        block: The Block's name.
        folder: The folder.
        numbers: The children's numbers.
        again: Call a child that failed once more, instead of failing.
    """
    attempt = _arrive(folder, PARENT)
    with load_block(block).experiment() as experiment:
        experiment.run_sampler([flipped()], shots=10)
        for number in numbers:
            ended = call(block, number, folder)
            if again and ended.state is not None and not ended.state.is_completed():
                ended = call(block, number, folder)
            if ended.state is None or not ended.state.is_completed():
                raise GivenUpError(str(ended.state))
        _obey(place_in(folder, PARENT, attempt, 1))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        served: Any = child.from_source(str(Path(__file__).parent), "deployed_flows.py:child")
        serve(served.to_deployment(DEPLOYMENT))
    else:
        run(globals()[sys.argv[1]], *sys.argv[2:])
