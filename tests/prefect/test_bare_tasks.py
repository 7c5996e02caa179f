"""Tasks outside any flow: a name makes each call, here or at a task worker, find its requests."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import bare_tasks
import pytest
from bare_tasks import (
    Answer,
    asks,
    asks_and_is_killed_once,
    asks_async,
    asks_by_tasks,
    asks_twice_and_fails_once,
)
from prefect import task
from prefect.futures import PrefectDistributedFuture
from prefect_helpers import CHECKOUT, api_environment, flipped, stop_group
from support import Platform

from session_block.blocks.quantum_session import load_block
from session_block.errors import LabelRequiredError

pytestmark = [
    pytest.mark.rest,
    pytest.mark.usefixtures("quick_flows", "prefect_server"),
    # Prefect's engine logs how each task run ends, and cannot send that without a flow run.
    pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted:UserWarning"),
]

PATH = f"{CHECKOUT}:{CHECKOUT / 'tests'}"
WAIT_SECONDS = 90


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-bare-{uuid4().hex[:8]}"


@contextmanager
def _serving(log: Path, *tasks: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Serve tasks in a process of its own."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, bare_tasks.__file__, *(one.name for one in tasks)],
            env=api_environment(PYTHONPATH=PATH),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            stop_group(process, patience=10)


@pytest.fixture(scope="module")
def worker(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:  # noqa: ARG001
    """A task worker; gives the ID of its process."""
    log = tmp_path_factory.mktemp("tasks") / "worker.log"
    with _serving(log, asks, asks_async, asks_by_tasks, asks_twice_and_fails_once) as process:
        yield process.pid


def _answer(future: PrefectDistributedFuture[Any]) -> Answer:
    found: Answer = future.result(timeout=WAIT_SECONDS)
    return found


def _called(chosen: Any, *arguments: str) -> Answer:
    found: Answer = asyncio.run(chosen(*arguments)) if chosen is asks_async else chosen(*arguments)
    return found


@pytest.mark.parametrize("chosen", [asks, asks_async, asks_by_tasks], ids=lambda one: one.name)
def test_two_calls_in_one_process_have_one_job(
    platform: Platform, saved_block: str, name: str, chosen: Any
) -> None:
    """The second call replays the first one's request, and answers alike."""
    first, second = (_called(chosen, saved_block, name) for _ in range(2))
    assert first == second
    assert platform.jobs_named(name) == 1


@pytest.mark.parametrize(
    "chosen",
    [asks, asks_async, pytest.param(asks_by_tasks, marks=pytest.mark.nightly)],
    ids=lambda one: one.name,
)
def test_two_delayed_calls_have_one_job(
    platform: Platform, saved_block: str, name: str, worker: int, chosen: Any
) -> None:
    """At the same time at a task worker, and so has a call in another process."""
    futures = [chosen.delay(saved_block, name) for _ in range(2)]
    answers = [_answer(one) for one in futures]
    assert [process for process, _, _ in answers] == [worker] * 2
    answers.append(_called(chosen, saved_block, name))
    assert answers[-1][0] == os.getpid()
    assert len({uid for _, uid, _ in answers}) == 1
    assert answers[0][2] == answers[1][2] == answers[2][2]
    assert platform.jobs_named(name) == 1


@pytest.mark.parametrize("delayed", [False, True])
def test_without_a_name_it_asks_for_one(
    platform: Platform,
    saved_block: str,
    name: str,
    request: pytest.FixtureRequest,
    *,
    delayed: bool,
) -> None:
    """The advice is to give a name, and with it the task has its job."""
    before = platform.stats()["jobs"]["total"]
    if delayed:
        request.getfixturevalue("worker")
    with pytest.raises(LabelRequiredError, match=re.escape("experiment('h2-scan')")):
        _answer(asks.delay(saved_block, None)) if delayed else asks(saved_block, None)
    assert platform.stats()["jobs"]["total"] == before
    _answer(asks.delay(saved_block, name)) if delayed else asks(saved_block, name)
    assert platform.jobs_named(name) == 1


@pytest.mark.parametrize(
    "where",
    ["between", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("inside", "after"))],
)
def test_a_retried_task_finds_its_own_requests(
    platform: Platform, saved_block: str, name: str, worker: int, where: str
) -> None:
    """Two equal requests have two jobs, wherever its first attempt fails; a second call none."""
    delayed = _answer(asks_twice_and_fails_once.delay(saved_block, f"{name}-delayed", where))
    assert delayed[0] == worker
    called = [asks_twice_and_fails_once(saved_block, name, where) for _ in range(2)]
    assert called[0] == called[1]
    for one in (name, f"{name}-delayed"):
        assert platform.jobs_named(one) == 2


def test_a_task_that_a_task_calls_needs_labels_or_its_own_call(
    platform: Platform, saved_block: str, name: str
) -> None:
    """A retry of the outer task makes another run of the inner one; a label tells what it asks."""

    @task
    def inner(label: str | None) -> str:
        with load_block(saved_block).experiment(name) as experiment:
            experiment.run_sampler([flipped()], shots=10, label=label)
            return experiment.uid

    @task
    def outer(label: str | None) -> str:
        return inner(label)

    with pytest.raises(LabelRequiredError, match=r"Give its requests a label="):
        outer(None)
    assert platform.jobs_named(name) == 0
    assert outer("one") == outer("one")
    assert platform.jobs_named(name) == 1


@pytest.mark.nightly
def test_a_task_whose_worker_was_killed_goes_on_at_the_next(
    platform: Platform, saved_block: str, name: str, tmp_path: Path
) -> None:
    """Delayed again, it replays what the first worker's process has asked for."""
    arguments = (saved_block, name, str(tmp_path / "killed"))
    with _serving(tmp_path / "worker.log", asks_and_is_killed_once) as process:
        asks_and_is_killed_once.delay(*arguments)
        process.wait(WAIT_SECONDS)
    assert platform.jobs_named(name) == 1
    with _serving(tmp_path / "worker.log", asks_and_is_killed_once):
        again = _answer(asks_and_is_killed_once.delay(*arguments))
    assert len(again[2]) == 20
    assert platform.jobs_named(name) == 2
