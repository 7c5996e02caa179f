"""Backends as the client sees them: lists, data, fractional gates, calibrations, maintenance."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from qiskit import QuantumCircuit
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import EstimatorV2, SamplerV2
from qiskit_ibm_runtime.exceptions import IBMInputValueError, IBMRuntimeError
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform
from session_block.local_platform.admin import Admin
from session_block.local_platform.backends import DEVICES, Backends, Device
from session_block.local_platform.clock import Clock
from session_block.local_platform.store import Store

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform import PlatformInfo

AMERICAN = {"ibm_manila", "ibm_nairobi", "ibm_hanoi", "ibm_sherbrooke", "ibm_fez"}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformInfo]:
    """A platform with device noise whose backends are calibrated by the tests."""
    state_dir = tmp_path_factory.mktemp("calibrated")
    yield local_platform.start(state_dir, noise="device", seed=11)
    local_platform.stop(state_dir)


@pytest.fixture
def calibrate(calibrated: PlatformInfo) -> Callable[..., dict[str, Any]]:
    """A function that calibrates a backend anew."""

    def post(backend: str, **changes: Any) -> dict[str, Any]:
        url = f"{calibrated.origin}/_local/backends/{backend}/calibration"
        answer = httpx.post(url, json=changes, trust_env=False)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    return post


@pytest.fixture(scope="module")
def calibrated_service(
    calibrated: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return connect(calibrated)


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
        assert name in answer.json()["errors"][0]["message"]


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


def test_a_new_calibration_is_seen(
    calibrated_service: QiskitRuntimeService, calibrate: Callable[..., dict[str, Any]]
) -> None:
    """After a calibration a refresh shows other errors, of now; a mock shows the same."""
    backend = calibrated_service.backend("ibm_nairobi")
    before = backend.properties()
    made = calibrate("ibm_nairobi")
    assert made["number"] == 1
    assert backend.properties() is before
    after = backend.properties(refresh=True)
    assert abs(after.last_update_date - datetime.now(UTC)) < timedelta(minutes=1)
    assert after.t1(0) != before.t1(0)
    assert after.gate_error("cx", [0, 1]) != before.gate_error("cx", [0, 1])
    assert after.gate_length("cx", [0, 1]) == before.gate_length("cx", [0, 1])
    assert calibrated_service.backend("mock_nairobi").properties().t1(0) == after.t1(0)
    backend.refresh()
    assert backend.target["cx"][0, 1].error == after.gate_error("cx", [0, 1])


def test_properties_of_a_moment(
    calibrated_service: QiskitRuntimeService, calibrate: Callable[..., dict[str, Any]]
) -> None:
    """A moment has the latest properties before it, and none before the device was recorded."""
    backend = calibrated_service.backend("ibm_hanoi")
    recorded = backend.properties()
    calibrate("ibm_hanoi")
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert backend.properties(datetime=now - hour).t1(0) == recorded.t1(0)
    assert backend.properties(datetime=now + hour).t1(0) != recorded.t1(0)
    assert backend.properties(datetime=recorded.last_update_date - hour) is None
    assert backend.target_history(datetime=now - hour)["sx"][0,].error == recorded.gate_error(
        "sx", 0
    )


def test_a_backend_of_a_calibration(
    calibrated: PlatformInfo,
    calibrated_service: QiskitRuntimeService,
    calibrate: Callable[..., dict[str, Any]],
) -> None:
    """A calibration's ID picks its properties and its noise, also when there are later ones."""
    with raw_client(calibrated) as api:
        old = api.get("/backends/ibm_manila/properties").json()["calibration_id"]
        new = calibrate("ibm_manila")["calibration_id"]
        assert api.get("/backends/ibm_manila/properties").json()["calibration_id"] == new
    assert old != new
    results = {}
    for name, calibration in (("old", old), ("new", new), ("current", None)):
        backend = calibrated_service.backend("ibm_manila", calibration_id=calibration)
        job = EstimatorV2(backend).run([(QuantumCircuit(5), "ZZZZZ")], precision=0.01)
        results[name] = (backend.properties().t1(0), float(job.result()[0].data.evs))
    assert results["new"] == results["current"]
    assert results["old"][0] != results["new"][0]
    assert results["old"][1] != results["new"][1]


def test_unknown_calibrations_are_refused(
    calibrated: PlatformInfo, calibrated_service: QiskitRuntimeService
) -> None:
    """A calibration that the backend does not have is refused, also one of another backend."""
    with raw_client(calibrated) as api:
        foreign = api.get("/backends/ibm_fez/properties").json()["calibration_id"]
        for calibration in ("nonsense", foreign):
            for what in ("configuration", "properties"):
                url = f"/backends/ibm_manila/{what}"
                answer = api.get(url, params={"calibration_id": calibration})
                assert answer.status_code == 400
            with pytest.raises(QiskitBackendNotFoundError):
                calibrated_service.backend("ibm_manila", calibration_id=calibration)
    backend = calibrated_service.backend("ibm_manila")
    backend._calibration_id = "nonsense"
    backend.properties = lambda: None
    with pytest.raises(IBMRuntimeError, match="has no calibration"):
        SamplerV2(backend).run([isa(bell(), calibrated_service.backend("ibm_manila"))])


def test_faulty_qubits_and_gates(
    calibrated_service: QiskitRuntimeService, calibrate: Callable[..., dict[str, Any]]
) -> None:
    """What a calibration marks as faulty is refused by the client and left out of its target."""
    calibrate("ibm_fez", faulty_qubits=[5], faulty_gates=[["cz", 0, 1]])
    backend = calibrated_service.backend("ibm_fez")
    properties = backend.properties()
    assert properties.faulty_qubits() == [5]
    assert [(gate.gate, gate.qubits) for gate in properties.faulty_gates()] == [("cz", [0, 1])]
    assert (0, 1) not in backend.target["cz"]
    assert (1, 0) in backend.target["cz"]
    assert (5,) not in backend.target["sx"]
    on_qubit, on_edge = QuantumCircuit(156), QuantumCircuit(156)
    on_qubit.x(5)
    on_edge.cz(0, 1)
    for circuit, match in ((on_qubit, "faulty qubit 5"), (on_edge, "faulty edge")):
        with pytest.raises(ValueError, match=match):
            backend.check_faulty(circuit)
    backend.check_faulty(QuantumCircuit(156))
    calibrate("ibm_fez")
    assert backend.properties(refresh=True).faulty_qubits() == []


@pytest.mark.parametrize(
    "body",
    [
        {"faulty_qubits": 3},
        {"faulty_qubits": [5]},
        {"faulty_qubits": [-1]},
        {"faulty_qubits": [True]},
        {"faulty_gates": ["cx"]},
        {"faulty_gates": [[]]},
        {"faulty_gates": [["cx", 0, 4]]},
        {"faulty_gates": [["cx", "0", 1]]},
        {"faulty_gates": [[3, 0, 1]]},
    ],
)
def test_impossible_faults_are_refused(platform: PlatformInfo, body: dict[str, Any]) -> None:
    """A calibration that marks what the device does not have is not made."""
    url = f"{platform.origin}/_local/backends/ibm_manila/calibration"
    assert httpx.post(url, json=body, trust_env=False).status_code == 400
    with raw_client(platform) as api:
        properties = api.get("/backends/ibm_manila/properties").json()
    assert properties["last_update_date"].startswith("2024")


def test_maintenance(calibrated: PlatformInfo, calibrated_service: QiskitRuntimeService) -> None:
    """A backend in maintenance is not operational, and no least busy one; then it is again."""
    admin = Admin(calibrated.origin)
    backend = calibrated_service.backend("ibm_sherbrooke")
    fault = admin.add_fault(kind="maintenance", backend="ibm_sherbrooke")
    status = backend.status()
    assert (status.operational, status.status_msg) == (False, "maintenance")
    with raw_client(calibrated) as api:
        listed = {device["name"]: device for device in api.get("/backends").json()["devices"]}
    assert listed["ibm_sherbrooke"]["status"] == {"name": "paused", "reason": "maintenance"}
    assert listed["ibm_fez"]["status"]["name"] == "online"
    assert "ibm_sherbrooke" not in {b.name for b in calibrated_service.backends(operational=True)}
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


def test_calibrations_outlive_the_server(tmp_path: Path) -> None:
    """A new process has the calibrations of the old one, with the same numbers and drift."""
    clock = Clock()
    store = Store(tmp_path / "platform.sqlite")
    first = Backends(store, clock, seed=1)
    made = [first.calibrate("ibm_manila", [2], [("cx", (0, 1))]), first.calibrate("ibm_manila")]
    properties = first.properties("ibm_manila")
    store.close()
    again = Backends(Store(tmp_path / "platform.sqlite"), clock, seed=1)
    assert again.calibration("ibm_manila") == made[1]
    assert again.calibration("ibm_manila", made[0].id) == made[0]
    assert again.calibration("mock_manila") == made[1]
    assert again.calibration("ibm_fez").number == 0
    assert again.properties("ibm_manila") == properties
    other = Backends(Store(tmp_path / "platform.sqlite"), clock, seed=2)
    assert other.properties("ibm_manila") != properties


def test_devices_of_ones_own(tmp_path: Path) -> None:
    """A device can be made from any recording of the client, and gets a mock; from no other."""
    store = Store(tmp_path / "platform.sqlite")
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
        "import session_block.local_platform.routes_backends\n"
        "print([name for name in sys.modules if name.startswith('qiskit')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
