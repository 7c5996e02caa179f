"""No rule refuses what runs: published jobs that completed, IBM's own examples, our programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2, random_iqp
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import IBMBackend, QuantumProgram
from samplomatic import build
from samplomatic.transpiler import generate_boxing_pass_manager
from samplomatic.utils import find_unique_box_instructions

from session_block.errors import InvalidInputError
from session_block.experiments.check_request import check_request
from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import (
    AccountSpec,
    DeviceSpec,
    InstanceSpec,
    Layout,
)
from session_block.prechecks.checking import findings_of
from session_block.prechecks.subject import Device

pytestmark = pytest.mark.filterwarnings("ignore:The NoiseLearner class is deprecated")

FAMILIES = ("v2", "executor")

PUBLISHED = [
    # (device, kind, number of PUBs, shots, precision, level, delay in seconds, depth) (real)
    ("fez", "sampler", 1, 500_000, None, None, None, 2),
    ("fez", "sampler", 1, 30_000, None, None, None, 20_000),
    ("fez", "sampler", 20, 2048, None, None, None, 2),
    ("fez", "sampler", 30, 20_000, None, None, None, 2),
    ("fez", "sampler", 100, 2048, None, None, None, 2),
    ("fez", "sampler", 100, 16, None, None, None, 2),
    ("fez", "sampler", 1, 10_000_000, None, None, None, 2),
    ("fez", "estimator", 1, None, None, 0, None, 2),
    ("fez", "estimator", 1, None, None, 1, None, 2),
    ("fez", "estimator", 1, None, None, 2, None, 2),
    ("fez", "estimator", 1, None, 0.02, None, None, 2),
    ("nighthawk", "estimator", 20, 4096, None, 0, None, 2),
    ("nighthawk", "estimator", 20, 4096, None, 1, None, 2),
    ("nighthawk", "estimator", 32, 16, None, 1, None, 2),
    ("nighthawk", "estimator", 2, 4096, None, 0, 20e-6, 2),
    ("nighthawk", "estimator", 100, 1024, None, 2, None, 2),
]
"""The published jobs that completed, by what the rules look at. One was stopped for its time."""


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform with a Heron and a Nighthawk device."""
    added = DeviceSpec(name="ibm_nighthawk", recording="nighthawk")
    instance = InstanceSpec(name="both", backends=("ibm_fez", "ibm_nighthawk"))
    layout = Layout(accounts=(AccountSpec(instances=(instance,)),), devices=(added,))
    with LocalPlatform(layout=layout) as platform:
        yield platform


@pytest.fixture(scope="module")
def fez(local: LocalPlatform) -> IBMBackend:
    """A Heron device with all its gates: fractional ones and those of dynamic circuits."""
    return local.service().backend("ibm_fez", use_fractional_gates=None)


@pytest.fixture(scope="module")
def plain(local: LocalPlatform) -> IBMBackend:
    """The same device without fractional gates."""
    return local.service().backend("ibm_fez", use_fractional_gates=False)


def found(backend: IBMBackend, pubs: Any, **asked: Any) -> list[str]:
    """Return what the check says."""
    draft = check_request(pubs, **{"implementation": "v2", **asked})
    assert draft.request is not None, draft.findings
    device = Device(backend, backend.target)
    return [str(one) for one in (*draft.findings, *findings_of(draft.request, device))]


def isa(circuit: QuantumCircuit, backend: IBMBackend) -> QuantumCircuit:
    """Return a circuit for a device."""
    return transpile(circuit, backend, optimization_level=1, seed_transpiler=1)


@pytest.mark.parametrize("published", PUBLISHED)
def test_published_jobs_that_completed(local: LocalPlatform, published: tuple[Any, ...]) -> None:
    """Each of their sizes passes, without a warning."""
    device, kind, pubs, shots, precision, level, delay, depth = published
    backend = local.service().backend(f"ibm_{device}")
    circuit = QuantumCircuit(2)
    for _ in range(depth):
        circuit.x(0)
    options: dict[str, Any] = {}
    if delay is not None:
        options["execution"] = {"rep_delay": delay}
    if level is not None:
        options["resilience_level"] = level
    if kind == "sampler":
        circuit.measure_all()
        given: list[Any] = [isa(circuit, backend)] * pubs
        asked: dict[str, Any] = {"shots": shots}
    else:
        ready = isa(circuit, backend)
        observable = SparsePauliOp(["ZZ", "ZI", "XX"]).apply_layout(ready.layout)
        given, asked = [(ready, observable)] * pubs, {"precision": precision}
        if shots is not None:
            options["default_shots"] = shots
    assert found(backend, given, options=options or None, **asked) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_ibms_page_on_fractional_gates(fez: IBMBackend, plain: IBMBackend, family: str) -> None:
    """Its Ising chain (docs), sampled and estimated; measurement twirling and folding go too."""
    ising = QuantumCircuit(5)
    for _ in range(3):
        for qubit in range(5):
            ising.rx(0.1, qubit)
        for qubit in (1, 3):
            ising.rzz(0.1, qubit, min(qubit + 1, 4))
        for qubit in (0, 2):
            ising.rzz(0.1, qubit, qubit + 1)
        ising.barrier()
    observable = SparsePauliOp("ZZIII")
    for backend in (fez, plain):
        ready = isa(ising, backend)
        pub = (ready, observable.apply_layout(ready.layout))
        measured = isa(ising.measure_all(inplace=False), backend)
        twirled = {"twirling": {"enable_measure": True}}
        assert found(backend, [measured], implementation=family) == []
        assert found(backend, [measured], implementation=family, options=twirled) == []
        for options in (
            {"resilience_level": 0},
            {"resilience_level": 1},
            {"resilience": {"zne_mitigation": True}},
            {"resilience_level": 2, "twirling": {"enable_gates": False}},
        ):
            assert found(backend, [pub], implementation=family, options=options) == [], options
    angle = Parameter("θ")
    turned = QuantumCircuit(2)
    turned.rzz(angle, 0, 1)
    turned.measure_all()
    folded = isa(turned, fez)
    assert found(fez, [(folded, [[0.0], [1.5]])], implementation=family) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_ibms_page_on_dynamic_circuits(fez: IBMBackend, plain: IBMBackend, family: str) -> None:
    """A Sampler runs branches, loops, resets and delays; with measurement twirling only v2."""
    qubits, bits = QuantumRegister(1), ClassicalRegister(1, "c")
    fed = QuantumCircuit(qubits, bits)
    fed.h(0)
    fed.measure(0, 0)
    with fed.if_test((bits[0], 1)) as otherwise:
        fed.x(0)
    with otherwise:
        fed.delay(100, 0, unit="dt")
        fed.reset(0)
    with fed.for_loop(range(3)):
        fed.x(0)
    fed.measure(0, 0)
    for backend in (fez, plain):
        ready = isa(fed, backend)
        assert found(backend, [ready], implementation=family) == []
        assert found(backend, [(ready, None, 100)], implementation=family) == []
    if family == "v2":
        twirled = {"twirling": {"enable_measure": True, "enable_gates": True}}
        assert found(plain, [isa(fed, plain)], implementation=family, options=twirled) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_ibms_pages_on_options(plain: IBMBackend, family: str) -> None:
    """Shots, precision, levels, decoupling, twirling numbers, and the noise factors of ZNE."""
    circuit = isa(random_iqp(3, seed=1).measure_all(inplace=False), plain)
    for options in (
        {"default_shots": 500},
        {"dynamical_decoupling": {"enable": True, "sequence_type": "XpXm"}},
        {
            "twirling": {
                "enable_gates": True,
                "num_randomizations": 32,
                "shots_per_randomization": 100,
            }
        },
    ):
        assert found(plain, [circuit], shots=128, implementation=family, options=options) == []
    bare = isa(efficient_su2(3, reps=1), plain)
    observable = SparsePauliOp("ZZZ").apply_layout(bare.layout)
    pub = (bare, [[observable]], np.linspace(0, 1, 4 * bare.num_parameters).reshape(4, -1))
    for options in (
        {"resilience_level": 2, "resilience": {"zne": {"noise_factors": [1, 3, 5]}}},
        {"resilience_level": 2},
        {"resilience": {"zne_mitigation": True, "pec_mitigation": False}},
    ):
        asked = {"precision": 0.1, "implementation": family, "options": options}
        assert found(plain, [pub], **asked) == []


def test_an_estimator_may_take_more_executions(plain: IBMBackend) -> None:
    """IBM documents the limit of executions for the Sampler alone (docs)."""
    bare = QuantumCircuit(156)
    bare.sx(0)
    pub = (bare, SparsePauliOp("I" * 155 + "Z"), None, 0.0003)
    assert found(plain, [pub]) == []


def test_boxed_programs_and_layers(plain: IBMBackend) -> None:
    """Quantum programs of samplomatic's templates, and what noise learners take."""
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    ready = isa(bell, plain)
    boxed = generate_boxing_pass_manager(enable_gates=True, enable_measures=True).run(ready)
    template, samplex = build(boxed)
    program = QuantumProgram(shots=100)
    program.append_samplex_item(template, samplex=samplex, shape=(32,))
    program.append_circuit_item(ready)
    assert found(plain, program) == []
    layers = list(find_unique_box_instructions(boxed.data))
    assert found(plain, layers, kind="noise-learner", implementation="executor") == []
    bare = isa(bell.remove_final_measurements(inplace=False), plain)
    assert found(plain, [bare, (bare, "I" * 156)], kind="noise-learner") == []


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        (QuantumCircuit(1), {}, "Wrap a single circuit"),
        (None, {}, "needed, not a NoneType"),
        ([], {}, "no PUB"),
        ([QuantumCircuit(1)], {"kind": "executor"}, "runs a QuantumProgram"),
        (QuantumProgram(shots=1), {"kind": "sampler"}, "not for a sampler"),
    ],
)
def test_what_nothing_could_run(given: Any, asked: dict[str, Any], message: str) -> None:
    """It is an error, and no finding: there is no request."""
    with pytest.raises(InvalidInputError, match=message):
        check_request(given, **asked)


def test_what_kind_is_meant() -> None:
    """PUBs with observables are the Estimator's, those with values the Sampler's."""
    angle = Parameter("a")
    turned = QuantumCircuit(1, 1)
    turned.rx(angle, 0)
    turned.measure(0, 0)
    bare = QuantumCircuit(1)

    def kind(*pub: Any, **asked: Any) -> str:
        draft = check_request([pub if len(pub) > 1 else pub[0]], **asked)
        assert draft.request is not None, draft.findings
        return draft.request.kind

    assert kind(turned.assign_parameters([0.1])) == "sampler"
    for values in ([0.1], np.zeros((3, 1)), {"a": 0.1}, {angle: [0.1, 0.2]}, {("a",): [0.1]}):
        assert kind(turned, values) == "sampler"
    for observables in ("Z", ["X", "Z"], SparsePauliOp("Z"), [[SparsePauliOp("Z")]], {"Z": 2.0}):
        assert kind(bare, observables) == "estimator"
    assert kind(turned.remove_final_measurements(inplace=False), "Z", [0.1]) == "estimator"
