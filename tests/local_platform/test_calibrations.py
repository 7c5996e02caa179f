"""Calibrations: new ones, those of a moment or an ID, faults, and that they last."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from qiskit import QuantumCircuit
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import EstimatorV2, SamplerV2
from qiskit_ibm_runtime.exceptions import IBMRuntimeError

from session_block import local_platform
from session_block.local_platform.api.local_access import KEY_HEADER
from session_block.local_platform.clock import Clock
from session_block.local_platform.devices.backends import Backends
from session_block.local_platform.workloads.store import Store

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform import PlatformInfo


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
        key = {KEY_HEADER: calibrated.owner_key}
        answer = httpx.post(url, json=changes, headers=key, trust_env=False)
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
    key = {KEY_HEADER: platform.owner_key}
    assert httpx.post(url, json=body, headers=key, trust_env=False).status_code == 400
    with raw_client(platform) as api:
        properties = api.get("/backends/ibm_manila/properties").json()
    assert properties["last_update_date"].startswith("2024")


def test_calibrations_outlive_the_server(tmp_path: Path) -> None:
    """A new process has the calibrations of the old one, with the same numbers and drift."""
    clock = Clock()
    path = tmp_path / "platform.sqlite"
    with closing(Store(path)) as store:
        first = Backends(store, clock, seed=1)
        made = [first.calibrate("ibm_manila", [2], [("cx", (0, 1))]), first.calibrate("ibm_manila")]
        properties = first.properties("ibm_manila")
    with closing(Store(path)) as store:
        again = Backends(store, clock, seed=1)
        assert again.calibration("ibm_manila") == made[1]
        assert again.calibration("ibm_manila", made[0].id) == made[0]
        assert again.calibration("mock_manila") == made[1]
        assert again.calibration("ibm_fez").number == 0
        assert again.properties("ibm_manila") == properties
        other = Backends(store, clock, seed=2)
        assert other.properties("ibm_manila") != properties
