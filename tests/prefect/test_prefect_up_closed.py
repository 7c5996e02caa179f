"""What a web page or another user can do with the Prefect server of ``session-block up``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)
from support import free_port
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from session_block.errors import LabError
from session_block.lab.prefect_server import answers, find_prefect_server

pytestmark = pytest.mark.rest

COMMAND = [sys.executable, "-m", "session_block"]
ORIGINS = [None, "null", "http://evil.example"]
HOSTS = [None, "evil.example", "127.0.0.1.evil.example:80"]
ENDPOINTS = [
    ("GET", "/admin/settings", None),
    ("GET", "/admin/version", None),
    ("GET", "/csrf-token?client=page", None),
    ("POST", "/block_documents/filter", {"include_secrets": True}),
    ("POST", "/deployments/filter", {}),
    ("POST", "/flow_runs/filter", {}),
    ("POST", "/logs/filter", {}),
    ("POST", "/variables/filter", {}),
    ("POST", "/work_pools/filter", {}),
    ("POST", "/work_pools/", {"name": "mine", "type": "process"}),
    ("POST", "/admin/database/clear", {"confirm": True}),
    ("DELETE", "/work_pools/quantum", None),
]
SOCKETS = ["/events/in", "/events/out", "/logs/out"]


@dataclass(frozen=True)
class Lab:
    """A lab that runs.

    Attributes:
        told: What it has said, as JSON.
        process: Its process.
        home: Its ``PREFECT_HOME``.
        said: What it has written, to both streams.
    """

    told: dict[str, Any]
    process: psutil.Process
    home: Path
    said: str

    @property
    def api_url(self) -> str:
        """The API of its server."""
        return str(self.told["api_url"])

    @property
    def auth_string(self) -> str:
        """What opens its server."""
        return Path(self.told["auth_file"]).read_text()

    @property
    def opened(self) -> httpx.Client:
        """A client of its own user."""
        user, _, password = self.auth_string.partition(":")
        return httpx.Client(base_url=self.api_url, auth=(user, password), timeout=30)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start one lab for all attacks."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "PREFECT_HOME": str(home), "COLUMNS": "200"}
    with (home / "stderr").open("wb") as stderr:
        up = subprocess.Popen(
            [*COMMAND, "up", "--json", "--server-port", str(free_port())],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert up.stdout is not None
    try:
        line = up.stdout.readline().decode()
        said = line + (home / "stderr").read_text()
        assert line, said
        yield Lab(json.loads(line), psutil.Process(up.pid), home, said)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
    assert up.returncode == 0


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_page_or_another_user_gets_no_data(
    lab: Lab, origin: str | None, host: str | None
) -> None:
    """Without the string nothing is read or changed, and no foreign page may read the answer."""
    with lab.opened as client:
        headers = _csrf(client)  # so that nothing but the string is missing
    headers |= {name: told for name, told in (("Origin", origin), ("Host", host)) if told}
    for wrong in ({}, {"Authorization": "Basic YWRtaW46cGFzcw=="}, {"Authorization": "Bearer x"}):
        for method, path, content in ENDPOINTS:
            answer = httpx.request(
                method, f"{lab.api_url}{path}", json=content, headers={**headers, **wrong}
            )
            assert answer.status_code == 401, (method, path)
            assert answer.json() == {"exception_message": "Unauthorized"}
            assert "access-control-allow-origin" not in answer.headers, (method, path)
    with lab.opened as client:
        pools = client.post("/work_pools/filter", json={}, headers=_csrf(client)).json()
    assert [pool["name"] for pool in pools] == ["quantum"]


def test_another_user_is_not_stopped_by_it(lab: Lab, tmp_path: Path) -> None:
    """Where it is merely at the port where Prefect looks first, a program goes without it."""
    api_url = lab.api_url
    settings = {PREFECT_HOME: tmp_path, PREFECT_SERVER_API_PORT: urlsplit(api_url).port}
    with temporary_settings({**settings, PREFECT_API_URL: None}):
        assert answers(api_url)
        assert find_prefect_server() is None
    with temporary_settings({**settings, PREFECT_HOME: lab.home, PREFECT_API_URL: None}):
        assert find_prefect_server() == api_url
    opened = {**settings, PREFECT_API_URL: api_url}
    with temporary_settings(opened), pytest.raises(LabError, match="PREFECT_API_AUTH_STRING"):
        find_prefect_server()
    with temporary_settings({**opened, PREFECT_API_AUTH_STRING: lab.auth_string}):
        assert find_prefect_server() == api_url


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://127.0.0.1:9"])
def test_no_foreign_origin_is_allowed(lab: Lab, origin: str) -> None:
    """A browser asks first, and is told no; its own page is told yes."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
    url = f"{lab.api_url}/flow_runs/filter"
    foreign = httpx.options(url, headers={"Origin": origin, **asked})
    assert "access-control-allow-origin" not in foreign.headers
    own = lab.api_url.removesuffix("/api")
    for page in (own, own.replace("127.0.0.1", "localhost")):
        answer = httpx.options(url, headers={"Origin": page, **asked})
        assert answer.headers["access-control-allow-origin"] == page


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("token", [None, "admin:pass"])
@pytest.mark.parametrize("protocol", [None, "prefect"])
def test_no_web_socket_opens(lab: Lab, path: str, token: str | None, protocol: str | None) -> None:
    """Browsers let any page connect, so the sockets ask for the string themselves."""
    assert asyncio.run(_hears(lab, path, token, protocol)) is None


def test_the_string_opens_the_sockets(lab: Lab) -> None:
    """The attack above would be noticed if it got through."""
    for path in SOCKETS:
        heard = asyncio.run(_hears(lab, path, lab.auth_string, "prefect"))
        assert heard is not None
        assert json.loads(heard) == {"type": "auth_success"}


def test_csrf_is_checked(lab: Lab) -> None:
    """Whatever changes something needs a token of the server's, beside the string."""
    with lab.opened as client:
        assert client.post("/variables/", json={"name": "a", "value": 1}).status_code == 403
        allowed = client.post("/variables/", json={"name": "a", "value": 1}, headers=_csrf(client))
        assert allowed.status_code == 201


def test_the_string_is_only_where_it_is_needed(lab: Lab) -> None:
    """In a file of its user, and in the environment of what ``up`` has started."""
    string = lab.auth_string
    secret = string.removeprefix("admin:")
    assert len(secret) > 30
    file = Path(lab.told["auth_file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    family = [lab.process, *lab.process.children(recursive=True)]
    assert len(family) > 2
    assert not [one for one in family if secret in " ".join(one.cmdline())]
    assert secret not in lab.said
    for log in (lab.home / "session-block" / "up" / "logs").iterdir():
        assert secret not in log.read_text()
    with lab.opened as client:
        pool = client.get("/work_pools/quantum").text
        deployments = client.post("/deployments/filter", json={}, headers=_csrf(client)).text
    assert secret not in pool + deployments


def test_commands_of_its_user_reach_it(lab: Lab) -> None:
    """They find the string by themselves; another program is told how to."""
    environment = {**os.environ, "PREFECT_HOME": str(lab.home), "PREFECT_API_URL": lab.api_url}
    done = subprocess.run(
        [*COMMAND, "experiments", "list", "--block", "quantum-session"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    doctor = subprocess.run(
        [*COMMAND, "doctor", "--json"],
        env={**environment, "PREFECT_API_AUTH_STRING": lab.auth_string},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    checks = {one["what"]: one["verdict"] for one in json.loads(doctor.stdout)["checks"]}
    assert checks["Prefect API"] == "ok"
    assert "Prefect access" not in checks
    shown = subprocess.run(
        [
            *("sh", "-c", 'export PREFECT_API_AUTH_STRING="$(cat "$0")"; exec "$@"'),
            *(lab.told["auth_file"], sys.executable, "-m", "prefect", "work-pool", "ls"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"\bquantum\b", shown.stdout)


def _csrf(client: httpx.Client) -> dict[str, str]:
    token = client.get("/csrf-token", params={"client": "a test"}).json()["token"]
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "a test"}


async def _hears(lab: Lab, path: str, token: str | None, protocol: str | None) -> str | None:
    """Return what a socket says once it is told a token; ``None`` if it closes."""
    url = lab.api_url.replace("http://", "ws://") + path
    protocols = None if protocol is None else [Subprotocol(protocol)]
    try:
        async with connect(url, subprotocols=protocols, origin="http://evil.example") as socket:  # type: ignore[arg-type]
            await socket.send(json.dumps({"type": "auth", "token": token}))
            await socket.send(json.dumps({"type": "filter", "filter": {}}))
            return str(await asyncio.wait_for(socket.recv(), 10))
    except WebSocketException:
        return None
