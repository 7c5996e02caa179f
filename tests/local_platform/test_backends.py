"""Backends as the client sees them: lists, data, fractional gates, mocks, maintenance."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform
from session_block.local_platform.clock import Clock
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec, Layout
from session_block.local_platform.devices.backends import DEVICES, Backends, Device
from session_block.local_platform.process.admin import Admin
from session_block.local_platform.workloads.store import Store

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform import PlatformInfo

AMERICAN = {"ibm_manila", "ibm_nairobi", "ibm_hanoi", "ibm_sherbrooke", "ibm_fez"}


def test_the_instance_lists_its_backends(api: httpx.Client) -> None:
    """The list has the instance's backends and no mocks, in the form of IBM's API."""
    devices = {device["name"]: device for device in api.get("/backends").json()["devices"]}
    assert set(devices) == AMERICAN
    fez = devices["ibm_fez"]
    assert fez["status"] == {"name": "online", "reason": "available"}
    assert (fez["qubits"], fez["physical_qubits"], fez["is_simulator"]) == (156, 156, False)
    assert fez["processor_type"] == {"family": "Heron", "revision": "2"}
    assert fez["clops"] == {"type": "hardware", "value": 195_000}
    best = fez["performance_metrics"]["two_q_error_best"]
    assert best["gate"] == "cz"
    assert 0 < best["value"] < fez["performance_metrics"]["two_q_error_median"]["value"] < 0.02
    assert fez["queue_length"] >= 0


def test_mocks_are_listed_on_request(api: httpx.Client) -> None:
    """With include_mocks every backend has its mock beside it, of class mock."""
    devices = api.get("/backends", params={"include_mocks": "True"}).json()["devices"]
    mocks = {device["name"] for device in devices if device.get("class") == "mock"}
    assert mocks == {name.replace("ibm_", "mock_") for name in AMERICAN}
    assert {device["name"] for device in devices} == AMERICAN | mocks


def test_filters(service: QiskitRuntimeService) -> None:
    """The client's filters find what they would find at IBM's."""
    assert {backend.name for backend in service.backends()} == AMERICAN
    assert len(service.backends(min_num_qubits=100)) == 2
    assert len(service.backends(dynamic_circuits=True)) == len(AMERICAN)
    assert [b.name for b in service.backends(filters=lambda b: b.num_qubits == 7)] == [
        "ibm_nairobi"
    ]
    assert len(service.backends(operational=True, simulator=False)) == len(AMERICAN)
    assert service.least_busy(min_num_qubits=130).name == "ibm_fez"
    assert not service.backend("ibm_fez").is_mock
    assert service.backend("mock_fez").is_mock
    assert service.backend("ibm_fez").physical_qubits == 156


@pytest.mark.parametrize("name", ["ibm_brussels", "ibm_oslo", "mock_brussels"])
def test_others_backends_do_not_exist(
    name: str, service: QiskitRuntimeService, api: httpx.Client
) -> None:
    """A backend of another instance is as unknown as one that there is not."""
    with pytest.raises(QiskitBackendNotFoundError):
        service.backend(name)
    for what in ("configuration", "properties", "status"):
        answer = api.get(f"/backends/{name}/{what}")
        assert answer.status_code == 404
        assert name not in answer.text


def test_data_of_a_backend(service: QiskitRuntimeService) -> None:
    """Target, properties, status and configuration agree with each other."""
    backend = service.backend("ibm_sherbrooke")
    assert backend.target.num_qubits == backend.num_qubits == 127
    assert backend.online_date < datetime.now(UTC)
    properties = backend.properties()
    assert properties.backend_name == "ibm_sherbrooke"
    assert backend.target["sx"][0,].error == properties.gate_error("sx", 0)
    assert backend.target["measure"][3,].error == properties.readout_error(3)
    assert backend.qubit_properties(5).t1 == properties.t1(5)
    assert backend.processor_type["family"] == "Eagle"
    assert backend.default_rep_delay == pytest.approx(250e-6)
    status = backend.status()
    assert (status.operational, status.status_msg) == (True, "active")
    assert status.backend_version == backend.backend_version
    with pytest.raises(AttributeError):
        _ = backend.defaults


def test_fractional_gates(service: QiskitRuntimeService) -> None:
    """Heron devices have rx and rzz where they are asked for, others refuse."""
    plain = service.backend("ibm_fez")
    assert not {"rx", "rzz"} & {*plain.basis_gates, *plain.target.operation_names}
    for choice in (True, None):
        backend = service.backend("ibm_fez", use_fractional_gates=choice)
        assert {"rx", "rzz"} <= set(backend.basis_gates) & set(backend.target.operation_names)
        assert backend.target["rzz"][145, 146].error == pytest.approx(0.0017, abs=1e-4)
        assert "if_else" in backend.target.operation_names
    with pytest.raises(IBMInputValueError, match="does not support fractional gates"):
        service.backend("ibm_sherbrooke", use_fractional_gates=True)
    assert "rzz" not in service.backend("ibm_fez").basis_gates


def test_dry_runs_go_to_the_mock(service: QiskitRuntimeService) -> None:
    """A dry run is a job on the backend's mock."""
    backend = service.backend("ibm_manila")
    sampler = Sampler(backend)
    job = sampler.run([isa(bell(), backend)], shots=20, dry_run=True)
    assert job.backend().name == "mock_manila"
    assert job.backend().is_mock
    assert set(job.result()[0].data.meas.get_counts()) <= {"00", "11"}


def test_maintenance(platform: PlatformInfo, service: QiskitRuntimeService) -> None:
    """A backend in maintenance is not operational, and no least busy one; then it is again."""
    admin = Admin.of(platform)
    backend = service.backend("ibm_sherbrooke")
    fault = admin.add_fault(kind="maintenance", backend="ibm_sherbrooke")
    status = backend.status()
    assert (status.operational, status.status_msg) == (False, "maintenance")
    with raw_client(platform) as api:
        listed = {device["name"]: device for device in api.get("/backends").json()["devices"]}
    assert listed["ibm_sherbrooke"]["status"] == {"name": "paused", "reason": "maintenance"}
    assert listed["ibm_fez"]["status"]["name"] == "online"
    assert "ibm_sherbrooke" not in {b.name for b in service.backends(operational=True)}
    admin.clear_faults(fault)
    assert backend.status().operational


def test_usage_of_an_instance(
    service: QiskitRuntimeService, connect: Callable[..., Any], platform: PlatformInfo
) -> None:
    """An instance with a limit says what remains of it, one without says only what was used."""
    crns = {instance["name"]: instance["crn"] for instance in service.instances()}
    limited = connect(platform, instance=crns["local-platform-open"]).usage()
    assert limited["usage_limit_seconds"] == 600
    assert limited["usage_consumed_seconds"] + limited["usage_remaining_seconds"] == 600
    assert limited["plan_id"] == "plan-open"
    assert limited["usage_limit_reached"] is False
    usage = service.usage()
    assert usage["instance_id"] == platform.instance
    assert "usage_limit_seconds" not in usage


def test_the_usage_limit_counts_fractions_of_a_second() -> None:
    """Usage is told in whole seconds; whether the limit is reached follows from the exact value."""
    spec = InstanceSpec(name="small", backends=("ibm_manila",), usage_limit_seconds=15)
    layout = Layout(accounts=(AccountSpec(instances=(spec,)),))
    job = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
    seen = []
    with (
        LocalPlatform(time_scale=0, charges="simulated", job_seconds=14.6, layout=layout) as small,
        raw_client(small.info) as api,
    ):
        for _ in range(3):
            seen.append(api.get("/instances/usage").json())
            accepted = api.post("/jobs", json=job).status_code
            small.advance(14.6)
        assert accepted == 409, (seen, small.jobs())
    assert [usage["usage_consumed_seconds"] for usage in seen] == [0, 15, 29]
    assert all(type(usage["usage_consumed_seconds"]) is int for usage in seen)
    assert [usage["usage_limit_reached"] for usage in seen] == [False, False, True]


def test_the_european_instance(
    service: QiskitRuntimeService, connect: Callable[..., Any], platform: PlatformInfo
) -> None:
    """The instance in Europe has two backends of its own, with their newer data."""
    crns = {instance["name"]: instance["crn"] for instance in service.instances()}
    european = connect(platform, instance=crns["local-platform-eu"])
    assert {backend.name for backend in european.backends()} == {"ibm_brussels", "ibm_aachen"}
    aachen = european.backend("ibm_aachen", use_fractional_gates=True)
    assert aachen.target["rzz"][0, 1].error < 0.01
    assert european.backend("ibm_brussels").target.num_qubits == 127


def test_devices_of_ones_own(tmp_path: Path) -> None:
    """A device can be made from any recording of the client, and gets a mock; from no other."""
    with closing(Store(tmp_path / "platform.sqlite")) as store:
        device = Device("test_eagle", "brisbane")
        backends = Backends(store, Clock(), 0, {**DEVICES, device.name: device})
        assert backends.configuration("mock_eagle")["backend_name"] == "mock_eagle"
        assert backends.find("mock_eagle").owner == "test_eagle"
        with pytest.raises(ValueError, match="test_x: no recording is called 'nonsense'"):
            Backends(store, Clock(), 0, {"test_x": Device("test_x", "nonsense")})


def test_the_server_needs_no_qiskit() -> None:
    """Backends and their routes load neither Qiskit nor Aer nor the client."""
    code = (
        "import sys\n"
        "import session_block.local_platform.api.routes_backends\n"
        "print([name for name in sys.modules if name.startswith('qiskit')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
