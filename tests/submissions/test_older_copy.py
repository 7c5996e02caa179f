"""A ledger that was restored from an older copy, and is not empty: what came after is found."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from session_support import block_for, jobs_at, run, sessions_at

from session_block import QuantumSession
from session_block.client import Connection
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import open_ledger
from session_block.local_platform import LocalPlatform
from session_block.records.identity import identify
from session_block.records.places import RunPlace

TESTS = Path(__file__).parents[1]


class Disk:
    """A ledger on a disk of which copies are made and brought back."""

    def __init__(self, platform: LocalPlatform, directory: Path) -> None:
        self._platform = platform
        self._directory = directory
        self._copy = directory / "copy.db"
        self._lives = 1

    @property
    def _file(self) -> Path:
        return self._directory / f"ledger-{self._lives}.db"

    @property
    def block(self) -> QuantumSession:
        """A Block whose ledger is on the disk."""
        return block_for(self._platform.info, self.url)

    @property
    def url(self) -> str:
        """The ledger's URL."""
        return f"sqlite:///{self._file}"

    def back_up(self) -> None:
        """Make a copy of the ledger."""
        self._copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._file)) as ledger:
            ledger.execute("VACUUM INTO ?", (str(self._copy),))

    def restore(self) -> None:
        """Let the disk die, and bring back the copy on another one."""
        self._lives += 1
        self._file.write_bytes(self._copy.read_bytes())


@pytest.fixture
def disk(own: LocalPlatform, tmp_path: Path) -> Disk:
    """A disk whose ledger holds an experiment of Monday, with a copy of it."""
    disk = Disk(own, tmp_path)
    with disk.block.experiment("monday") as monday:
        run(monday, 0)
    disk.back_up()
    return disk


def _interrupted(block: QuantumSession, name: str, *, to: int, fresh: bool = False) -> Experiment:
    """Begin an experiment, as a process does that is killed when it has its last result."""
    experiment = block.experiment(name, fresh=fresh)
    for number in range(to):
        run(experiment, number)
    return experiment


def _asked(platform: LocalPlatform) -> int:
    """Return how many requests the platform has had from its client."""
    requests = platform.stats()["requests"]
    return sum(n for route, n in requests.items() if "/_local/" not in route)


def test_an_experiment_that_began_after_the_copy_goes_on(own: LocalPlatform, disk: Disk) -> None:
    """P1 and P4: no job is bought again, and the session is the first one."""
    before = _interrupted(disk.block, "tuesday", to=3)
    disk.restore()
    with disk.block.experiment("tuesday") as after:
        assert after.uid == before.uid
        for number in range(5):
            run(after, number)
    assert len(jobs_at(own.info, before)) == 5
    assert [one["state"] for one in sessions_at(own.info, before)] == ["closed"]
    assert after.session_id == before.session_id
    assert after.identity.lost


def test_an_experiment_that_went_on_after_the_copy_goes_on(own: LocalPlatform, disk: Disk) -> None:
    """Its jobs since the copy come from the platform."""
    before = _interrupted(disk.block, "tuesday", to=2)
    disk.back_up()
    for number in (2, 3):
        run(before, number)
    disk.restore()
    with disk.block.experiment("tuesday") as after:
        for number in range(6):
            run(after, number)
    assert len(jobs_at(own.info, before)) == 6
    assert len(sessions_at(own.info, after)) == 1


def test_the_first_purchase_notices_a_later_experiment_of_the_name(
    own: LocalPlatform, disk: Disk
) -> None:
    """Number 2 is lost, and number 1 would go on in its place. Both can be chosen, as is said."""
    first = _interrupted(disk.block, "daily", to=2)
    disk.back_up()
    second = _interrupted(disk.block, "daily", to=2, fresh=True)
    disk.restore()

    again = disk.block.experiment("daily")
    assert again.uid == first.uid
    asked = _asked(own)
    for number in range(2):
        run(again, number)
    assert _asked(own) == asked  # P7: a replay asks nobody
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"latest experiment 'daily'") as told:
            run(again, 2)
        assert f"later one with uid={second.uid!r}" in str(told.value)
        assert f"this one with uid={first.uid!r}" in str(told.value)
        assert told.value.experiment == first.uid
    assert (len(jobs_at(own.info, first)), len(jobs_at(own.info, second))) == (2, 2)

    with disk.block.experiment("daily", uid=second.uid) as taken:
        for number in range(3):
            run(taken, number)
    assert taken.session_id == second.session_id
    assert len(jobs_at(own.info, second)) == 3
    with disk.block.experiment("daily", uid=first.uid) as kept:
        for number in range(3):
            run(kept, number)
    assert len(jobs_at(own.info, first)) == 3


def test_fresh_counts_on_from_what_was_lost(
    own: LocalPlatform, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Number 2 is lost, so a fresh one is number 3; who meant number 2 is told its UID."""
    _interrupted(disk.block, "daily", to=1)
    disk.back_up()
    second = _interrupted(disk.block, "daily", to=1, fresh=True)
    disk.restore()
    with caplog.at_level(logging.WARNING):
        third = _interrupted(disk.block, "daily", to=1, fresh=True)
    assert third.identity.number == 3
    assert f"number 2 (uid={second.uid!r})" in caplog.text
    with disk.block.experiment("daily") as again:
        run(again, 0)
        run(again, 1)
    assert again.uid == third.uid
    assert len(jobs_at(own.info, third)) == 2


def test_a_retried_run_does_not_guess_which_fresh_one_was_its_own(disk: Disk) -> None:
    """It may have started the lost one, so it starts no other, and names it."""
    started = _interrupted(disk.block, "daily", to=1, fresh=True)
    disk.restore()
    ledger = open_ledger(disk.url)
    block, run_id = disk.block, str(uuid4())
    find_newest = partial(block._experiments_at, Connection(block.credentials), newest=True)

    def find() -> str:
        place = RunPlace(run_id, retried=True)
        return identify(ledger, "daily", fresh=True, place=place, find_newest=find_newest).uid

    with pytest.raises(InvalidInputError, match=f"number 1 \\(uid='{started.uid}'\\)"):
        find()
    block.experiment("daily", uid=started.uid)
    assert find() not in {"", started.uid}


KILLED = """
import os, signal, sys
from session_support import block_for, run
from session_block import local_platform
info = local_platform.find(sys.argv[1])
experiment = block_for(info, sys.argv[2]).experiment("in place")
for number in range(int(sys.argv[3])):
    run(experiment, number)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.rest
def test_a_copy_that_is_written_over_a_killed_ledger(own: LocalPlatform, tmp_path: Path) -> None:
    """The killed process's write-ahead log lies beside it: it is refused, or nothing is lost."""
    ledger, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    arguments = [str(own.info.state_dir), f"sqlite:///{ledger}"]

    def work(to: int) -> None:
        command = [sys.executable, "-c", KILLED, *arguments, str(to)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        ended = subprocess.run(command, env=environment, check=False)
        assert ended.returncode == -9

    work(2)
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    work(4)
    with ledger.open("r+b") as file:
        file.write(copy.read_bytes())
        file.truncate()
    for beside in ("-wal", "-shm"):
        Path(f"{ledger}{beside}").unlink(missing_ok=True)
    with block_for(own.info, f"sqlite:///{ledger}").experiment("in place") as experiment:
        for number in range(5):
            run(experiment, number)
    assert len(jobs_at(own.info, experiment)) == 5
    assert len(sessions_at(own.info, experiment)) == 1
