"""Somebody is told when a submission is held."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect_helpers import CHECKOUT, flipped, prefect_cli

from session_block.blocks.quantum_session import load_block
from session_block.errors import SubmissionHeldError

NOBODY = "00000000-0000-0000-0000-000000000000"

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]


@pytest.fixture
def inbox() -> Iterator[tuple[str, queue.SimpleQueue[dict[str, Any]]]]:
    """A web hook of the test's own: its URL, and what is posted to it."""
    posted: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", posted
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def told(
    inbox: tuple[str, queue.SimpleQueue[dict[str, Any]]], tmp_path: Path
) -> Iterator[queue.SimpleQueue[dict[str, Any]]]:
    """The automation of ``deployments/notifications.yaml``, which posts to the web hook."""
    url, posted = inbox
    hook = CustomWebhookNotificationBlock(
        name="inbox", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    block_id = hook.save("inbox", overwrite=True)
    text = (CHECKOUT / "deployments/notifications.yaml").read_text()
    assert text.count(NOBODY) == 1
    file = tmp_path / "notifications.yaml"
    file.write_text(text.replace(NOBODY, str(block_id)))
    prefect_cli("automation", "create", "--from-file", str(file))
    yield posted
    with get_client(sync_client=True) as client:
        for made in client.request("POST", "/automations/filter", json={}).json():
            client.request("DELETE", "/automations/{id}", path_params={"id": made["id"]})


def test_a_held_submission_is_told(
    saved_block: str, told: queue.SimpleQueue[dict[str, Any]]
) -> None:
    """A job that the platform does not know any more wakes somebody, with all that it takes."""
    submissions: list[str] = []

    @flow
    def lose_a_job() -> None:
        with load_block(saved_block).experiment() as experiment:
            job = experiment.submit_sampler([flipped()], shots=8)
            submissions.append(job.submission)
            experiment.service.delete_job(job.job_id)
            experiment.fetch_result(job)

    with pytest.raises(SubmissionHeldError):
        lose_a_job()
    message = told.get(timeout=60)
    assert "is held" in message["subject"]
    assert submissions[0] in message["body"]
    assert "does not know its job" in message["body"]
    assert "session-block submissions list --held" in message["body"]
