"""A platform that answers every request with 200 and ``{}``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from session_block.account import Account

ACCOUNT, INSTANCE = "1" * 32, "22222222-2222-2222-2222-222222222222"
CRN = f"crn:v1:bluemix:public:quantum-computing:us-east:a/{ACCOUNT}:{INSTANCE}::"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def empty_platform() -> Iterator[Account]:
    """Run it, and give an account there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Account(
            token="a-key",
            channel="ibm_quantum_platform",
            url=f"{origin}/experimental/api/v1",
            environment={
                "IAM_URL": f"{origin}/iam",
                "GLOBAL_SEARCH_URL": f"{origin}/search",
                "GLOBAL_CATALOG_URL": f"{origin}/catalog",
            },
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
