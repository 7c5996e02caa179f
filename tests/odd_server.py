"""A server that stands where a Prefect server might, and is none, or a broken one."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Self

_BODIES = {
    "html": (200, b"<!doctype html><html>Log in to the hotel's network [red]x[/]</html>"),
    "401": (401, b'{"exception_message": "Unauthorized"}'),
    "500": (500, b"oops"),
    "api": (200, b"true"),
}


class OddServer:
    """Answers as the first part of a path says; with ``+h``, health is as it should be.

    The kinds are ``html``, ``401``, ``500``, ``drip``, which sends a byte a second, ``hang``, and
    ``api``, which is what a healthy server says of its health.

    Attributes:
        seen: The credentials that each request brought.
    """

    def __init__(self) -> None:
        self.seen: list[str | None] = []
        self._ended = Event()
        handler = type("Handler", (_Handler,), {"seen": self.seen, "ended": self._ended})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever)
        self.port = self._server.server_port

    def url(self, kind: str) -> str:
        """Return the API URL at which it answers so."""
        return f"http://127.0.0.1:{self.port}/{kind}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    seen: list[str | None]
    ended: Event

    def answer(self) -> None:
        """Answer any request."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(self.headers.get("Authorization"))
        kind, _, healthy = self.path.split("/")[1].partition("+")
        if healthy and self.path.endswith("/health"):
            kind = "api"
        if kind == "hang":
            self.ended.wait(60)
        status, body = _BODIES.get(kind, (200, b"true"))
        self.send_response(status)
        if kind == "drip":
            self.end_headers()
            while not self.ended.wait(1):
                self.wfile.write(b" ")
                self.wfile.flush()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = answer  # noqa: N815 - the base class calls it so
    do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""
