"""Splits circuits into independent parts.

Each part is sampled on its own, and the bits are combined: many small simulations cost far less
than one wide one. This holds under noise too, since each error stays within its gate's qubits.
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

# Up to this many qubits a gate costs the same, so small parts are run together.
GROUP_QUBITS = 4


def independent(circuit: QuantumCircuit) -> list[tuple[int, ...]]:
    """Return groups of qubits that no gate or condition connects.

    Qubits that no classical bit depends on are in no group.
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
    """Return a PUB on some of the qubits, with all classical registers of the whole circuit."""
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
    """Combine the samples of a circuit's parts into samples of the whole circuit."""
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
