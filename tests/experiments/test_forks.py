"""A process that forks while an experiment is open, as ``multiprocessing`` does on Linux."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
from forked import Child
from session_support import block_for, measured
from support import Platform, wait_until

from session_block import DurableSampler, QuantumSession
from session_block.environment.forks import Occupancy
from session_block.experiments.experiment import Experiment
from session_block.experiments.run_end import RUN_ENDS
from session_block.experiments.unclosed import UNCLOSED
from session_block.ledger.store import REAL


def _counted(experiment: Experiment, number: int, label: str | None = None) -> int:
    """Run a job of its own number of shots, and return how many it says."""
    result = experiment.run_sampler([measured(number)], shots=number, label=label)
    return int(result[0].data.meas.num_shots)


def test_parent_and_children_get_their_own_results(platform: Platform, store_url: str) -> None:
    """Each connects for itself: to the platform, and to either kind of ledger."""
    experiment = block_for(platform.info, store_url).experiment(uuid4().hex)
    numbers = {0: range(20, 24), 1: range(30, 34), 2: range(40, 44)}
    job = DurableSampler(experiment).run([measured(10)], shots=10)

    def work(child: int) -> list[int]:
        inherited = int(job.result()[0].data.meas.num_shots)
        return [inherited, *(_counted(experiment, one, f"child {one}") for one in numbers[child])]

    children = [Child(lambda child=child: work(child)) for child in numbers]  # type: ignore[misc]
    mine = [_counted(experiment, one, f"parent {one}") for one in range(50, 58)]
    assert mine == list(range(50, 58))
    for child, asked in zip(children, numbers.values(), strict=True):
        assert child.answer() == {"value": [10, *asked]}
    assert job.result()[0].data.meas.num_shots == 10
    assert platform.jobs_of(experiment.uid) == 1 + 3 * 4 + 8
    assert len(experiment.sessions) == 1
    experiment.close_session()


@pytest.mark.rest
def test_a_fork_while_other_threads_are_at_work(platform: Platform, block: QuantumSession) -> None:
    """A child waits for no thread that stayed in its parent, and takes nothing away from it."""
    experiment = block.experiment("e")
    admin = platform.admin
    fault = admin.add_fault(kind="delay", method="POST", path="/sessions", seconds=1.5, times=1)
    with ThreadPoolExecutor() as threads:
        # It connects and opens the session: with the locks of both.
        mine = threads.submit(_counted, experiment, 10, "parent")
        wait_until(lambda: admin.faults()[-1]["seen"], seconds=20, what="it opens a session")
        child = Child(lambda: _counted(experiment, 20, "child"))
        assert child.answer() == {"value": 20}
        assert mine.result() == 10
    admin.clear_faults(fault)
    assert platform.jobs_of(experiment.uid) == 2
    assert len(experiment.sessions) == 1
    experiment.close_session()


def test_a_fork_waits_for_another_threads_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's lock for a module that is being imported would never be released in the child."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1)\nVALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with ThreadPoolExecutor() as threads:
        importing = threads.submit(import_module, "slow_to_import")
        wait_until(lambda: "slow_to_import" in sys.modules, seconds=5, what="it is being imported")
        child = Child(lambda: import_module("slow_to_import").VALUE)
        assert child.answer() == {"value": 7}
        assert importing.result().VALUE == 7


def test_a_fork_waits_for_what_is_imported_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who is at work, for whom a fork waits, makes another thread import at the end."""
    (tmp_path / "late_and_slow.py").write_text("import time\ntime.sleep(1)\nVALUE = 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    occupancy, at_work = Occupancy(), Event()

    def work(threads: ThreadPoolExecutor) -> None:
        with occupancy.at_work():
            at_work.set()
            wait_until(lambda: occupancy._forking, seconds=5, what="a fork waits for this")
            threads.submit(import_module, "late_and_slow")
            wait_until(lambda: "late_and_slow" in sys.modules, seconds=5, what="it is imported")

    with ThreadPoolExecutor() as threads:
        threads.submit(work, threads)
        assert at_work.wait(5)
        child = Child(lambda: import_module("late_and_slow").VALUE)
        assert child.answer() == {"value": 8}


def test_a_module_that_forks_while_it_is_imported_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that forks would wait for itself."""
    code = "import os, time\nbegan = time.monotonic()\npid = os.fork()\nif not pid: os._exit(0)\n"
    (tmp_path / "forks_at_import.py").write_text(
        f"{code}os.waitpid(pid, 0)\nSECONDS = time.monotonic() - began\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert import_module("forks_at_import").SECONDS < 5


def test_a_child_ends_nothing_of_its_parent(platform: Platform, block: QuantumSession) -> None:
    """It leaves the ``with`` block and ends, and the session stays open."""
    with block.experiment("e") as experiment:
        assert _counted(experiment, 10) == 10

        def leave() -> bool:
            experiment.__exit__(None, None, None)
            RUN_ENDS.at_exit()
            UNCLOSED.tell()
            return experiment.sealed

        assert Child(leave).answer() == {"value": False}
        assert experiment.session_details().accepts_jobs
        assert _counted(experiment, 11) == 11
    assert platform.jobs_of(experiment.uid) == 2
    assert len(experiment.sessions) == 1
    assert experiment.sealed


@pytest.mark.rest
def test_a_child_counts_no_equal_requests(platform: Platform, block: QuantumSession) -> None:
    """Only the opener does; the child's error says what to do, and nothing is submitted."""
    experiment = block.experiment("e")
    assert _counted(experiment, 10) == 10
    told = Child(lambda: _counted(experiment, 10)).answer()["error"]
    assert "LabelRequiredError" in told
    assert "label=" in told
    assert experiment.opening is not None
    assert Child(lambda: experiment.opening).answer() == {"value": None}
    assert platform.jobs_of(experiment.uid) == 1
    experiment.close_session()


def test_siblings_draw_different_random_numbers() -> None:
    """So that they do not all try again at the same moment."""
    drawn = [Child(REAL.random.random).answer()["value"] for _ in range(2)]
    assert len({*drawn, REAL.random.random()}) == 3
