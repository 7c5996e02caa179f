"""A proxy before the local platform, at which a test may watch, kill or cut off a client."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

Watcher = Callable[[str, str], int | None]
"""Gets ``before`` or ``after`` the effect, and the request ("POST /jobs").

Returns ``None`` to let it pass, ``CUT`` to break the connection, or an HTTP status to answer.
"""

CUT = 0


class _Forwarder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: str
    watch: Watcher
    client: httpx.Client

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {re.sub('.*/api/v1', '', self.path.partition('?')[0])}"
        if self._interfered("before", request):
            return
        answer = self.client.request(
            self.command,
            self.target + self.path,
            content=body,
            headers={key: value for key, value in self.headers.items() if key != "Host"},
        )
        if self._interfered("after", request):
            return
        self.send_response(answer.status_code)
        if answer.status_code != httpx.codes.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer.content)))
        if "Content-Type" in answer.headers:
            self.send_header("Content-Type", answer.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _forward  # noqa: N815

    def _interfered(self, moment: str, request: str) -> bool:
        status = type(self).watch(moment, request)
        if status is None:
            return False
        if status == CUT:
            self.close_connection = True
            return True
        body = b'{"errors":[{"code":1,"message":"as the test wants"}]}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxy(target: str, watch: Watcher) -> Iterator[str]:
    """Give the origin of a proxy that forwards to ``target`` what ``watch`` lets through."""
    with httpx.Client(timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        handler = type(
            "Forwarder",
            (_Forwarder,),
            {"target": target, "watch": staticmethod(watch), "client": client},
        )
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
