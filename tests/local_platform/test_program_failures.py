"""Jobs that IBM's programs refuse: accepted, and after queueing ``Failed`` with code and charge."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Executor, NoiseLearner, QuantumProgram
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError, RuntimeJobMaxTimeoutError
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from qiskit_ibm_runtime import IBMBackend, RuntimeJobV2

WIDTH = 156
Z = SparsePauliOp("I" * (WIDTH - 1) + "Z")


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform that does as IBM does."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture(scope="module")
def fez(local: LocalPlatform) -> IBMBackend:
    """A device with fractional gates."""
    return local.service().backend("ibm_fez", use_fractional_gates=True)


@pytest.fixture(scope="module")
def api(local: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP to the platform, with credentials."""
    with raw_client(local.info) as client:
        yield client


def run(backend: IBMBackend, program: str, pubs: list[Any], **options: Any) -> RuntimeJobV2:
    """Run a program as a client does that checks nothing."""
    params = {"pubs": pubs, "options": options, "version": 2, "support_qiskit": True}
    return backend.service._run(program, params, {"backend": backend})


def end(api: httpx.Client, job: RuntimeJobV2) -> tuple[str, int | None, float]:
    """Return how a job ended: its status, its code, its charge."""
    job.wait_for_final_state(timeout=120)
    state = api.get(f"/jobs/{job.job_id()}").json()["state"]
    usage = api.get(f"/jobs/{job.job_id()}/metrics").json()["usage"]
    if "reason_code" in state:
        assert state["reason"]
        assert state["reason_solution"]
    return state["status"], state.get("reason_code"), usage["qpu_charge_time_seconds"]


def circuit(*gates: str, width: int = WIDTH, angle: Any = 1.0, measured: bool = True) -> Any:
    """Return a circuit of gates on the first qubits of the device."""
    made = QuantumCircuit(width)
    for name in gates:
        match name:
            case "rx":
                made.rx(angle, 0)
            case "rzz":
                made.rzz(angle, 0, 1)
            case "far":
                made.cz(0, 100)
            case "near":
                made.cz(0, 1)
            case _:
                getattr(made, name)(0)
    if measured:
        made.measure_all()
    return made


def undefined() -> QuantumCircuit:
    """Return a circuit with a gate that nobody has defined."""
    made = QuantumCircuit(WIDTH, 1)
    made.append(Gate("mystery", 1, []), [0])
    made.measure(0, 0)
    return made


def dynamic() -> QuantumCircuit:
    """Return a circuit that measures and decides."""
    made = QuantumCircuit(WIDTH, 1)
    made.measure(0, 0)
    with made.if_test((0, 1)):
        made.x(0)
    return made


GATE_TWIRLING = {"twirling": {"enable_gates": True}}
TURN = Parameter("turn")


@pytest.mark.parametrize(
    ("pubs", "options", "code"),
    [
        ([[circuit("sx", "near"), None, 16]], {}, None),
        ([[circuit("rx", "rzz"), None, 16]], {}, None),
        ([[dynamic(), None, 16]], {}, None),
        ([[circuit("sx"), None, 16]], GATE_TWIRLING, None),
        ([[circuit("h"), None, 16]], {}, 1517),
        ([[circuit("far"), None, 16]], {}, 1517),
        ([[circuit("sx", width=WIDTH + 1), None, 16]], {}, 1517),
        ([[circuit("rzz", angle=2.0), None, 16]], {}, 1517),
        ([[circuit("rzz", angle=TURN), [[0.5], [-0.5]], 16]], {}, 1517),
        ([[circuit("rzz", angle=TURN), [[0.5], [math.pi / 2]], 16]], {}, None),
        ([[circuit("rx"), None, 16]], GATE_TWIRLING, 1519),
        ([[circuit("sx"), None, 10_000_001]], {}, 1520),
        ([[circuit("sx"), None, 1]] * 301, {}, 1520),
        ([[undefined(), None, 16]], {}, 1506),
    ],
)
def test_samplers(
    api: httpx.Client, fez: IBMBackend, pubs: list[Any], options: dict[str, Any], code: int | None
) -> None:
    """What IBM's sampler refuses fails after queueing and costs 2 s (real)."""
    ended = end(api, run(fez, "sampler", pubs, **options))
    assert ended == (("Completed", None, 2) if code is None else ("Failed", code, 2))


@pytest.mark.parametrize(
    ("pub", "options", "code"),
    [
        ([circuit("sx", measured=False), Z], {"resilience_level": 2}, None),
        ([circuit("rx", measured=False), Z], {"resilience_level": 1}, None),
        ([circuit("rx", measured=False), Z], {"resilience_level": 2}, 1519),
        ([circuit("rx", measured=False), Z], {"resilience": {"pec_mitigation": True}}, 1519),
        ([circuit("rx", measured=False), Z], GATE_TWIRLING, 1519),
        ([circuit("h", measured=False), Z], {}, 1517),
        ([circuit("sx", measured=False), SparsePauliOp("ZZ")], {}, 1501),
        ([dynamic(), Z], {}, 1522),
        (
            [circuit("sx", measured=False), Z],
            {"resilience": {"pec_mitigation": True, "zne_mitigation": True}},
            1521,
        ),
    ],
)
def test_estimators(
    api: httpx.Client, fez: IBMBackend, pub: list[Any], options: dict[str, Any], code: int | None
) -> None:
    """What IBM's estimator refuses fails after queueing and costs 2 s (real)."""
    observable = pub[1]
    sent = [pub[0], dict(observable.label_iter()), None, 0.1]
    state, found, charged = end(api, run(fez, "estimator", [sent], **options))
    assert (state, found) == (("Completed", None) if code is None else ("Failed", code))
    assert code is None or charged == 2


def test_out_of_memory(api: httpx.Client, fez: IBMBackend) -> None:
    """300 PUBs at resilience level 2 run out of memory at no charge; 100 run (real)."""
    pub = [circuit("sx", measured=False), {"I" * (WIDTH - 1) + "Z": 1.0}, None, 0.5]
    assert end(api, run(fez, "estimator", [pub] * 300, resilience_level=2)) == ("Failed", 1336, 0)
    assert end(api, run(fez, "estimator", [pub] * 100, resilience_level=2))[0] == "Completed"
    assert end(api, run(fez, "estimator", [pub] * 300, resilience_level=1))[0] == "Completed"


def test_unreadable(api: httpx.Client, fez: IBMBackend) -> None:
    """A text that is no circuit costs nothing (real)."""
    assert end(api, run(fez, "sampler", [["not a circuit"]])) == ("Failed", 1603, 0)
    assert end(api, run(fez, "estimator", [["not a circuit", "Z"]])) == ("Failed", 1603, 0)


@pytest.mark.parametrize("program", ["sampler", "estimator"])
@pytest.mark.parametrize("params", [{"pubs": None}, {"pubs": 3}, {"pubs": [], "options": "x"}])
def test_unreadable_parameters(
    api: httpx.Client, fez: IBMBackend, program: str, params: dict[str, Any]
) -> None:
    """Nor does what is no list of PUBs, or no options."""
    job = fez.service._run(program, {"version": 2, "options": {}, **params}, {"backend": fez})
    assert end(api, job) == ("Failed", 1603, 0)


def test_few_shots_are_64(fez: IBMBackend) -> None:
    """At resilience level 1 and above, fewer shots of a PUB run as 64 (real)."""
    pub = [circuit("sx", measured=False), {"I" * (WIDTH - 1) + "Z": 1.0}, None, None]
    for level, shots in ((0, 16), (1, 64)):
        job = run(fez, "estimator", [pub], resilience_level=level, default_shots=16)
        assert job.result()[0].metadata["shots"] == shots


@pytest.mark.filterwarnings("ignore:The NoiseLearner class is deprecated:DeprecationWarning")
def test_learners(api: httpx.Client, fez: IBMBackend) -> None:
    """No noise is learned of circuits with fractional gates, or that are not ISA (real)."""
    learner = NoiseLearner(fez)
    job = learner.run([circuit("rzz", "near", measured=False)])
    assert end(api, job) == ("Failed", 1519, 2)
    params = {"circuits": [circuit("h", "near", measured=False)], "options": {}, "version": 2}
    assert end(api, fez.service._run("noise-learner", params, {"backend": fez}))[1] == 1517


def test_executions_over_the_maximum_time(api: httpx.Client, fez: IBMBackend) -> None:
    """Too long a job is cancelled, and its message lacks its values, as IBM's does (real)."""
    sampler = Sampler(fez, options={"max_execution_time": 1})
    job = sampler.run([isa(bell(), fez)], shots=100_000)
    with pytest.raises(RuntimeJobMaxTimeoutError, match=r"%!v\(MISSING\).*%!v\(MISSING\)"):
        job.result()
    assert end(api, job) == ("Cancelled", 1305, 2)
    assert api.get(f"/jobs/{job.job_id()}/results").status_code == 204
    done = sampler.run([isa(bell(), fez)], shots=1000)
    assert end(api, done) == ("Completed", None, 2)


@pytest.mark.parametrize(("setting", "state"), [("as_v2", "Failed"), ("none", "Completed")])
def test_executors(setting: Any, state: str) -> None:
    """Whether an executor job fails in the same way is a setting, and a guess."""
    with LocalPlatform(executor_failures=setting) as platform, raw_client(platform.info) as api:
        backend = platform.service().backend("ibm_manila")
        foreign = QuantumCircuit(5, 1)
        foreign.cx(0, 4)
        foreign.measure(0, 0)
        program = QuantumProgram(shots=8)
        program.append_circuit_item(foreign)
        job = Executor(backend).run(program)
        job.wait_for_final_state(timeout=60)
        shown = api.get(f"/jobs/{job.job_id()}").json()["state"]
        assert shown["status"] == state
        assert shown.get("reason_code") == (1517 if state == "Failed" else None)
        if state == "Failed":
            with pytest.raises(RuntimeJobFailureError, match="Error code 1517"):
                job.result()
