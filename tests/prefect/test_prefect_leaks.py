"""P9: no secret leaves its Block, whatever a run does and however it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from postgres import Postgres
from pydantic import SecretStr
from support import BACKEND, Platform

from session_block import IBMSessionCredentials, QuantumSession
from session_block.local_platform import Admin

PASSWORD = f"password-{uuid4().hex}"
WRONG_KEY = f"wrong-key-{uuid4().hex}"
_RUN = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from session_block.flows.vqe import vqe
from prefect import flow
from session_block.tasks import (close_session, estimate_sampler, experiment_usage, fetch_result,
    open_session, session_details, submit_sampler)

@flow(persist_result=True)
def steps(block):
    from qiskit import QuantumCircuit
    from prefect.artifacts import create_markdown_artifact
    session = open_session(block)
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    estimate = estimate_sampler(session, [circuit], shots=8)
    job = submit_sampler(session, [circuit], shots=8)
    fetch_result(job)
    told = [session, job, estimate, session_details(session), experiment_usage(session)]
    create_markdown_artifact(f"{told!r} {[one.model_dump_json() for one in told]}", key="told")
    close_session(session)
    return [one.model_dump() for one in told]

block, name = sys.argv[1:]
steps(block)
print(vqe(block, optimizer_options={"maxiter": 3}, experiment=name))
"""


def _run(block: str, server: str, results: Path) -> tuple[bytes, int]:
    """Run both flows in a process that logs everything; return all that it wrote."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, block, f"leaks-{uuid4().hex[:8]}"],
        check=False,
        capture_output=True,
        env={
            **os.environ,
            "PREFECT_API_URL": server,
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
            "PREFECT_LOCAL_STORAGE_PATH": str(results),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    return ran.stdout + ran.stderr, ran.returncode


def _remembered_by(server: str) -> bytes:
    """Return what the Prefect server tells of runs, logs, artifacts and Blocks."""
    asked = ("flow_runs", "task_runs", "logs", "artifacts", "block_documents")
    answers = [httpx.post(f"{server}/{what}/filter", json={"limit": 200}) for what in asked]
    answers.append(httpx.post(f"{server}/events/filter", json={"limit": 50}))
    assert all(answer.is_success for answer in answers), answers
    return b"\n".join(answer.content for answer in answers)


def _files(directory: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


@pytest.fixture
def store(postgres: Postgres) -> str:
    """A ledger whose URL holds a password that nobody else has."""
    owner, _, place = postgres.new_store().rpartition("@")
    role = f"r{uuid4().hex[:8]}"
    with psycopg.connect(f"{owner}@{place}", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    return f"postgresql://{role}:{PASSWORD}@{place}"


def _block(platform: Platform, store: str, key: str, name: str) -> str:
    QuantumSession(
        credentials=IBMSessionCredentials(
            token=SecretStr(key), instance=platform.info.instance, url=platform.info.origin
        ),
        backend_name=BACKEND,
        ledger_url=SecretStr(store),
    ).save(name, overwrite=True)
    return name


def _written_to(postgres: Postgres, store: str) -> bytes:
    rows = postgres.query("SELECT experiment, key, body FROM session_block_facts", store)
    payloads = postgres.query(
        "SELECT payload FROM session_block_facts WHERE payload IS NOT NULL", store
    )
    assert rows
    return repr(rows).encode() + b"\n".join(bytes(payload) for (payload,) in payloads)


@pytest.mark.rest
def test_a_run_that_succeeds_leaks_nothing(
    prefect_server: str, platform: Platform, postgres: Postgres, store: str, tmp_path: Path
) -> None:
    """P9: logs at DEBUG, artifacts, results, parameters and ledger hold no key and no password."""
    block = _block(platform, store, platform.info.token, "t-leaks")
    output, code = _run(block, prefect_server, tmp_path)
    assert code == 0, output.decode()[-3000:]
    results = _files(tmp_path)
    assert results
    for place, written in {
        "output": output,
        "server": _remembered_by(prefect_server),
        "results": results,
        "ledger": _written_to(postgres, store),
    }.items():
        assert platform.info.token.encode() not in written, place
        assert PASSWORD.encode() not in written, place
        assert b"Bearer ey" not in written, place


@pytest.mark.rest
@pytest.mark.parametrize("failure", ["wrong key", "refused job", "no ledger"])
def test_a_run_that_fails_leaks_nothing(
    prefect_server: str,
    platform: Platform,
    postgres: Postgres,
    store: str,
    tmp_path: Path,
    failure: str,
) -> None:
    """Exceptions and their tracebacks hold no secret either."""
    admin = Admin.of(platform.info)
    key = WRONG_KEY if failure == "wrong key" else platform.info.token
    if failure == "refused job":
        admin.add_fault(kind="status", status=400, method="POST", path="/jobs", times=None)
    url = store
    if failure == "no ledger":
        url = store.replace(f":{store.split(':')[3].split('/', maxsplit=1)[0]}/", ":9/")
    block = _block(platform, url, key, "t-leaks-failing")
    try:
        output, code = _run(block, prefect_server, tmp_path)
    finally:
        admin.clear_faults()
    assert code != 0
    assert b"Traceback" in output
    remembered = _remembered_by(prefect_server)
    for secret in (key, platform.info.token, PASSWORD):
        assert secret.encode() not in output, failure
        assert secret.encode() not in remembered, failure
        assert secret.encode() not in _files(tmp_path), failure
    if failure == "refused job":
        assert platform.info.token.encode() not in _written_to(postgres, store)
