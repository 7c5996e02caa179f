"""Plans that let a session be opened, and then run its jobs outside of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from qiskit import QuantumCircuit

from session_block import IBMSessionCredentials, QuantumSession
from session_block.errors import SessionsNotAllowedError
from session_block.local_platform import LocalPlatform

pytestmark = pytest.mark.rest

BACKEND = "ibm_fez"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose open plan ignores sessions."""
    with LocalPlatform(tmp_path / "platform", open_plan_sessions="ignore") as platform:
        yield platform


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block of the open plan's instance, which wants a session."""
    instance = next(one for one in platform.accounts[0].instances if one.plan == "open")
    return QuantumSession(
        credentials=IBMSessionCredentials(
            token=SecretStr(platform.info.token), instance=instance.crn, url=platform.info.origin
        ),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def test_the_platform_says_so_in_its_answer(platform: LocalPlatform, block: QuantumSession) -> None:
    """The job has no session, and the answer to its submission a message, as IBM's has."""
    experiment = block.experiment("e")
    session_id = experiment.open_session()
    access = httpx.post(
        f"{platform.info.origin}/iam/identity/token",
        data={
            "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
            "apikey": platform.info.token,
        },
    ).json()["access_token"]
    answer = httpx.post(
        f"{platform.info.url}/jobs",
        headers={
            "Authorization": f"Bearer {access}",
            "Service-CRN": experiment.service.active_instance(),
            "IBM-API-Version": "2026-04-15",
        },
        json={
            "program_id": "sampler",
            "backend": BACKEND,
            "params": {"pubs": [], "version": 2},
            "session_id": session_id,
        },
    ).json()
    experiment.close_session()
    assert "job mode" in answer["messages"][0]
    [job] = platform.jobs()
    assert (job["id"], job["session_id"]) == (answer["id"], None)


def test_it_is_an_error_where_a_session_is_wanted(
    platform: LocalPlatform, block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """The first result is kept, the session closed, and nothing more is submitted."""
    experiment = block.experiment("e")
    first = experiment.run_sampler([circuit], shots=8)
    for _ in range(2):
        with pytest.raises(SessionsNotAllowedError, match=r"outside of it.*without_sessions"):
            experiment.run_sampler([circuit], shots=16)
    again = block.experiment("e").run_sampler([circuit], shots=8)
    assert again[0].data.c.get_counts() == first[0].data.c.get_counts()
    assert len(platform.jobs()) == 1
    assert [session["state"] for session in platform.sessions()] == ["closed"]


@pytest.mark.parametrize("instead", ["batch", "job"])
def test_another_mode_takes_its_place(
    platform: LocalPlatform,
    block: QuantumSession,
    circuit: QuantumCircuit,
    instead: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the second job on, and in the next process, the experiment runs in the other mode."""
    block = block.model_copy(update={"without_sessions": instead})
    for labels in ("ab", "cd"):
        experiment = block.experiment("e")
        for label in labels:
            experiment.run_sampler([circuit], shots=8, label=label)
    assert experiment.mode == instead
    experiment.close_session()
    assert f"runs in {instead} mode" in caplog.text
    modes = [session["mode"] for session in platform.sessions()]
    assert modes == (["batch", "dedicated"] if instead == "batch" else ["dedicated"])
    outside = [job["session_id"] is None for job in platform.jobs()]
    assert len(outside) == 4
    assert sum(outside) == (1 if instead == "batch" else 4)
