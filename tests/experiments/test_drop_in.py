"""The durable primitives give what the client's own give for the same requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.results.quantum_program import ChunkPart, ChunkSpan, Metadata

from session_block import DurableEstimator, DurableSampler, QuantumSession
from session_block.errors import InvalidInputError
from session_block.pubs.encoding import decode_result, encode_result
from session_block.references import Implementation


def _sampled(block: QuantumSession, circuit: QuantumCircuit) -> tuple[Any, Any]:
    """Return a circuit's results from the durable executor Sampler, and from the client's."""
    experiment = block.experiment("e")
    isa_circuit = experiment.transpile(circuit)
    sampler = DurableSampler(experiment, implementation="executor")
    own = sampler.run([isa_circuit], shots=8).result()
    experiment.close_session()
    session = Session(experiment.backend)
    theirs = Sampler(mode=session).run([isa_circuit], shots=8).result()
    session.close()
    return own, theirs


def _with_empty_register() -> QuantumCircuit:
    circuit = QuantumCircuit(
        QuantumRegister(1, "q"), ClassicalRegister(0, "none"), ClassicalRegister(1, "one")
    )
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def test_the_executor_family_takes_empty_registers(block: QuantumSession) -> None:
    """As the client's; only its other family refuses them."""
    own, theirs = _sampled(block, _with_empty_register())
    for result in (own, theirs):
        assert result[0].data.none.array.shape == (8, 0)
        assert result[0].data.one.get_counts() == {"1": 8}
    with pytest.raises(InvalidInputError, match="size 0"):
        DurableSampler(block.experiment("v2"), implementation="v2").run([_with_empty_register()])


def test_the_executors_metadata_are_the_clients_object(block: QuantumSession) -> None:
    """Results are recorded as JSON; read from there, the executor's metadata are as they were."""
    own, theirs = _sampled(block, _with_empty_register())
    assert own.metadata == theirs.metadata
    assert own.metadata["executor"].chunk_timing == []


@pytest.mark.parametrize("implementation", ["v2", "executor"])
def test_each_pub_tells_its_precision(
    block: QuantumSession, implementation: Implementation
) -> None:
    """Its own, that of the call, or what the default shots come to; as Qiskit's estimators do."""
    circuit = QuantumCircuit(1)
    circuit.h(0)
    plain: tuple[Any, ...] = (circuit, SparsePauliOp("X"))
    asked = [plain, (*plain, [], 1 / 32)]
    expected = [1 / 64, 1 / 32]
    if implementation == "v2":  # it takes one precision for all
        asked, expected = [plain, plain], [1 / 64, 1 / 64]
    with block.experiment("precisions") as experiment:
        estimator = DurableEstimator(experiment, implementation=implementation)

        def told(pubs: list[Any], precision: float | None) -> list[float]:
            result = estimator.run(pubs, precision=precision).result()
            return [one.metadata["target_precision"] for one in result]

        for _ in range(2):  # the second time from the ledger
            assert told(asked, None) == expected
            assert told([plain], 0.1) == [0.1]


def test_recorded_timings_are_read_as_the_clients_objects(block: QuantumSession) -> None:
    """What drew a figure of the chunks' timing draws it from a recorded result."""
    own, _ = _sampled(block, _with_empty_register())
    begin = datetime(2026, 11, 30, 1, tzinfo=UTC)
    span = ChunkSpan(begin, begin + timedelta(seconds=1), [ChunkPart(0, 8)])
    own.metadata["executor"] = Metadata([span])
    assert decode_result(encode_result(own)).metadata["executor"] == Metadata([span])
