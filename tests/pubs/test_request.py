"""Bad requests are refused before anything is sent, and good ones reach the client whole."""

from __future__ import annotations

from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import PauliList, SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.options import EstimatorOptions as EstimatorOptionsV2
from qiskit_ibm_runtime.options_models import EstimatorOptions
from qiskit_ibm_runtime.results import LayerError, NoiseLearnerResult, PauliLindbladError

from session_block.errors import InvalidInputError, NotISAError
from session_block.pubs.request import estimator_request, sampler_request
from session_block.references import Implementation

Z = SparsePauliOp("ZZ")
BOTH = pytest.mark.parametrize("implementation", ["v2", "executor"])


def _circuit() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
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


def test_an_unknown_family_is_refused() -> None:
    """There are two families of primitives, and the message names them."""
    with pytest.raises(InvalidInputError, match="'v2' or 'executor'"):
        sampler_request([_circuit()], implementation="v3")  # type: ignore[arg-type]


def test_options_of_the_other_family_are_refused() -> None:
    """An option object belongs to one family; a silent conversion would lose some of it."""
    with pytest.raises(InvalidInputError, match=r"options\.estimator_options"):
        estimator_request([(_circuit(), Z)], options=EstimatorOptions())
    with pytest.raises(InvalidInputError, match="options_models"):
        estimator_request(
            [(_circuit(), Z)], options=EstimatorOptionsV2(), implementation="executor"
        )


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
    return estimator_request([(_circuit(), Z)], options=options).fingerprint


def test_a_model_of_noise_is_told_by_its_content() -> None:
    """Learnt noise is part of a request's identity: its layers, generators and rates."""
    known = _with_noise([_layer(0.2, "one")])
    assert _with_noise([_layer(0.2, "another")]) == known
    assert _with_noise(NoiseLearnerResult([_layer(0.2, "one")])) == known
    assert _with_noise([_layer(0.3, "one")]) != known
    assert _with_noise([_layer(0.2, "one"), _layer(0.2, "two")]) != known
