"""Names that nobody gave do not count, and results come back under the asking run's names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.primitives.containers import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from random_circuits import circuit_of

from session_block.errors import LedgerError
from session_block.pubs.fingerprint import CIRCUIT_FINGERPRINTS
from session_block.pubs.registers import numbered_names, with_names
from session_block.pubs.request import sampler_request

fingerprint = CIRCUIT_FINGERPRINTS[2]


def test_processes_with_other_histories_find_the_same_fingerprints() -> None:
    """Every counter of Qiskit stands elsewhere, and one digit longer, in the second process."""
    printed = []
    for waste in (0, 13):
        code = f"import random_circuits; random_circuits.print_fingerprints(0, 60, {waste})"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }
        ran = subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True
        )
        printed.append(ran.stdout.split())
    assert printed[0] == printed[1]
    assert len(printed[0]) == 60
    # Nearly all seeds give circuits of their own: what counts was not left out.
    assert len(set(printed[0])) >= 58


@given(seed=st.integers(0, 10**6))
def test_a_random_circuit_is_the_same_when_it_is_made_again(seed: int) -> None:
    """Made twice in one process, and with names for what has no name in the result."""
    first = fingerprint(circuit_of(seed))
    assert fingerprint(circuit_of(seed)) == first
    assert fingerprint(circuit_of(seed, named=True)) == first


def _two(*registers: ClassicalRegister, swapped: bool = False) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2), *registers)
    circuit.x(0)
    circuit.measure([1, 0] if swapped else [0, 1], [0, 1])
    return circuit


def test_a_name_that_somebody_gave_counts() -> None:
    """The result is told by it. Only names that end in a number may be nobody's."""
    plain = fingerprint(_two(ClassicalRegister(2, "alpha")))
    assert fingerprint(_two(ClassicalRegister(2, "beta"))) != plain
    assert fingerprint(_two(ClassicalRegister(2))) == fingerprint(_two(ClassicalRegister(2)))
    assert fingerprint(_two(ClassicalRegister(2))) != plain


def _result(**registers: str) -> PrimitiveResult[SamplerPubResult]:
    data = {name: BitArray.from_samples([bits]) for name, bits in registers.items()}
    return PrimitiveResult([SamplerPubResult(DataBin(**data))], metadata={"version": 2})


def _values(result: PrimitiveResult[SamplerPubResult]) -> dict[str, str]:
    return {name: bits.get_bitstrings()[0] for name, bits in result[0].data.items()}


@pytest.mark.parametrize(
    ("asked", "sent", "found"),
    [
        (["c4", "c5"], ["c3", "c4"], {"c4": "0", "c5": "1"}),
        (["c2", "c3"], ["c3", "c4"], {"c2": "0", "c3": "1"}),
        (["c4", "c3"], ["c3", "c4"], {"c4": "0", "c3": "1"}),
        (["c3", "c4"], ["c3", "c4"], {"c3": "0", "c4": "1"}),
        (["c3", "c4"], None, {"c3": "0", "c4": "1"}),
        (["c8", "c9"], None, {"c8": "0", "c9": "1"}),
        (["c9", "c10"], None, {"c9": "0", "c10": "1"}),
    ],
)
def test_registers_are_told_by_their_places(
    asked: Sequence[str], sent: Sequence[str] | None, found: dict[str, str]
) -> None:
    """Also where a name that was sent is another register's name now."""
    known = None if sent is None else [sent]
    named = with_names(_result(c3="0", c4="1"), [asked], known)
    assert _values(named) == found
    assert named.metadata == {"version": 2}


def test_registers_that_cannot_be_told_apart_are_an_error() -> None:
    """A wrong register's data must not pass for the right one's."""
    with pytest.raises(LedgerError, match="ClassicalRegister"):
        with_names(_result(c3="0", c4="1"), [["c8"]], None)


def test_shapes_and_values_stay() -> None:
    """Only names change."""
    bits = BitArray.from_bool_array(np.zeros((2, 3, 5, 4), dtype=bool))
    data = DataBin(c0=bits, shape=(2, 3))
    named = with_names(PrimitiveResult([SamplerPubResult(data)]), [["c7"]], [["c0"]])
    assert named[0].data.shape == (2, 3)
    assert named[0].data.c7 is bits


def test_names_are_kept_only_where_they_may_differ() -> None:
    """With names that somebody gave, an equal request has the same ones."""
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    assert numbered_names(sampler_request([circuit]).pubs) is None
    circuit.measure_all()
    (names,) = numbered_names(sampler_request([circuit]).pubs) or [[]]
    assert names[0] == "meas"
    assert names[1].startswith("meas")
    assert names[1] != "meas"
