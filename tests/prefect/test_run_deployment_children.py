"""Children of ``run_deployment`` in processes of their own, whose parent is run again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import deployed_flows
import pytest
from deployed_flows import CHILD_JOBS, DEPLOYMENT, PARENT, arrived, call, parent, place_in
from prefect import get_client, task
from prefect.exceptions import ObjectNotFound
from prefect_helpers import (
    CHECKOUT,
    api_environment,
    eventually,
    flow_process,
    flow_run,
    in_state,
    stop_group,
)
from support import Platform, tagged

from session_block import QuantumSession

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server", "served")]

PATH = f"{CHECKOUT}:{CHECKOUT / 'tests'}:{CHECKOUT / 'tests/prefect'}"
PARENT_JOBS = 1


@pytest.fixture(scope="module")
def served(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: ARG001
    """Serve the child from its file; each of its runs has a process of its own."""
    log = tmp_path_factory.mktemp("served") / "served.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, deployed_flows.__file__, "serve"],
            cwd=log.parent,  # each run copies the flow's folder into it
            env=api_environment(PREFECT_RUNNER_POLL_FREQUENCY="1", PYTHONPATH=PATH),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            eventually(_is_served, seconds=60, what="the child is served")
            yield log
        finally:
            stop_group(process, patience=10)


def _is_served() -> bool:
    with suppress(ObjectNotFound), get_client(sync_client=True) as client:
        return bool(client.read_deployment_by_name(f"child/{DEPLOYMENT}"))
    return False


class Family:
    """A parent's run and its children's, told what to do by files."""

    def __init__(self, platform: Platform, block: str, folder: Path) -> None:
        self._platform = platform
        self._block = block
        self._folder = str(folder)
        self.run_id = ""

    def tell(self, words: str, number: int, arrival: int, step: int) -> None:
        """Say what is to happen to the n-th run of a child after a step."""
        place_in(self._folder, number, arrival, step).write_text(words)

    def await_hold(self, number: int, arrival: int, step: int) -> None:
        """Wait until a run holds there."""
        place = place_in(self._folder, number, arrival, step)
        reached = place.with_suffix(f"{place.suffix}-reached")
        eventually(reached.exists, seconds=180, what=f"{place.name} is reached")

    def make(self, numbers: list[int], **more: Any) -> tuple[str, ...]:
        """Make the parent's flow run; return the arguments of processes that run it."""
        parameters = {"block": self._block, "folder": self._folder, "numbers": numbers, **more}
        with get_client(sync_client=True) as client:
            made = client.create_flow_run(parent, parameters=parameters)
        self.run_id = str(made.id)
        return "parent", self._block, self.run_id

    def call(self, numbers: list[int], **more: Any) -> None:
        """Call the parent in this process; it is retried once."""
        try:
            parent.with_options(retries=1)(self._block, self._folder, numbers, **more)
        finally:
            self.run_id = arrived(self._folder, PARENT)[1]

    def runs(self, number: int) -> list[UUID]:
        """Return the runs of a child, in the order in which they came."""
        found = sorted(arrived(self._folder, number).items())
        return [UUID(run) for _, run in found if run]

    def states(self, number: int) -> list[str]:
        """Return the states in which a child's runs have ended, in that order."""

        def ended() -> list[str] | None:
            states = [flow_run(one).state for one in self.runs(number)]
            final = [str(one.name) for one in states if one is not None and one.is_final()]
            return final if len(final) == len(states) else None

        found: list[str] = eventually(ended, seconds=120, what="the child's runs end")
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs of all."""
        return [job for job in self._platform.admin.jobs() if tagged(job, self.run_id)]

    def check(self, children: int) -> None:
        """Check that each job was bought once, and that no session is left open."""
        jobs = self.jobs()
        assert len(jobs) == PARENT_JOBS + children * CHILD_JOBS
        assert {job["state"] for job in jobs} == {"completed"}
        uids = {tag for job in jobs for tag in job["tags"] if tag.startswith("qs-uid:")}
        assert len(uids) == 1 + children
        mine = {job["session_id"] for job in jobs}
        left = [one for one in self._platform.admin.sessions() if one["id"] in mine]
        assert {one["state"] for one in left} == {"closed"}


@pytest.fixture
def family(platform: Platform, saved_block: str, tmp_path: Path) -> Family:
    """A family on the quick platform."""
    folder = tmp_path / "told"
    folder.mkdir()
    return Family(platform, saved_block, folder)


def _killed_while(family: Family, arguments: tuple[str, ...], number: int, *step: int) -> None:
    """Run the parent in a process that is killed when a child's run holds."""
    with flow_process(*arguments, script="deployed_flows.py") as (process, _):
        family.await_hold(number, *step)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("done", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_retried_parent_buys_nothing_for_children_that_ended(family: Family, done: int) -> None:
    """The last child fails, and fails the parent, whose retry calls it and those that are done."""
    numbers = list(range(1, done + 2))
    family.tell("fail", numbers[-1], 1, 1)
    family.call(numbers)
    assert family.states(numbers[-1]) == ["Failed", "Completed"]
    assert [family.states(one) for one in numbers[:-1]] == [["Completed"] * 2] * done
    family.check(children=len(numbers))


@pytest.mark.parametrize("step", [1, *(pytest.param(n, marks=pytest.mark.nightly) for n in (0, 2))])
def test_a_child_that_outlives_its_parent_shares_its_jobs_with_the_next(
    family: Family, step: int
) -> None:
    """The parent's next attempt starts another run, which finishes the experiment under it."""
    arguments = family.make([1])
    family.tell("hold", 1, 1, step)
    _killed_while(family, arguments, 1, 1, step)
    with flow_process(*arguments, script="deployed_flows.py") as (process, _):
        assert process.wait(120) == 0
    family.check(children=1)
    family.tell("go", 1, 1, step)
    assert family.states(1) == ["Completed"] * 2
    family.check(children=1)


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["retries", "killed"])
def test_a_parent_that_ends_after_its_children_buys_nothing_again(family: Family, how: str) -> None:
    """All children are done, two of them by equal calls."""
    if how == "retries":
        family.tell("fail", PARENT, 1, 1)
        family.call([1, 1, 2])
    else:
        arguments = family.make([1, 1, 2])
        family.tell("kill", PARENT, 1, 1)
        for code in (-signal.SIGKILL, 0):
            with flow_process(*arguments, script="deployed_flows.py") as (process, _):
                assert process.wait(240) == code
    assert family.states(1) == ["Completed"] * 4
    assert family.states(2) == ["Completed"] * 2
    family.check(children=3)


@pytest.mark.nightly
@pytest.mark.parametrize("end", ["fail", "kill"])
def test_a_parent_that_calls_a_child_once_more_buys_nothing_again(family: Family, end: str) -> None:
    """The child fails, or is killed, in the first attempt; the parent catches that, and fails."""
    family.tell(end, 1, 1, 1)
    family.tell("fail", PARENT, 1, 1)
    family.call([1, 1], again=True)
    first = "Failed" if end == "fail" else "Crashed"
    assert family.states(1) == [first, *["Completed"] * 4]
    family.check(children=2)


@pytest.mark.nightly
@pytest.mark.parametrize("step", [0, 1])
def test_an_equal_call_that_outlives_its_parent_takes_no_other_place(
    family: Family, step: int
) -> None:
    """It goes on, or even opens its experiment, while the next attempt makes the first call."""
    arguments = family.make([1, 1])
    family.tell("hold", 1, 2, step)
    family.tell("hold", 1, 3, 0)
    _killed_while(family, arguments, 1, 2, step)
    with flow_process(*arguments, script="deployed_flows.py") as (process, _):
        family.await_hold(1, 3, 0)
        family.tell("go", 1, 2, step)
        eventually(in_state(family.runs(1)[1], "Completed"), seconds=60, what="it has gone on")
        family.tell("go", 1, 3, 0)
        assert process.wait(120) == 0
    assert family.states(1) == ["Completed"] * 4
    family.check(children=2)


@pytest.mark.nightly
def test_two_runs_at_one_place_at_once_share_every_job(
    slow_platform: Platform, slow_block: QuantumSession, tmp_path: Path
) -> None:
    """Nobody holds: the parent is killed while the first run waits for its first job."""
    slow_block.save("t-children-slow", overwrite=True)
    folder = tmp_path / "told"
    folder.mkdir()
    family = Family(slow_platform, "t-children-slow", folder)
    arguments = family.make([1])
    family.tell("hold", 1, 1, 0)
    family.tell("hold", 1, 2, 0)
    _killed_while(family, arguments, 1, 1, 0)
    with flow_process(*arguments, script="deployed_flows.py") as (process, _):
        family.await_hold(1, 2, 0)
        family.tell("go", 1, 1, 0)
        family.tell("go", 1, 2, 0)
        assert process.wait(120) == 0
    assert family.states(1) == ["Completed"] * 2
    family.check(children=1)


@pytest.mark.nightly
@pytest.mark.parametrize("fails", ["first", "second"])
def test_a_run_that_fails_closes_no_session_in_a_way_that_loses_a_job(
    platform: Platform, block: QuantumSession, tmp_path: Path, fails: str
) -> None:
    """The other one goes on in a renewed session, and asks for nothing twice."""
    block.model_copy(update={"keep_failed": 0}).save("t-children-unkept", overwrite=True)
    folder = tmp_path / "told"
    folder.mkdir()
    family = Family(platform, "t-children-unkept", folder)
    arguments = family.make([1], again=True)
    family.tell("hold", 1, 1, 1)
    family.tell("hold", 1, 2, 1)
    _killed_while(family, arguments, 1, 1, 1)
    order = (1, 2) if fails == "first" else (2, 1)
    with flow_process(*arguments, script="deployed_flows.py") as (process, _):
        family.await_hold(1, 2, 1)
        family.tell("fail", 1, order[0], 1)
        eventually(
            in_state(family.runs(1)[order[0] - 1], "Failed"), seconds=60, what="that run fails"
        )
        family.tell("go", 1, order[1], 1)
        assert process.wait(120) == 0
    states = family.states(1)
    assert sorted(states) == ["Completed"] * (len(states) - 1) + ["Failed"]
    family.check(children=1)
    assert len({job["session_id"] for job in family.jobs()}) == 3


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted:UserWarning")
def test_a_child_of_a_task_says_where_it_needs_a_name(
    family: Family, saved_block: str, platform: Platform, tmp_path: Path
) -> None:
    """Called by a task outside any flow, it cannot be counted, and a name helps."""
    folder = str(tmp_path / "told")

    @task
    def bare(name: str | None) -> str:
        state = call(saved_block, 1, folder, name).state
        assert state is not None
        return f"{state.name} {state.message}"

    assert family.run_id == ""
    said = bare(None)
    assert said.startswith("Failed")
    assert "Give its experiment a name" in said
    name = f"t-child-of-task-{uuid4().hex[:8]}"
    assert bare(name).startswith("Completed")
    assert bare(name).startswith("Completed")
    assert platform.jobs_named(name) == CHILD_JOBS
