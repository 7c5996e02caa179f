"""The rule by which requests are recognised is durable: its versions give what they gave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, Parameter, ParameterVector, QuantumRegister
from qiskit.quantum_info import SparsePauliOp

from session_block.pubs.fingerprint import (
    CIRCUIT_FINGERPRINTS,
    FINGERPRINTS,
    fingerprint_label,
    submission_id,
)
from session_block.pubs.request import Request, estimator_request, sampler_request
from session_block.records.versions import CURRENT

OBSERVABLE = SparsePauliOp.from_list([("ZZI", 1.0), ("IXX", 0.5)])
VALUES = np.arange(6, dtype=float).reshape(2, 3) / 7


def _bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def _rotated() -> QuantumCircuit:
    x, y = ParameterVector("x", 2), Parameter("y")
    circuit = QuantumCircuit(QuantumRegister(3, "q"))
    circuit.rx(x[0], 0)
    circuit.ry(2 * x[1] + y, 1)
    circuit.cp(0.25, 0, 2)
    circuit.barrier()
    circuit.sx(2)
    return circuit


def _branching() -> QuantumCircuit:
    qubits, bits = QuantumRegister(2, "q"), ClassicalRegister(2, "c")
    circuit = QuantumCircuit(qubits, bits)
    circuit.h(0)
    circuit.measure(0, bits[0])
    with circuit.if_test((bits, 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.delay(100, 1, "dt")
    circuit.measure(1, bits[1])
    return circuit


@pytest.mark.parametrize(
    ("circuit", "golden"),
    [
        (_bell, "530bdbcadad1155509f90a3fc6ad820f878f5bfc7b6cef7ae86439db818bba4f"),
        (_rotated, "95337088e6d948c464069d84090708c36dec93820755ef0577eb702328c0fb98"),
        (_branching, "39e5889b715a2f8dac6daeb4d2ce68f92b9005577bf806c9421cb9853f0e8ba5"),
    ],
)
def test_the_first_version_knows_circuits(
    circuit: Callable[[], QuantumCircuit], golden: str
) -> None:
    """Pinned circuits are found by it."""
    assert CIRCUIT_FINGERPRINTS[1](circuit()) == golden


@pytest.mark.parametrize(
    ("request_of", "golden"),
    [
        (
            lambda: sampler_request([_bell()], shots=100, implementation="v2"),
            "ff73657729e4cdad3784718d7b28009c5afcfc3c28825c18394a75b42a3fd009",
        ),
        (
            lambda: sampler_request([_bell()], shots=100, implementation="executor"),
            "0a4d338691369e6262921b8aae713a389c74f7037fbad7aef3b5a2d0d666c370",
        ),
        (
            lambda: sampler_request(
                [(_bell(), None, 7)],
                options={"default_shots": 5, "twirling": {"enable_measure": True}},
                implementation="v2",
            ),
            "79ec1e4f542980390a77d72aed0f9e784a13b580d944e1a1526d171411064452",
        ),
        (
            lambda: sampler_request([_branching()], implementation="v2"),
            "9b5b589f83aff51743c0ce76c338b59be9b6d0560c80a02639be20a2087f68e3",
        ),
        (
            lambda: estimator_request(
                [(_rotated(), OBSERVABLE, VALUES)], precision=0.1, implementation="v2"
            ),
            "5f93034e4f24aec281808582757368738cc45651f70de1dd075e94d215b20fd4",
        ),
        (
            lambda: estimator_request(
                [(_rotated(), [OBSERVABLE, OBSERVABLE * 2], VALUES[:, None, :])],
                options={"resilience_level": 1},
                implementation="v2",
            ),
            "602abd9a01f52473c4da6a8696c1bda51d1e46b79bd4fcc73b9e765e973d011a",
        ),
    ],
)
def test_the_first_version_knows_requests(request_of: Callable[[], Request], golden: str) -> None:
    """What the first version of this package bought is found by it."""
    assert request_of().fingerprint_by(1) == golden


def test_labels_and_submissions_have_their_ids() -> None:
    """They stand in every tag and every key."""
    day = "18637549a9b30bc967453ecdca8d1ba05acfbe2d7aa37ea0bc7748ef1e7287bc"
    assert fingerprint_label("day 2") == day
    assert submission_id("ab" * 32, 3) == "7d7fd537ad7f0d9d18bd6d24"


def test_the_newest_version_is_that_of_new_experiments() -> None:
    """A version that is added is used, and none is taken away."""
    assert set(FINGERPRINTS) == set(CIRCUIT_FINGERPRINTS) == set(range(1, CURRENT.fingerprint + 1))
    request = sampler_request([_bell()])
    assert request.fingerprint == request.fingerprint_by(CURRENT.fingerprint)
