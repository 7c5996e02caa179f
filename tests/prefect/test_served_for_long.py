"""A process that serves flows for long: what a run has opened is dropped when the run has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from prefect_helpers import CHECKOUT, api_environment

if TYPE_CHECKING:
    from support import Platform

PROCESS = Path(__file__).with_name("served_process.py")
FIRST = 8
"""Runs after which everything that is loaded once is loaded."""

MORE_DESCRIPTORS = 6
MORE_THREADS = 2
MORE_BYTES = 40 * 2**20


@pytest.mark.nightly
@pytest.mark.parametrize("runs", [12, 200])
def test_memory_descriptors_and_threads_stay_flat(
    saved_block: str, platform: Platform, prefect_server: str, runs: int
) -> None:
    """However many flow runs a process has served, it holds what the latest of them need."""
    before = platform.stats()["jobs"]["total"]
    path = f"{CHECKOUT / 'tests'}:{CHECKOUT}"
    served = subprocess.run(
        [sys.executable, PROCESS, saved_block, f"bare {uuid4()}", str(FIRST), str(runs)],
        env=api_environment(PREFECT_API_URL=prefect_server, PYTHONPATH=path),
        capture_output=True,
        check=False,
        text=True,
        timeout=60 + 5 * runs,
    )
    assert served.returncode == 0, served.stderr
    first, last = json.loads(served.stdout.splitlines()[-1])
    assert last["experiments"] <= first["experiments"] + 1
    assert last["descriptors"] <= first["descriptors"] + MORE_DESCRIPTORS
    assert last["threads"] <= first["threads"] + MORE_THREADS
    assert last["bytes"] <= first["bytes"] + MORE_BYTES
    # A retry replays what its flow asked for, and every call of the task what its first one got.
    assert platform.stats()["jobs"]["total"] - before == FIRST + runs + 1
