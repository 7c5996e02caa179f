"""The least server time that a job needs, measured over one bare connection."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from session_block.local_platform import LocalPlatform

_TIMES = 10
_DONE = ("Completed", "COMPLETED")


def least_server_seconds(platform: LocalPlatform) -> dict[str, float]:
    """Return the median seconds of one POST of a job, one look at it, and one result.

    The parameters of the platform's latest job are sent again, so that the jobs are real ones.
    """
    latest = platform.jobs(limit=1)[0]
    api = _Bare(platform)
    job = api.ask("GET", f"/jobs/{latest['id']}?exclude_params=false")[0]
    params = job["params"]
    new = {
        "program_id": latest["program"],
        "backend": latest["backend"],
        "params": json.loads(params) if isinstance(params, str) else params,
    }
    posts, looks, results = [], [], []
    for _ in range(_TIMES):
        made, seconds = api.ask("POST", "/jobs", new)
        posts.append(seconds)
        while True:
            found, seconds = api.ask("GET", f"/jobs/{made['id']}?exclude_params=true")
            if found["state"]["status"] in _DONE:
                break
        looks.append(seconds)
        results.append(api.ask("GET", f"/jobs/{made['id']}/results")[1])
    api.close()
    return {
        "POST": statistics.median(posts),
        "look": statistics.median(looks),
        "result": statistics.median(results),
    }


class _Bare:
    def __init__(self, platform: LocalPlatform) -> None:
        parts = urlsplit(platform.info.url)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
        self._headers = {
            "Authorization": f"apikey {platform.info.token}",
            "Service-CRN": platform.info.instance,
            "Content-Type": "application/json",
        }

    def ask(self, method: str, path: str, body: Any = None) -> tuple[Any, float]:
        """Return the answer and the seconds that it took."""
        sent = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        self._connection.request(method, self._path + path, sent, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - began
        if response.status >= 400:  # noqa: PLR2004 - HTTP's
            raise RuntimeError(f"{method} {path}: {response.status} {content[:500]!r}")
        return json.loads(content), seconds

    def close(self) -> None:
        self._connection.close()
