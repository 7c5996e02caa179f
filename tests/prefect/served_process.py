"""A process that serves flow runs, one after another, and tells what it holds. See its test."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time

import psutil
from prefect import flow, task
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_helpers import eventually, flipped

from session_block import QuantumSession
from session_block.experiments.experiment import Experiment
from session_block.tasks import close_session, open_session, run_sampler

FEW = 4
"""Experiments of the run at hand, of the one before it, and what is being released."""


@flow
def _with_a_handle(block: str) -> None:
    """Leave the experiment by its context manager."""
    with QuantumSession.load(block).experiment() as experiment:
        experiment.run_sampler([flipped()], shots=10)


@flow
def _by_tasks(block: str) -> None:
    """Close the session by a task."""
    session = open_session(block)
    run_sampler(session, [flipped()], shots=10)
    close_session(session)


@flow
def _never_closed(block: str) -> None:
    """Forget the session; the platform ends it when it has been idle."""
    run_sampler(open_session(block), [flipped()], shots=10)


class FailedByTestError(Exception):
    """The failure that a test makes."""


@flow(retries=1)
def _second_time_lucky(block: str) -> None:
    """Fail once, with the session open, and go on."""
    experiment = QuantumSession.load(block).experiment()
    experiment.run_sampler([flipped()], shots=10)
    if flow_run.run_count == 1:
        raise FailedByTestError
    experiment.finish()


@task
def _bare(block: str, name: str) -> None:
    """Ask, outside of any flow, for what every call of this task asks for."""
    QuantumSession.load(block).experiment(name).run_sampler([flipped()], shots=10)


FLOWS = (_with_a_handle, _by_tasks, _never_closed, _second_time_lucky)


def _experiments() -> int:
    gc.collect()
    return sum(isinstance(one, Experiment) for one in gc.get_objects())


def _serve(runs: int, block: str, name: str) -> dict[str, int]:
    for number in range(runs):
        FLOWS[number % len(FLOWS)](block)
        _bare(block, name)
    eventually(lambda: _experiments() <= FEW, seconds=30, what="ended runs are dropped")
    time.sleep(1)  # threads that release them end
    process = psutil.Process()
    return {
        "experiments": _experiments(),
        "descriptors": process.num_fds(),
        "threads": threading.active_count(),
        "bytes": process.memory_info().rss,
    }


if __name__ == "__main__":
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        block, name, *runs = sys.argv[1:]
        sys.stdout.write(json.dumps([_serve(int(one), block, name) for one in runs]))
