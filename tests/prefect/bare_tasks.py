"""Tasks that are called outside any flow. Run as a script, this file serves some of them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from prefect import task
from prefect.runtime import task_run
from prefect.task_worker import serve
from prefect_helpers import flipped

from session_block import QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.tasks import close_session, open_session, run_sampler

Answer = tuple[int, str, list[str]]
"""The process that answered, the experiment's UID, and what was measured."""


class FailedByTestError(Exception):
    """The failure that a test makes."""


@task
def asks(block: str, name: str | None) -> Answer:
    """Ask once, in an experiment that it opens and finishes."""
    with load_block(block).experiment(name) as experiment:
        result = experiment.run_sampler([flipped()], shots=10)
        return os.getpid(), experiment.uid, result[0].data.c.get_bitstrings()


@task
async def asks_async(block: str, name: str | None) -> Answer:
    """Ask once by the async twins."""
    loaded: QuantumSession = await QuantumSession.aload(block)
    async with await loaded.aexperiment(name) as experiment:
        result = await experiment.arun_sampler([flipped()], shots=10)
        return os.getpid(), experiment.uid, result[0].data.c.get_bitstrings()


@task
def asks_by_tasks(block: str, name: str | None) -> Answer:
    """Ask once by this package's tasks."""
    session = open_session(block, name)
    result: Any = run_sampler(session, [flipped()], shots=10)
    close_session(session)
    return os.getpid(), session.uid, result[0].data.c.get_bitstrings()


@task(retries=1)
def asks_twice_and_fails_once(block: str, name: str | None, where: str) -> Answer:
    """Make two equal requests in each attempt, and fail in the first one.

    Args:
        block: The Block's name.
        name: The experiment's name.
        where: ``between`` the requests, ``inside`` after them, or ``after`` the ``with`` block.
    """
    first = task_run.run_count == 1
    with load_block(block).experiment(name) as experiment:
        found = experiment.run_sampler([flipped()], shots=10)[0].data.c.get_bitstrings()
        if first and where == "between":
            raise FailedByTestError
        found += experiment.run_sampler([flipped()], shots=10)[0].data.c.get_bitstrings()
        if first and where == "inside":
            raise FailedByTestError
    if first:
        raise FailedByTestError
    return os.getpid(), experiment.uid, found


@task
def asks_and_is_killed_once(block: str, name: str, file: str) -> Answer:
    """Ask twice; the first run kills its process in between."""
    with load_block(block).experiment(name) as experiment:
        found = experiment.run_sampler([flipped()], shots=10)[0].data.c.get_bitstrings()
        if not Path(file).exists():
            Path(file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        found += experiment.run_sampler([flipped()], shots=10)[0].data.c.get_bitstrings()
        return os.getpid(), experiment.uid, found


if __name__ == "__main__":
    serve(*(globals()[name] for name in sys.argv[1:]))
