"""Bits without shot noise: each outcome gets its share of the shots, up to one.

The client's executor primitives estimate from bits. Of ``n`` shots at a point, an outcome of
probability ``p`` gets ``n p`` rounded down or up. So an expectation value is wrong by less than the
number of possible outcomes divided by ``n``, and mostly by much less.

The client measures all qubits of the device where it mitigates readout errors. Those that the
circuit leaves in a basis state, whatever the client's random gates, take no part in the sharing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Gate, QuantumCircuit, Qubit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives.containers import BitArray, DataBin
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Operator

from session_block.local_platform.execution import ideal

MOST_BITS = 16
"""With more measured bits whose value is not certain, the shots are drawn."""

_CERTAIN = 1e-9
"""How far the probability of a certain bit may be from 0 or 1."""

_GROUND = np.array([1, 0], dtype=complex)
_STANDARD = frozenset(gate.base_class for gate in get_standard_gate_name_mapping().values())

Array = np.ndarray[Any, Any]


def is_possible(circuit: QuantumCircuit) -> bool:
    """Whether a circuit measures at its end only, and few bits of connected qubits enough."""
    measured = [one for one in circuit.data if one.operation.name == "measure"]
    connected = _connected(circuit)
    bits = sum(one.qubits[0] in connected for one in measured)
    if not measured or bits > MOST_BITS or len(connected) > ideal.STATEVECTOR_QUBITS:
        return False
    clbits = {one.clbits[0] for one in measured}
    if not all(circuit.find_bit(one).registers for one in clbits):
        return False
    return len(clbits) == len(measured) and not ideal.is_random(_unmeasured(circuit))


def sample(pub: SamplerPub, flips: Mapping[str, Array], points: tuple[int, ...]) -> DataBin | None:
    """Return bits of a PUB, as arrays by register; ``None`` if too many of them are not certain.

    Args:
        pub: Its circuit is one for which this :func:`is_possible`.
        flips: By register, which bits are flipped after the measurement; arrays of shape
            ``(*shape of the PUB, 1, bits)``. They are not applied to the bits that are returned:
            the circuit makes them.
        points: The PUB's shape, with 1 for each axis along which only the flips and equivalent
            circuits differ. Along these the shots are shared out together.
    """
    circuit, shape, shots = pub.circuit, pub.shape, pub.shots
    measured = [one for one in circuit.data if one.operation.name == "measure"]
    places = [circuit.find_bit(one.clbits[0]).registers[0] for one in measured]
    bare = _unmeasured(circuit)
    values = pub.parameter_values.as_array(circuit.parameters).reshape(math.prod(shape), -1)
    bound = [
        bare.assign_parameters(dict(zip(circuit.parameters, one, strict=True))) for one in values
    ]
    certain = _certain(bound)
    known = [certain.get(one.qubits[0]) for one in measured]
    shared = [bit for bit, values in enumerate(known) if values is None]
    if len(shared) > MOST_BITS or len(bare.qubits) - len(certain) > ideal.STATEVECTOR_QUBITS:
        return None
    turned = np.zeros((len(values), len(measured)), dtype=bool)
    for bit, (register, index) in enumerate(places):
        if register.name in flips:
            turned[:, bit] = np.broadcast_to(
                flips[register.name], (*shape, 1, register.size)
            ).reshape(len(values), register.size)[:, index]
    if shared:
        small, kept = _without(bound, certain)
        probabilities = ideal.probabilities(
            small, [kept[measured[bit].qubits[0]] for bit in shared]
        )
        masks = turned[:, shared] @ (1 << np.arange(len(shared)))
        outcomes = _shared_out(probabilities, masks, _ranks(shape, points), shots)
    bits = {
        register.name: np.zeros((len(values), shots, register.size), dtype=bool)
        for register in circuit.cregs
    }
    for (register, index), values_of_bit in zip(places, known, strict=True):
        if values_of_bit is not None:
            bits[register.name][..., index] = values_of_bit[:, None]
    for number, bit in enumerate(shared):
        register, index = places[bit]
        bits[register.name][..., index] = outcomes >> number & 1
    arrays = {
        name: BitArray.from_bool_array(array.reshape(*shape, *array.shape[1:]), order="little")
        for name, array in bits.items()
    }
    return DataBin(**arrays, shape=shape)


def _unmeasured(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit without what it measures at its end."""
    kept, used = [], set[Any]()
    for one in reversed(circuit.data):
        is_last = one.operation.name == "measure" and not used & set(one.qubits)
        if not is_last and one.operation.name != "barrier":
            used |= set(one.qubits)
            kept.append(one)
    bare = circuit.copy_empty_like()
    for one in reversed(kept):
        bare.append(one)
    return bare


def _connected(circuit: QuantumCircuit) -> set[Qubit]:
    """Return the qubits on which there is more than gates for one qubit, and measurements."""
    return {
        qubit
        for one in circuit.data
        if one.operation.name not in {"measure", "barrier"}
        and not (len(one.qubits) == 1 and isinstance(one.operation, Gate))
        for qubit in one.qubits
    }


def _certain(circuits: Sequence[QuantumCircuit]) -> dict[Qubit, Array]:
    """Return the bits, one for each circuit, of the qubits that end in a basis state in all."""
    connected = _connected(circuits[0])
    ones = {
        qubit: np.empty(len(circuits)) for qubit in circuits[0].qubits if qubit not in connected
    }
    matrices: dict[Any, Array] = {}

    def matrix(gate: Gate) -> Array:
        key = gate.base_class, *gate.params
        if gate.base_class not in _STANDARD:
            return np.asarray(Operator(gate).data)
        if key not in matrices:
            matrices[key] = np.asarray(gate.to_matrix())
        return matrices[key]

    for number, circuit in enumerate(circuits):
        states = dict.fromkeys(ones, _GROUND)
        for one in circuit.data:
            if one.qubits and one.qubits[0] in states:
                states[one.qubits[0]] = matrix(one.operation) @ states[one.qubits[0]]
        for qubit, state in states.items():
            ones[qubit][number] = abs(state[1]) ** 2
    return {
        qubit: found > 1 / 2
        for qubit, found in ones.items()
        if np.all(np.minimum(found, 1 - found) < _CERTAIN)
    }


def _without(
    circuits: Sequence[QuantumCircuit], gone: Collection[Qubit]
) -> tuple[list[QuantumCircuit], dict[Qubit, int]]:
    """Return the circuits without some qubits, and the indices of the others in them."""
    kept = [qubit for qubit in circuits[0].qubits if qubit not in gone]
    smaller = []
    for circuit in circuits:
        small = QuantumCircuit(kept)
        small.global_phase = circuit.global_phase
        for one in circuit.data:
            if not one.qubits or one.qubits[0] not in gone:
                small.append(one)
        smaller.append(small)
    return smaller, {qubit: index for index, qubit in enumerate(kept)}


def _ranks(shape: tuple[int, ...], points: tuple[int, ...]) -> tuple[Array, int]:
    """Return for each element the number of its randomisation, and how many there are."""
    varied = [size if point == 1 else 1 for size, point in zip(shape, points, strict=True)]
    total = math.prod(varied)
    return np.broadcast_to(np.arange(total).reshape(varied), shape).reshape(-1), total


def _shared_out(probabilities: Array, masks: Array, ranks: tuple[Array, int], shots: int) -> Array:
    """Return the outcomes of all shots; shape ``(elements, shots)``."""
    numbers, total = ranks
    found = np.empty((len(probabilities), shots), dtype=np.int64)
    everything = np.arange(probabilities.shape[1])
    for index, (row, mask) in enumerate(zip(probabilities, masks, strict=True)):
        # In terms of what the client sees, all randomisations of a point have one distribution.
        shares = np.cumsum(row[everything ^ mask])
        wanted = (np.arange(shots) * total + numbers[index] + 0.5) / (shots * total) * shares[-1]
        found[index] = np.searchsorted(shares, wanted, side="right") ^ mask
    return found
