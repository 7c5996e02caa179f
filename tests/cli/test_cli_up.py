"""``session-block up`` and ``deploy`` for programs: one JSON object on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support import free_port

pytestmark = pytest.mark.rest

COMMAND = [sys.executable, "-m", "session_block"]


@pytest.mark.nightly
def test_up_and_deploy_answer_programs_in_json(tmp_path: Path) -> None:
    """The object comes once all is up; progress is on stderr; after Ctrl-C the exit code is 0."""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "COLUMNS": "200"}
    port = str(free_port())
    with (tmp_path / "stderr").open("wb") as stderr:
        up = subprocess.Popen(
            [*COMMAND, "up", "--json", "--server-port", port],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert up.stdout is not None
        lab = json.loads(up.stdout.readline())
        assert lab["api_url"] == f"http://127.0.0.1:{port}/api"
        assert httpx.get(f"{lab['api_url']}/health").is_success
        assert httpx.get(lab["platform"]).is_success
        assert Path(lab["logs"]).is_dir()
        deployed = subprocess.run(
            [*COMMAND, "deploy", "--json"],
            cwd=tmp_path,
            env={**environment, "PREFECT_API_URL": lab["api_url"]},
            capture_output=True,
            check=True,
            timeout=120,
        )
        told = {"api_url": lab["api_url"], "deployments": lab["deployments"]}
        assert json.loads(deployed.stdout) == told
    finally:
        up.send_signal(signal.SIGINT)
        rest, _ = up.communicate(timeout=60)
    assert (up.returncode, rest) == (0, b"")
    assert "Starting the worker" in (tmp_path / "stderr").read_text()
