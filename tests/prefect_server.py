"""A real Prefect server for the tests and the chaos run, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from support import free_port, wait_until


@contextmanager
def running_prefect_server(home: Path) -> Iterator[str]:
    """Start a server with its database and its log in ``home``, and give its API URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    home.mkdir(exist_ok=True)
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env={
                **ours,
                "PREFECT_HOME": str(home),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_UI_API_URL": url,
                "DO_NOT_TRACK": "1",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def healthy() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{url}/health").is_success
            return False

        try:
            wait_until(healthy, seconds=90, what="the Prefect server answers")
            yield url
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
