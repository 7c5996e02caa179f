"""Circuits taken apart into parts that have nothing to do with each other.

Parts are sampled one by one, and their bits put together: many small simulations cost far less
than a wide one. Noise does not change this, since every error stays within its gate's qubits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers import BitArray, DataBin
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

if TYPE_CHECKING:
    from collections.abc import Sequence

# Below this a gate costs the same on any number of qubits, so small parts are run together.
GROUP_QUBITS = 4


def independent(circuit: QuantumCircuit) -> list[tuple[int, ...]]:
    """Return groups of qubits between which there is neither a gate nor a condition.

    Qubits that are not measured, and that nothing depends on, are in no group.
    """
    if circuit.num_vars:
        return [tuple(range(circuit.num_qubits))]
    parents: dict[Any, Any] = {bit: bit for bit in (*circuit.qubits, *circuit.clbits)}

    def root(bit: Any) -> Any:
        while parents[bit] is not bit:
            bit = parents[bit]
        return bit

    for step in circuit.data:
        first, *others = (root(bit) for bit in (*step.qubits, *step.clbits))
        if step.operation.name != "barrier":
            parents.update((other, first) for other in others)
    members: dict[Any, list[int]] = {
        root(clbit): [] for step in circuit.data for clbit in step.clbits
    }
    for index, qubit in enumerate(circuit.qubits):
        members.get(root(qubit), []).append(index)
    groups: list[tuple[int, ...]] = []
    for qubits in sorted(members.values(), key=len):
        if groups and len(groups[-1]) + len(qubits) <= GROUP_QUBITS:
            groups[-1] = (*groups[-1], *qubits)
        else:
            groups.append(tuple(qubits))
    return groups


def part(pub: SamplerPub, qubits: Sequence[int]) -> SamplerPub:
    """Return a PUB of some qubits only, with the classical registers of the whole."""
    whole = pub.circuit
    wanted = [whole.qubits[index] for index in qubits]
    circuit = QuantumCircuit(wanted, whole.clbits)
    for register in whole.cregs:
        circuit.add_register(register)
    places = set(wanted)
    for step in whole.data:
        if places.issuperset(step.qubits):
            circuit.append(step.operation, step.qubits, step.clbits)
    values = pub.parameter_values
    bindings = BindingsArray(shape=values.shape)
    if circuit.num_parameters:
        columns = [list(whole.parameters).index(parameter) for parameter in circuit.parameters]
        array = values.as_array(whole.parameters)[..., columns]
        bindings = BindingsArray({tuple(circuit.parameters): array})
    return SamplerPub(circuit, bindings, pub.shots)


def together(samples: Sequence[DataBin]) -> DataBin:
    """Return the samples of a circuit from those of its parts."""
    first = samples[0]
    return DataBin(
        **{
            name: BitArray(
                np.bitwise_or.reduce([sample[name].array for sample in samples]), bits.num_bits
            )
            for name, bits in first.items()
        },
        shape=first.shape,
    )
