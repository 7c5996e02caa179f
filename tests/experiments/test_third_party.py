"""Other people's algorithms resume after SIGKILL, with no job more and the same way bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import third_party
from support import BACKEND, Platform

from session_block import QuantumSession, local_platform
from session_block.crashpoints import CRASH_AT

pytestmark = [
    pytest.mark.rest,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:qiskit_algorithms"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:qiskit_machine_learning"),
]
_SOME_JOB = "record outcome, after:3"
_IN_THE_GATE = {"vqe_cobyla", "sampling_vqe", "scipy_minimize"}
"""One for each way in which an algorithm asks; the others wait for the night."""


@pytest.fixture(scope="module")
def shot_noise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A seeded platform with shot noise."""
    state_dir = tmp_path_factory.mktemp("third-party")
    yield Platform(local_platform.start(state_dir, noise="shots", seed=5, interactive_seconds=1))
    local_platform.stop(state_dir)


def _run(
    platform: Platform, ledger_url: str, name: str, algorithm: str, *, seed: int, kill: bool
) -> str:
    """Run an algorithm in a process of its own; return what it printed."""
    ran = subprocess.run(
        [
            sys.executable,
            str(Path(third_party.__file__)),
            *(str(platform.info.state_dir), ledger_url, name, algorithm),
        ],
        env={
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "PYTHONWARNINGS": "ignore",
            **({CRASH_AT: _SOME_JOB} if kill else {}),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == (-signal.SIGKILL if kill else 0), ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.parametrize(
    "algorithm",
    [
        one if one in _IN_THE_GATE else pytest.param(one, marks=pytest.mark.nightly)
        for one in third_party.ALGORITHMS
    ],
)
def test_a_killed_algorithm_ends_where_the_whole_one_does(
    shot_noise: Platform, ledger_url: str, algorithm: str
) -> None:
    """P1, P7, P8: killed in the middle and run again, in another process and by another hash."""
    block = QuantumSession(
        credentials=shot_noise.credentials(), backend_name=BACKEND, ledger_url=ledger_url
    )
    if algorithm == "vqe_spsa":
        # The draw is the experiment's own; to be compared both have the same.
        for name in ("whole", "killed"):
            block.experiment(name).once("seed", lambda: 7)
    whole = _run(shot_noise, ledger_url, "whole", algorithm, seed=1, kill=False)
    _run(shot_noise, ledger_url, "killed", algorithm, seed=2, kill=True)
    resumed = _run(shot_noise, ledger_url, "killed", algorithm, seed=3, kill=False)
    assert json.loads(resumed) == json.loads(whole)
    jobs = {name: shot_noise.jobs_of(block.experiment(name).uid) for name in ("whole", "killed")}
    assert jobs["killed"] == jobs["whole"] > 3
    sessions = {record.session_id for record in block.experiment("killed").sessions}
    assert len(sessions) == 1
