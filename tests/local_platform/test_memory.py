"""How much memory the platform takes: for strangers none, for its user a bounded amount."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import socket
import threading
import time
import zipfile
import zlib
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
from qiskit_ibm_runtime import RuntimeDecoder
from starlette.applications import Starlette

from session_block.local_platform import LocalPlatform
from session_block.local_platform.api import bodies
from session_block.local_platform.api.answers import refusal
from session_block.local_platform.api.bodies import (
    FREE_BODY_BYTES,
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_OPEN_BODY_BYTES,
    Room,
)
from session_block.local_platform.api.http import Call, Operation, route
from session_block.local_platform.api.local_access import KEY_HEADER, OPEN
from session_block.local_platform.errors import ApiError
from session_block.local_platform.execution.refusals import ProgramFailedError
from session_block.local_platform.execution.unpacking import check_unpacked

from .support import raw_client

if TYPE_CHECKING:
    from starlette.types import Receive

MB = 1024 * 1024
LONG, CHUNKED = f"Content-Length: {MAX_BODY_BYTES}", "Transfer-Encoding: chunked"


def _bomb(size: int, window: int = zlib.MAX_WBITS) -> str:
    """Return a text that unpacks to so many bytes, by default as the client packs."""
    packer = zlib.compressobj(wbits=window)
    packed = b"".join(packer.compress(b"\0" * MB) for _ in range(size // MB))
    return base64.b64encode(packed + packer.flush()).decode()


def _packed(content: bytes, window: int) -> str:
    packer = zlib.compressobj(wbits=window)
    return base64.b64encode(packer.compress(content) + packer.flush()).decode()


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """Wherever it is hidden, whole or in parts; what fits passes."""
    bomb = _bomb(64 * MB)
    assert len(bomb) < MB / 8
    for params in (bomb, {"pubs": [[bomb]]}, [{"a": {"b": _bomb(20 * MB)}}] * 2):
        with pytest.raises(ProgramFailedError, match="unpack to more than") as refused:
            check_unpacked(json.dumps(params), 32 * MB)
        assert (refused.value.code, refused.value.is_free) == (1336, True)
        check_unpacked(json.dumps(params), 65 * MB)
    check_unpacked(json.dumps(["eJw", "eJwnot base 64", bomb[:40], "text", 1, None]), 32 * MB)


@pytest.mark.parametrize("window", range(9, 16))
@pytest.mark.parametrize("hidden", ["{0}", "\n{0}", " !{0}", "{1}\n{2}", "é"])
def test_a_bomb_is_found_in_any_disguise(window: int, hidden: str) -> None:
    """Streams of any window, with letters between that base 64 does not have."""
    bomb = _bomb(8 * MB, window)
    text = hidden.format(bomb, bomb[0], bomb[1:]) if hidden != "é" else f"{bomb[:2]}é{bomb[2:]}"
    with pytest.raises(ProgramFailedError, match="unpack to more than"):
        check_unpacked(json.dumps([text]), 4 * MB)


@pytest.mark.parametrize("hidden", ["{0}", "\n{0}", " !{0}", "{1}\n{2}"])
def test_the_client_sees_through_the_same_disguises(hidden: str) -> None:
    """Each of them unpacks there."""
    file = io.BytesIO()
    np.save(file, np.zeros(10))
    for window in range(9, 16):
        packed = _packed(file.getvalue(), window)
        value = hidden.format(packed, packed[0], packed[1:])
        text = json.dumps({"__type__": "ndarray", "__value__": value})
        assert json.loads(text, cls=RuntimeDecoder).shape == (10,)


def test_bombs_in_other_wrappings() -> None:
    """One that goes on after a padding, as for one of the client's decoders; and an archive."""
    bomb = _bomb(8 * MB)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("data.npy", b"\0" * 8 * MB)
    matrix = base64.b64encode(archive.getvalue()).decode()
    for text in (f"{bomb[:2]}=={bomb[2:]}", matrix):
        with pytest.raises(ProgramFailedError, match="unpack to more than"):
            check_unpacked(json.dumps({"a": [text]}), 4 * MB)
        check_unpacked(json.dumps({"a": [text]}), 9 * MB)
    check_unpacked(json.dumps([matrix[:-20], "UEs=", "UEsDBA", "PK"]), MB)


@pytest.mark.rest
def test_a_job_that_is_a_bomb_fails_and_takes_no_memory() -> None:
    """Its worker stays small, and the next job runs."""
    with LocalPlatform() as platform:
        headers = {
            "Authorization": f"apikey {platform.info.token}",
            "Service-CRN": platform.info.instance,
        }
        with httpx.Client(base_url=platform.info.url, headers=headers, timeout=60) as api:
            value = {"__type__": "ndarray", "__value__": _bomb(4096 * MB)}
            job = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": [[value]]}}
            job["params"]["version"] = 2  # type: ignore[index]
            told = api.post("/jobs", json=job).json()
            most = 0
            while (state := api.get(f"/jobs/{told['id']}").json()["state"])["status"] in {
                "Queued",
                "Running",
            }:
                most = max(most, _memory(platform))
                time.sleep(0.02)
        assert (state["status"], state["reason_code"]) == ("Failed", 1336)
        assert most < 1500 * MB


def test_strangers_fill_no_memory() -> None:
    """Without a credential a body is not read, and where none is asked for only a small one."""
    with LocalPlatform() as platform:
        origin = platform.info.origin
        for path in ("/experimental/api/v1/jobs", "/_local/faults", "/iam/identity/token"):
            with closing(_opened(platform, "POST", path, LONG)) as connection:
                status = connection.recv(100).split()[1]
            assert status == (b"413" if path.startswith("/iam") else b"401"), path
        answer = httpx.post(f"{origin}/iam/identity/token", content=b"x" * 17 * 1024)
        assert answer.status_code == 413


@pytest.mark.parametrize("length", [LONG, CHUNKED, f"Content-Length: 0\r\n{CHUNKED}"])
def test_a_stranger_who_sends_nothing_takes_nothing(length: str) -> None:
    """Whatever body a stranger speaks of, the owner and others are served meanwhile."""
    with LocalPlatform() as platform, ExitStack() as stack:
        for method, path in (
            *(("GET", path) for path in (*OPEN, "/versions", "/experimental/api/v1/versions")),
            *(("HEAD", path) for path in OPEN),
            ("POST", "/iam/identity/token"),
        ):
            stack.enter_context(closing(_opened(platform, method, path, length)))
        _is_served(platform)


@pytest.mark.parametrize("length", [LONG, CHUNKED])
def test_a_user_who_sends_nothing_takes_nothing(length: str) -> None:
    """Room is for what has come, not for what was announced."""
    with LocalPlatform() as platform, ExitStack() as stack:
        head = f"Authorization: apikey {platform.info.token}\r\n{length}"
        connection = _opened(platform, "POST", "/experimental/api/v1/jobs", head)
        stack.enter_context(closing(connection))
        _is_served(platform)
        with raw_client(platform.info) as api:
            content = b"x" * FREE_BODY_BYTES * 2
            assert api.post("/jobs", content=content, timeout=5).status_code == 400


def test_many_open_requests_for_a_token() -> None:
    """However many strangers begin a body, one more is read."""

    async def attack() -> int:
        app = _app(Operation("POST", "/x", lambda _: None, needs_token=False, needs_instance=False))
        many = MAX_BODIES_BYTES // MAX_OPEN_BODY_BYTES + 1
        stalled = [asyncio.ensure_future(_send(app, _stalling(b"x"))) for _ in range(many)]
        await asyncio.sleep(0)
        status = await asyncio.wait_for(_send(app, _whole(b"apikey=x")), 5)
        for one in stalled:
            one.cancel()
        return status

    assert asyncio.run(attack()) == 204


@pytest.mark.parametrize("pause", [math.inf, 0.05])
def test_a_slow_sender_gives_its_room_back(monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    """Whoever stalls or trickles gets 408, and whoever waited for the room is served."""
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "SLOWEST_BYTES_PER_SECOND", 100 * MB)

    async def attack() -> tuple[int, int]:
        app = _app(Operation("POST", "/x", lambda _: None, needs_instance=False))
        most = b"x" * (MAX_BODIES_BYTES // 2)
        slow = asyncio.ensure_future(_send(app, _stalling(most, pause)))
        await asyncio.sleep(0)
        return await slow, await asyncio.wait_for(_send(app, _whole(most)), 5)

    assert asyncio.run(asyncio.wait_for(attack(), 20)) == (408, 204)


def test_waiting_for_others_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that has to wait for room is not slow."""
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.2)
    most = b"x" * MAX_BODIES_BYTES

    async def both() -> list[int]:
        def work(_: Call) -> None:
            time.sleep(0.5)

        app = _app(Operation("POST", "/x", work, needs_instance=False))
        return await asyncio.gather(*(_send(app, _whole(most)) for _ in range(2)))

    assert asyncio.run(both()) == [204, 204]


def test_a_refusal_of_a_slow_sender_ends_the_connection() -> None:
    """So the rest of its body is not waited for."""
    assert refusal(ApiError(408, 1208, "slow")).headers["connection"] == "close"


@pytest.mark.rest
def test_bodies_share_a_bounded_room() -> None:
    """Many large ones at once wait for each other, and all are answered."""
    with LocalPlatform() as platform:
        before = _memory(platform)
        key = f"apikey {platform.info.token}"
        told: list[int] = []

        def send() -> None:
            headers = {"Authorization": key, "Service-CRN": platform.info.instance}
            body = b'{"no": "' + b"x" * (MAX_BODY_BYTES - 1000) + b'"}'
            url = f"{platform.info.url}/jobs"
            told.append(httpx.post(url, content=body, headers=headers, timeout=120).status_code)

        with ExitStack() as stack:
            senders = [threading.Thread(target=send) for _ in range(8)]
            for one in senders:
                one.start()
                stack.callback(one.join)
            most = before
            while any(one.is_alive() for one in senders):
                most = max(most, _memory(platform))
                time.sleep(0.02)
        assert told == [400] * 8
        assert most - before < 8 * MAX_BODIES_BYTES  # one is read, copied and parsed at a time


def _memory(platform: LocalPlatform) -> int:
    """Return the largest resident size of the platform's processes."""
    server = psutil.Process(platform.info.pid)
    family = [server, *server.children(recursive=True)]
    return max(one.memory_info().rss for one in family if one.is_running())


def _is_served(platform: LocalPlatform) -> None:
    """Check that the owner and a stranger are, with bodies."""
    time.sleep(0.3)  # what was sent before is looked at first
    origin, key = platform.info.origin, {KEY_HEADER: platform.info.owner_key}
    with httpx.Client(base_url=origin, timeout=5, trust_env=False) as http:
        assert http.post("/_local/clock", json={"advance": 0}, headers=key).is_success
        assert http.post("/iam/identity/token", data={"apikey": platform.info.token}).is_success


def _app(operation: Operation) -> Starlette:
    """Return an application of one operation, which lets everybody in."""
    platform: Any = SimpleNamespace(
        stats=SimpleNamespace(count=lambda _: None),
        faults=SimpleNamespace(concern=lambda *_: False),
        accounts=SimpleNamespace(authorized=lambda _: SimpleNamespace(id="x")),
    )
    return Starlette(routes=[route(platform, "", operation, Room())])


async def _send(app: Starlette, receive: Receive) -> int:
    """Send one request without a length, and return the status of its answer."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "query_string": b"",
        "headers": [(b"transfer-encoding", b"chunked")],
    }
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    return int(told[0]["status"])


def _whole(body: bytes) -> Receive:
    """Return a sender that sends all at once."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _stalling(body: bytes, pause: float = math.inf) -> Receive:
    """Return a sender that sends so much, and after each pause one byte, and never ends."""
    parts = [body]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(min(pause, 3600))
        part = parts.pop() if parts else b"x"
        return {"type": "http.request", "body": part, "more_body": True}

    return receive


def _opened(platform: LocalPlatform, method: str, path: str, headers: str) -> socket.socket:
    """Send the head of a request, and none of the body that it speaks of."""
    address = urlsplit(platform.info.origin)
    connection = socket.create_connection((address.hostname, address.port), 10)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection
