"""Keys and access tokens that end while an experiment runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, runtime
from prefect.blocks.system import Secret
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from pydantic import SecretStr
from qiskit import QuantumCircuit
from support import BACKEND, wait_until

from session_block import IBMSessionCredentials, QuantumSession, local_platform
from session_block.errors import ConnectionFailedError
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.state import load_identity, save_identity

pytestmark = pytest.mark.rest

IAM = "POST /identity/token"
# The client uses a token until ten seconds before its end.
TOKEN_SECONDS = 12


@pytest.fixture
def local() -> Iterator[LocalPlatform]:
    """A platform of the test's own."""
    with LocalPlatform() as running:
        yield running


@pytest.fixture
def flows(prefect_server: str) -> Iterator[None]:  # noqa: ARG001 - flows need the server
    """Flows of this process send no heartbeat: to end its thread takes a second of every flow."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
    APILogWorker.drain_all()  # while the server still answers


def replace_key(local: LocalPlatform) -> str:
    """Give the platform's account another API key, as IBM's console does, and return it."""
    local_platform.stop(local.info.state_dir)
    identity = load_identity(local.info.state_dir)
    assert identity is not None
    new_key = f"key-{uuid4().hex}"
    first, *others = identity.accounts
    accounts = (replace(first, token=new_key), *others)
    save_identity(local.info.state_dir, replace(identity, accounts=accounts))
    local.restart()
    local.add_fault(kind="expire_tokens", method="POST", path="/jobs")
    return new_key


def credentials_for(local: LocalPlatform, **key: Any) -> IBMSessionCredentials:
    """Return credentials of a platform's first instance."""
    return IBMSessionCredentials(url=local.info.origin, instance=local.info.instance, **key)


def turned(experiment: Experiment, angle: float) -> dict[str, int]:
    """Sample a circuit that is another one for each angle."""
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    circuit.measure_all()
    result = experiment.run_sampler([experiment.transpile(circuit)], shots=10)
    counts: dict[str, int] = result[0].data.meas.get_counts()
    return counts


def key_in_credentials_block(local: LocalPlatform, name: str) -> Callable[[str], None]:
    """Save the session with a credentials Block of its own; return what replaces the key."""
    credentials = credentials_for(local, token=SecretStr(local.info.token))
    credentials.save(name)
    QuantumSession(credentials=credentials, backend_name=BACKEND).save(name)

    def rotate(key: str) -> None:
        credentials_for(local, token=SecretStr(key)).save(name, overwrite=True)

    return rotate


def key_in_session_block(local: LocalPlatform, name: str) -> Callable[[str], None]:
    """Save the session with its credentials inside; return what replaces the key."""

    def rotate(key: str) -> None:
        credentials = credentials_for(local, token=SecretStr(key))
        QuantumSession(credentials=credentials, backend_name=BACKEND).save(name, overwrite=True)

    rotate(local.info.token)
    return rotate


def key_in_secret_block(local: LocalPlatform, name: str) -> Callable[[str], None]:
    """Save the session with the name of a Secret block; return what replaces the key."""

    def rotate(key: str) -> None:
        Secret(value=key).save(name, overwrite=True)

    rotate(local.info.token)
    credentials = credentials_for(local, token_secret=name)
    QuantumSession(credentials=credentials, backend_name=BACKEND).save(name)
    return rotate


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize(
    "save",
    [
        key_in_session_block,
        pytest.param(key_in_credentials_block, marks=pytest.mark.nightly),
        pytest.param(key_in_secret_block, marks=pytest.mark.nightly),
    ],
)
def test_the_next_attempt_goes_on_with_a_new_key(
    local: LocalPlatform, save: Callable[[LocalPlatform, str], Callable[[str], None]]
) -> None:
    """A key revoked in the middle fails the attempt; the next uses the new one, in one session."""
    name = f"rotated-{uuid4().hex[:8]}"
    rotate = save(local, name)
    failed: list[str] = []

    @flow(retries=1, name=name)
    def two_steps(block: str) -> list[dict[str, int]]:
        with QuantumSession.load(block).experiment(name) as experiment:
            first = turned(experiment, 0.1)
            if runtime.flow_run.run_count > 1:
                return [first, turned(experiment, 0.2)]
            new_key = replace_key(local)
            try:
                turned(experiment, 0.2)
            except ConnectionFailedError as error:
                failed.append(str(error))
                rotate(new_key)
                raise
        pytest.fail("A revoked key was good for a job.")

    assert len(two_steps(name)) == 2
    assert "token" in failed[0]
    jobs, sessions = local.jobs(), local.sessions()
    assert len(jobs) == 2
    assert len(sessions) == 1
    assert {job["session_id"] for job in jobs} == {sessions[0]["id"]}


def test_a_corrected_key_goes_on_where_the_right_one_began(
    local: LocalPlatform, ledger_url: str
) -> None:
    """A Block with a wrong key submits nothing, and the corrected one goes on in the session."""

    def run(key: str, *angles: float) -> None:
        block = QuantumSession(
            credentials=credentials_for(local, token=SecretStr(key)),
            backend_name=BACKEND,
            ledger_url=SecretStr(ledger_url),
        )
        experiment = block.experiment("corrected")
        for angle in angles:
            turned(experiment, angle)

    run(local.info.token, 0.1)
    with pytest.raises(ConnectionFailedError, match="API key could not be found"):
        run("a-wrong-key", 0.1, 0.2)
    assert len(local.jobs()) == 1
    run(local.info.token, 0.1, 0.2)
    assert (len(local.jobs()), len(local.sessions())) == (2, 1)


def test_access_tokens_are_renewed_while_an_experiment_runs(ledger_url: str) -> None:
    """One experiment outlives its access tokens, whether they run out or are revoked."""
    with LocalPlatform(token_seconds=TOKEN_SECONDS) as local:
        block = QuantumSession(
            credentials=credentials_for(local, token=SecretStr(local.info.token)),
            backend_name=BACKEND,
            ledger_url=SecretStr(ledger_url),
        )
        with block.experiment("tokens") as experiment:
            turned(experiment, 0.1)
            first = local.stats()["requests"][IAM]

            def renewed() -> bool:
                experiment.session_details()
                return bool(local.stats()["requests"][IAM] > first)

            wait_until(renewed, seconds=TOKEN_SECONDS, what="the access token is renewed")
            turned(experiment, 0.2)
            before = local.stats()["requests"][IAM]
            local.add_fault(kind="expire_tokens", method="POST", path="/jobs")
            turned(experiment, 0.3)
            assert local.stats()["requests"][IAM] > before
        assert (len(local.jobs()), len(local.sessions())) == (3, 1)
