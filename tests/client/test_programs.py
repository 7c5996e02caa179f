"""What the client sends, made without sending it."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import RZZGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import QiskitRuntimeService, Session
from support import CHOICE, Platform

from session_block.client import BackendChoice, Connection, Program
from session_block.errors import InvalidInputError, NotISAError
from session_block.pubs.fingerprint import fingerprint_circuit
from session_block.pubs.request import PrimitiveRequest, estimator_request, sampler_request
from session_block.references import Implementation


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to the local platform."""
    return Connection(platform.credentials().account())


def _requests(connection: Connection, family: Implementation) -> list[PrimitiveRequest]:
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.ry(angle, 0)
    circuit.cx(0, 1)
    ready = transpile(circuit, connection.backends.get(CHOICE))
    observable = SparsePauliOp("ZZ").apply_layout(ready.layout)
    measured = ready.copy()
    measured.measure_all()
    return [
        sampler_request(
            [(measured, [0.1, 0.2])],
            shots=32,
            implementation=family,
            options={"environment": {"job_tags": ["mine"]}, "max_execution_time": 300},
        ),
        estimator_request(
            [(ready, observable, [0.3])], precision=0.1, implementation=family, options={}
        ),
    ]


@pytest.mark.parametrize("family", get_args(Implementation))
@pytest.mark.parametrize("mode", ["session", "batch", "job"])
def test_it_is_what_the_primitive_sends(
    platform: Platform, connection: Connection, family: Implementation, mode: str
) -> None:
    """The platform cannot tell the jobs apart: program, parameters, options, tags and place."""
    backend = connection.backends.get(CHOICE)
    where = backend if mode == "job" else connection.sessions.open(CHOICE, 600, mode)  # type: ignore[arg-type]
    for request in _requests(connection, family):
        made = Program.of(lambda to, asked=request: asked.send(to, ()), backend)
        jobs = [request.send(where, ["ours"]), made.send(where, ["ours"])]
        one, other = (_as_the_platform_has_it(platform, connection, job) for job in jobs)
        assert one == other
        assert (one["session_id"] is None) == (mode == "job")
        assert set(one["tags"]) == {*(request.options.environment.job_tags or ()), "ours"}
        assert [_content(job) for job in jobs] == [_content(jobs[0])] * 2
        assert jobs[1].result()[0].data.shape == jobs[0].result()[0].data.shape
    if isinstance(where, Session):
        where.cancel()


def _as_the_platform_has_it(platform: Platform, connection: Connection, job: Any) -> dict[str, Any]:
    (seen,) = [one for one in platform.admin.jobs() if one["id"] == job.job_id()]
    told = connection.service._get_api_client(connection.instance).job_get(job.job_id())
    own = {"id", "created", "ended", "status", "state", "usage"}
    own |= {"estimated_running_time_seconds", "usage_estimation"}
    kept = {name: one for name, one in told.items() if name not in own}
    return {**kept, "session_id": seen["session_id"], "tags": seen["tags"]}


def _content(job: Any) -> Any:
    """Return what a job runs, without what the client's process counts up, and QPY's own bytes.

    The executor's primitives keep a copy of their options, tags included, for post-processing.
    """
    inputs = dict(job.inputs)
    if "pubs" in inputs:
        pubs = [(fingerprint_circuit(pub[0], version=2), *pub[1:]) for pub in inputs.pop("pubs")]
        return repr((pubs, inputs))
    program = inputs.pop("quantum_program")
    items = [(item.shape, fingerprint_circuit(item.circuit, version=2)) for item in program.items]
    kept = re.sub(r"'job_tags': \[.*?\]", "", repr(program.passthrough_data))
    return repr((program.shots, kept, items, inputs))


def test_nothing_is_sent(platform: Platform, connection: Connection) -> None:
    """Not one request is made for it, once the backend is known."""
    backend = connection.backends.get(CHOICE)
    for family in get_args(Implementation):
        for request in _requests(connection, family):
            request.check_isa(backend.target)
            before = _requests_but_ours(platform)
            Program.of(lambda to, asked=request: asked.send(to, ()), backend)
            assert _requests_but_ours(platform) == before


def _requests_but_ours(platform: Platform) -> dict[str, int]:
    counted = platform.stats()["requests"]
    return {name: count for name, count in counted.items() if "_local" not in name}


def test_what_the_client_cannot_encode_is_bad_input(connection: Connection) -> None:
    """Whatever it raises; the cause is kept."""

    def fails(_: Any) -> None:
        raise ZeroDivisionError("odd")

    with pytest.raises(InvalidInputError, match=r"request: odd\. Nothing was submitted") as raised:
        Program.of(fails, connection.backends.get(CHOICE))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_the_private_way_to_run_a_program_is_still_there() -> None:
    """Sessions and the service take what is kept of a primitive's call, by these names."""
    ours = {"program_id", "inputs", "options", "calibration_id"}
    for run in (Session._run, QiskitRuntimeService._run):
        assert ours <= set(inspect.signature(run).parameters)


@pytest.mark.parametrize(("factors", "drawn"), [([1, 3, 5], False), ([1, 2, 3], True)])
def test_only_folding_of_a_part_of_the_gates_is_drawn(factors: list[float], drawn: bool) -> None:
    """With odd factors all gates are folded alike."""
    circuit = QuantumCircuit(1)
    zne = {"noise_factors": factors}
    options: dict[str, Any] = {"resilience": {"zne_mitigation": True, "zne": zne}}
    for family, expected in (("executor", drawn), ("v2", False)):
        request = estimator_request([(circuit, "Z")], options=options, implementation=family)  # type: ignore[arg-type]
        assert (request.drawn is not None) is expected
    others: list[dict[str, Any]] = [{"amplifier": "gate_folding_front"}, {"noise_factors": "auto"}]
    for other in others:
        options["resilience"]["zne"] = {**zne, **other}
        asked = estimator_request([(circuit, "Z")], options=options, implementation="executor")
        assert asked.drawn is None


@pytest.mark.parametrize("family", get_args(Implementation))
def test_an_angle_out_of_the_gates_range_is_refused(
    connection: Connection, family: Implementation
) -> None:
    """At IBM such a job of the executor fails after it was queued, and is charged."""
    fractional = BackendChoice("ibm_fez", use_fractional_gates=True)
    target = connection.backends.target(fractional)
    pair = next(iter(target["rzz"]))
    for angle in (-0.3, 2.0):
        circuit = QuantumCircuit(target.num_qubits, 1)
        circuit.append(RZZGate(angle), pair)
        circuit.measure(0, 0)
        request = sampler_request([circuit], implementation=family)
        with pytest.raises(NotISAError, match=r"PUB 0 .*rzz"):
            request.check_isa(target)
