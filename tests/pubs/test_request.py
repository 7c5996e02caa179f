"""Bad requests are refused before anything is sent, and good ones reach the client whole."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import PauliList, SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.options import EstimatorOptions as EstimatorOptionsV2
from qiskit_ibm_runtime.options_models import EstimatorOptions
from qiskit_ibm_runtime.results import LayerError, NoiseLearnerResult, PauliLindbladError

from session_block.errors import InvalidInputError, NotISAError
from session_block.pubs.options import ONLY_V2
from session_block.pubs.request import estimator_request, sampler_request
from session_block.references import Implementation

Z = SparsePauliOp("ZZ")
BOTH = pytest.mark.parametrize("implementation", ["v2", "executor"])


def _circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def _with_delay() -> QuantumCircuit:
    circuit = _circuit()
    circuit.delay(Parameter("t"), 0, "us")
    return circuit


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        {"pubs": []},
        {"pubs": [(_circuit(), SparsePauliOp("ZZZ"))]},
        {"pubs": [(real_amplitudes(2), Z)]},
        {"pubs": [(real_amplitudes(2), Z, [0.1])]},
        {"pubs": ["no circuit"]},
        {"precision": -0.1},
        {"precision": 0},
        {"options": {"no_such_option": 1}},
        {"options": {"resilience_level": 9}},
        {"options": 3},
        {"options": {"environment": {"job_tags": list("abcdef")}}},
        {"options": {"environment": {"job_tags": ["x" * 87]}}},
        {"options": {"environment": {"job_tags": "mine"}}},
        {"options": {"environment": {"job_tags": [7]}}},
        {"options": {"environment": {"job_tags": [""]}}},
        {"options": {"default_shots": 0}},
        {"options": {"default_precision": math.nan}},
        {"options": {"resilience": {"zne": {"noise_factors": [1, math.inf]}}}},
        {"precision": math.nan},
        {"precision": math.inf},
        {"pubs": [(_circuit(), {"ZZ": math.nan})]},
        {"pubs": [(_circuit(), [])]},
        {"pubs": [(real_amplitudes(2, reps=0), Z, [0.1, math.nan])]},
        {"pubs": [(real_amplitudes(2, reps=0), Z, [[0.1, 0.2], [0.3, -math.inf]])]},
        {"pubs": [(real_amplitudes(2, reps=0), Z, np.empty((0, 2)))]},
        {"pubs": [(_with_delay(), Z, [1e-6])]},
    ],
)
def test_a_wrong_estimator_request_is_refused(
    wrong: dict[str, Any], implementation: Implementation
) -> None:
    """Whatever Qiskit, the client or IBM's limits forbid is one error of this package."""
    arguments = {"pubs": [(_circuit(), Z)], **wrong}
    with pytest.raises(InvalidInputError):
        estimator_request(**arguments, implementation=implementation)


@BOTH
@pytest.mark.parametrize("shots", [0, -1, 1.5, "many"])
def test_wrong_shots_are_refused(shots: Any, implementation: Implementation) -> None:
    """Shots are a positive whole number."""
    circuit = _circuit()
    circuit.measure_all()
    with pytest.raises(InvalidInputError):
        sampler_request([circuit], shots=shots, implementation=implementation)


def _measured(change: Callable[[QuantumCircuit], Any]) -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    change(circuit)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _in_a_gate(angle: float) -> Any:
    inner = QuantumCircuit(1)
    inner.rz(angle, 0)
    return inner.to_gate()


def _in_a_branch(circuit: QuantumCircuit, angle: float) -> None:
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rz(angle, 0)


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        lambda circuit: circuit.rz(math.nan, 0),
        lambda circuit: circuit.rz(math.inf, 0),
        lambda circuit: circuit.rz(np.float64(math.nan), 0),
        lambda circuit: setattr(circuit, "global_phase", math.nan),
        lambda circuit: circuit.append(_in_a_gate(math.nan), [1]),
        lambda circuit: _in_a_branch(circuit, math.nan),
    ],
)
def test_a_number_that_is_none_is_refused_wherever_it_hides(
    change: Callable[[QuantumCircuit], Any], implementation: Implementation
) -> None:
    """Also in a gate's definition and in a branch; the message names the PUB."""
    good = _measured(lambda circuit: circuit.rz(1.0, 0))
    with pytest.raises(InvalidInputError, match=r"PUB 1.*NaN or infinity"):
        sampler_request([good, _measured(change)], implementation=implementation)


def _only_in_a_branch() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.measure(0, 1)
    return circuit


def _only_in_a_subcircuit() -> QuantumCircuit:
    inner = QuantumCircuit(1, 1)
    inner.measure(0, 0)
    circuit = QuantumCircuit(2, 2)
    circuit.append(inner.to_instruction(), [0], [1])
    return circuit


@BOTH
@pytest.mark.parametrize(
    ("circuit", "right"),
    [
        (QuantumCircuit(1), False),
        (QuantumCircuit(0), False),
        (QuantumCircuit(1, 1), False),
        (_only_in_a_branch(), True),
        (_only_in_a_subcircuit(), True),
        (_measured(lambda _: None), True),
    ],
)
def test_a_sampler_circuit_measures_something(
    circuit: QuantumCircuit, right: bool, implementation: Implementation
) -> None:
    """A circuit without a measurement would fail on the platform, or give zeros of nothing."""
    if right:
        sampler_request([circuit], implementation=implementation)
        return
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(InvalidInputError, match="PUB 0 measures nothing"),
    ):
        sampler_request([circuit], implementation=implementation)


@BOTH
@pytest.mark.parametrize(
    "name", ["0", "?", "class", "a b", "shape", "items", "_data", "__type__", "__class__"]
)
def test_a_register_name_that_no_result_can_hold_is_refused(
    name: str, implementation: Implementation
) -> None:
    """The names of Qiskit's own attributes would hide them, and break the result."""
    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(1, name))
    circuit.measure(0, 0)
    with pytest.raises(InvalidInputError, match="register"):
        sampler_request([circuit], implementation=implementation)


@BOTH
def test_numpy_numbers_are_numbers(implementation: Implementation) -> None:
    """Shots, precisions and options from NumPy make the request that Python's numbers make."""
    circuit = _measured(lambda _: None)
    plain = sampler_request(
        [(circuit, None, 100)], options={"default_shots": 7}, implementation=implementation
    )
    for kind in (np.int64, np.int32, np.uint8):
        for given in (
            sampler_request(
                [(circuit, None, kind(100))],
                options={"default_shots": kind(7)},
                implementation=implementation,
            ),
            sampler_request(
                [circuit],
                shots=kind(100),
                options={"default_shots": kind(7)},
                implementation=implementation,
            ),
        ):
            assert given.fingerprint == plain.fingerprint
            assert type(given.pubs[0].shots) is int
    exact = estimator_request(
        [(_circuit(), {"ZZ": 1.0})],
        precision=0.125,
        options={"resilience_level": 1},
        implementation=implementation,
    )
    for kind in (np.float32, np.float64, np.float16):
        given = estimator_request(
            [(_circuit(), {"ZZ": kind(1.0)})],
            precision=kind(0.125),
            options={"resilience_level": np.int64(1)},
            implementation=implementation,
        )
        assert given.fingerprint == exact.fingerprint
        assert type(given.pubs[0].precision) is float


def test_an_unknown_family_is_refused() -> None:
    """There are two families of primitives, and the message names them."""
    with pytest.raises(InvalidInputError, match="'v2' or 'executor'"):
        sampler_request([_circuit()], implementation="v3")  # type: ignore[arg-type]


def test_options_of_the_other_family_are_refused() -> None:
    """An option object belongs to one family; a silent conversion would lose some of it."""
    with pytest.raises(
        InvalidInputError, match=r"options\.estimator_options.*implementation='executor'"
    ):
        estimator_request([(_circuit(), Z)], options=EstimatorOptions(), implementation="v2")
    with pytest.raises(InvalidInputError, match=r"options_models.*implementation='v2'"):
        estimator_request([(_circuit(), Z)], options=EstimatorOptionsV2())


@pytest.mark.parametrize("path", ONLY_V2)
def test_what_only_one_family_has_is_refused_with_what_replaces_it(path: str) -> None:
    """The other family takes it; an unset one is no difference."""
    *nested, name = path.split(".")
    value: Any = {"max_layers_to_learn": 3} if name == "layer_noise_learning" else 7
    options: dict[str, Any] = {name: value}
    for outer in reversed(nested):
        options = {outer: options}
    pub = (_circuit(), Z)
    with pytest.raises(InvalidInputError, match=re.escape(f"options.{path} belongs to")) as raised:
        estimator_request([pub], options=options, implementation="executor")
    assert ONLY_V2[path] in str(raised.value)
    if name in {"seed_estimator", "layer_noise_learning"}:  # for others 7 is no value
        assert estimator_request([pub], options=options, implementation="v2")


def test_every_option_of_one_family_alone_is_known() -> None:
    """A new client that moves an option is noticed here."""
    of_v2, of_executor = _paths(EstimatorOptionsV2()), _paths(EstimatorOptions())
    alone = {one for one in of_v2 - of_executor if not one.startswith("_")}
    known = {one for one in alone if any(f"{one}.".startswith(f"{name}.") for name in ONLY_V2)}
    assert alone == known
    assert not of_executor & set(ONLY_V2)


def _paths(options: Any, before: str = "") -> set[str]:
    if isinstance(options, BaseModel):
        values = {name: getattr(options, name) for name in type(options).model_fields}
    else:
        values = {one.name: getattr(options, one.name) for one in dataclasses.fields(options)}
    found = set()
    for name, value in values.items():
        nested = isinstance(value, BaseModel) or dataclasses.is_dataclass(value)
        found |= _paths(value, f"{before}{name}.") if nested else {f"{before}{name}"}
    return found


@BOTH
def test_a_dict_and_an_option_object_are_the_same_request(implementation: Implementation) -> None:
    """The client's option classes and plain dicts are interchangeable."""
    options_class = EstimatorOptionsV2 if implementation == "v2" else EstimatorOptions
    by_dict = estimator_request(
        [(_circuit(), Z)], options={"default_shots": 100}, implementation=implementation
    )
    by_object = estimator_request(
        [(_circuit(), Z)],
        options=options_class(default_shots=100),
        implementation=implementation,
    )
    assert by_dict.fingerprint == by_object.fingerprint


def test_a_circuit_that_does_not_fit_is_named() -> None:
    """The message says which PUB, which instruction, and what to do."""
    target = FakeManilaV2().target
    with pytest.raises(NotISAError, match=r"PUB 0.*instruction h.*transpile"):
        estimator_request([(_circuit(), Z)]).check_isa(target)


def _layer(rate: float, name: str) -> LayerError:
    circuit = QuantumCircuit(2, name=name)
    circuit.cz(0, 1)
    return LayerError(circuit, [0, 1], PauliLindbladError(PauliList(["IX", "ZI"]), [0.1, rate]))


def _with_noise(model: Any) -> str:
    options = {"resilience": {"pec_mitigation": True, "layer_noise_model": model}}
    request = estimator_request([(_circuit(), Z)], options=options, implementation="v2")
    return request.fingerprint


def test_a_model_of_noise_is_told_by_its_content() -> None:
    """Noise that the older learner learnt counts: its layers, generators and rates."""
    known = _with_noise([_layer(0.2, "one")])
    assert _with_noise([_layer(0.2, "another")]) == known
    assert _with_noise(NoiseLearnerResult([_layer(0.2, "one")])) == known
    assert _with_noise([_layer(0.3, "one")]) != known
    assert _with_noise([_layer(0.2, "one"), _layer(0.2, "two")]) != known


def test_a_measurement_in_a_librarys_own_instruction_counts() -> None:
    """What cannot be seen to measure nothing is not refused."""

    class Parity(Instruction):
        def _define(self) -> None:
            self.definition = QuantumCircuit(1, 1)
            self.definition.measure(0, 0)

    for instruction in (Parity("parity", 1, 1, []), Instruction("opaque", 1, 1, [])):
        circuit = QuantumCircuit(1, 1)
        circuit.append(instruction, [0], [0])
        sampler_request([circuit])


@BOTH
def test_a_request_keeps_the_options_it_was_made_with(implementation: Implementation) -> None:
    """It may be sent again when its session has ended; the user's object may be another then."""
    options = (EstimatorOptionsV2 if implementation == "v2" else EstimatorOptions)()
    options.default_shots = 100
    request = estimator_request([(_circuit(), Z)], options=options, implementation=implementation)
    options.default_shots = 7
    assert request.options.default_shots == 100
