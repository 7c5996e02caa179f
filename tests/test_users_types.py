"""What type checkers see of this package in a user's flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rest

ROOT = Path(__file__).parents[1]

SAMPLE = """
from collections.abc import Coroutine
from typing import Any, assert_type

import numpy as np
from prefect import flow
from prefect.client.schemas.objects import State
from qiskit import QuantumCircuit
from qiskit.primitives import PrimitiveResult

from session_block import Experiment, JobRef, QuantumSession, SessionRef, load_block
from session_block.tasks import arun_sampler, close_session, open_session
from session_block.tasks import run_sampler, submit_sampler


@flow
def mine(block: str) -> float:
    circuits = [QuantumCircuit(1)]
    session = open_session(block, "mine")
    assert_type(session, SessionRef)
    assert_type(run_sampler(session, circuits, shots=10), PrimitiveResult)
    assert_type(run_sampler.submit(session, circuits).result(), PrimitiveResult)
    job = submit_sampler(session, circuits, label="first")
    assert_type(job, JobRef)
    assert_type(submit_sampler(session, circuits, wait_for=[job]), JobRef)
    assert_type(submit_sampler(session, circuits, return_state=True), State[JobRef])
    assert_type(submit_sampler.with_options(retries=2)(session, circuits), JobRef)
    assert_type(close_session(session), bool)
    with load_block(block).experiment("mine") as experiment:
        assert_type(experiment, Experiment)
        assert_type(experiment.run_sampler(circuits), PrimitiveResult)
        assert_type(experiment.once("number", lambda: 3), int)
        assert_type(experiment.once("point", lambda: [1.0, 2.0]), list[float])
        assert_type(experiment.once("array", lambda: np.zeros(3)), list[Any])
    with QuantumSession(backend_name="ibm_fez", max_time="1h").experiment() as unnamed:
        assert_type(unnamed, Experiment)
    return experiment.once("number", lambda: 3) + 0.5


async def others(session: SessionRef) -> None:
    waiting = arun_sampler(session, [])
    waiting = assert_type(waiting, Coroutine[Any, Any, PrimitiveResult])
    assert_type(await waiting, PrimitiveResult)
"""

WRONG = {
    "an argument that there is not": "run_sampler(session, [], shotz=1)",
    "an argument of another type": "run_sampler(session, [], shots='many')",
    "arguments in another order": "run_sampler([], session)",
    "a reference to a job for one to a session": "close_session(job)",
    "a result that is none": "energy: str = experiment.once('a', lambda: 3)",
}

BEGINNING = """
from session_block import Experiment, JobRef, SessionRef
from session_block.tasks import close_session, run_sampler


def mine(session: SessionRef, job: JobRef, experiment: Experiment) -> None:
"""

CONFIGURATION = """
[mypy]
strict = True
[mypy-session_block.*]
follow_imports = silent
[mypy-qiskit.*,qiskit_ibm_runtime.*,scipy.*]
ignore_missing_imports = True
"""


def _mypy(directory: Path, *files: Path) -> str:
    (directory / "mypy.ini").write_text(CONFIGURATION)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *map(str, files)],
        cwd=directory,
        # No checker finds what pip has linked by an import hook, as in this checkout.
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr


def _pyright(directory: Path, *files: Path) -> str:
    configuration = {
        "include": [str(file) for file in files],
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(configuration))
    done = subprocess.run(
        [Path(sys.executable).with_name("basedpyright"), "--project", "pyrightconfig.json"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr


CHECKERS = {"mypy": _mypy, "pyright": _pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_flow_has_types(tmp_path: Path, checker: str) -> None:
    """Parameters and results of tasks, of experiments, and of what is drawn once; and mistakes.

    Qiskit has no types for mypy, so there its results are not told from others.
    """
    (tmp_path / "sample.py").write_text(SAMPLE)
    for number, line in enumerate(WRONG.values()):
        (tmp_path / f"wrong{number}.py").write_text(f"{BEGINNING}    {line}\n")
    said = CHECKERS[checker](tmp_path, *sorted(tmp_path.glob("*.py")))
    assert "sample.py" not in said, said
    seen = {number for number in range(len(WRONG)) if f"wrong{number}.py:7" in said}
    assert seen == set(range(len(WRONG))), said
