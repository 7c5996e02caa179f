"""How much memory the platform takes: for strangers none, for its user a bounded amount."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
import zipfile
import zlib
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest
from qiskit_ibm_runtime import RuntimeDecoder

from session_block.local_platform import LocalPlatform
from session_block.local_platform.api.http import MAX_BODIES_BYTES, MAX_BODY_BYTES
from session_block.local_platform.execution.refusals import ProgramFailedError
from session_block.local_platform.execution.unpacking import check_unpacked

MB = 1024 * 1024


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
            with closing(_opened(platform, path, 100 * MB)) as connection:
                status = connection.recv(100).split()[1]
            assert status == (b"413" if path.startswith("/iam") else b"401"), path
        answer = httpx.post(f"{origin}/iam/identity/token", content=b"x" * 65 * 1024)
        assert answer.status_code == 413


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


def _opened(platform: LocalPlatform, path: str, length: int) -> socket.socket:
    """Send the head of a request, and none of the body that it speaks of."""
    address = urlsplit(platform.info.origin)
    connection = socket.create_connection((address.hostname, address.port), 10)
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection
