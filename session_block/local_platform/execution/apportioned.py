"""Bits without shot noise: each outcome gets its share of the shots, up to one.

The client's executor primitives estimate from bits. Of ``n`` shots at a point, an outcome of
probability ``p`` gets ``n p`` rounded down or up. So an expectation value is wrong by less than the
number of possible outcomes divided by ``n``, and mostly by much less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers import BitArray, DataBin
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.local_platform.execution import ideal

MOST_BITS = 16
"""With more measured bits, the shots are drawn."""

Array = np.ndarray[Any, Any]


def is_possible(circuit: QuantumCircuit) -> bool:
    """Whether a circuit measures at its end only, and few bits enough."""
    measured = [one for one in circuit.data if one.operation.name == "measure"]
    if not 0 < len(measured) <= MOST_BITS or circuit.num_qubits > ideal.STATEVECTOR_QUBITS:
        return False
    clbits = {one.clbits[0] for one in measured}
    if not all(circuit.find_bit(one).registers for one in clbits):
        return False
    return len(clbits) == len(measured) and not ideal.is_random(_unmeasured(circuit))


def sample(pub: SamplerPub, flips: Mapping[str, Array], points: tuple[int, ...]) -> DataBin:
    """Return bits of a PUB, as arrays by register.

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
    qubits = [circuit.find_bit(one.qubits[0]).index for one in measured]
    places = [circuit.find_bit(one.clbits[0]).registers[0] for one in measured]
    bare = _unmeasured(circuit)
    values = pub.parameter_values.as_array(circuit.parameters).reshape(math.prod(shape), -1)
    probabilities = ideal.probabilities(
        [bare.assign_parameters(dict(zip(circuit.parameters, one, strict=True))) for one in values],
        qubits,
    )
    turned = np.zeros((len(values), len(measured)), dtype=bool)
    for bit, (register, index) in enumerate(places):
        if register.name in flips:
            turned[:, bit] = np.broadcast_to(
                flips[register.name], (*shape, 1, register.size)
            ).reshape(len(values), register.size)[:, index]
    masks = turned @ (1 << np.arange(len(measured)))
    outcomes = _shared_out(probabilities, masks, _ranks(shape, points), shots)
    bits = {
        register.name: np.zeros((len(values), shots, register.size), dtype=bool)
        for register in circuit.cregs
    }
    for bit, (register, index) in enumerate(places):
        bits[register.name][..., index] = outcomes >> bit & 1
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
