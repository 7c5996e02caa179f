"""The layers of gates or measurements whose noise a noise learner is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from qiskit.circuit import CircuitInstruction, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import get_standard_gate_name_mapping
from samplomatic.transpiler import generate_boxing_pass_manager
from samplomatic.utils import undress_box

_GATES = get_standard_gate_name_mapping()
# Real: on a circuit with one of these, IBM refuses twirling and noise learning (code 1519).
FRACTIONAL_GATES = frozenset(("rx", "rzz"))


@dataclass(frozen=True)
class Gate:
    """A gate or a measurement on qubits of the device."""

    name: str
    qubits: tuple[int, ...]
    angles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layer:
    """Simultaneous gates or measurements, and the qubits that are twirled with them.

    Attributes:
        qubits: Indices on the device, in ascending order.
        gates: What is done after the twirling, each qubit at most once.
    """

    qubits: tuple[int, ...]
    gates: tuple[Gate, ...]

    @property
    def is_measured(self) -> bool:
        """Whether it measures its qubits."""
        return any(gate.name == "measure" for gate in self.gates)

    @property
    def entanglers(self) -> int:
        """Number of its gates on two qubits."""
        return sum(len(gate.qubits) == 2 for gate in self.gates)  # noqa: PLR2004

    @property
    def content(self) -> frozenset[Any]:
        """What equal layers have in common: a symmetric gate may be written in both directions."""
        gates = (
            (gate.name, frozenset(gate.qubits) if gate.name == "cz" else gate.qubits)
            for gate in self.gates
        )
        return frozenset((self.qubits, *gates))

    def circuit(self) -> QuantumCircuit:
        """Return its gates on its own qubits, numbered from zero; without measurements."""
        # The default name counts all circuits of the process, and would get into the result.
        circuit = QuantumCircuit(len(self.qubits), name="layer")
        for gate in self.gates:
            if gate.name != "measure":
                operation = _GATES[gate.name].base_class(*gate.angles)
                circuit.append(operation, [self.qubits.index(qubit) for qubit in gate.qubits])
        return circuit


def of_instruction(instruction: CircuitInstruction, num_qubits: int) -> Layer:
    """Return the layer in a twirled box.

    Args:
        instruction: The box, on qubits of a register ``q`` that is as wide as the device.
        num_qubits: Number of qubits of the device.

    Raises:
        ValueError: It is no box on qubits of the device, or not one layer.
    """
    if instruction.operation.name != "box":
        raise ValueError(f"noise is learned of boxes, not of {instruction.operation.name!r}")
    # The client sends the qubits of all boxes in any order; what counts is their register.
    places = {qubit: index for index, qubit in enumerate(QuantumRegister(num_qubits, "q"))}
    if missing := [qubit for qubit in instruction.qubits if qubit not in places]:
        raise ValueError(f"{missing[0]} is no qubit of this device, which has {num_qubits}")
    return _layer(instruction, [places[qubit] for qubit in instruction.qubits])


def of_circuits(circuits: Iterable[QuantumCircuit], strategy: str, most: int | None) -> list[Layer]:
    """Return the different layers of two-qubit gates in some circuits.

    The most frequent come first, then those with more two-qubit gates (as documented for the
    client), then those that appear first (a guess).

    Args:
        circuits: ISA circuits.
        strategy: Which idle qubits are twirled: ``active``, ``active-accum``, ``active-circuit`` or
            ``all``.
        most: The largest number of layers to return; None for all.

    Raises:
        ValueError: The layers of a circuit cannot be learned.
    """
    boxing = generate_boxing_pass_manager(
        enable_measures=False, twirling_strategy=strategy.replace("-", "_")
    )
    counts = Counter[frozenset[Any]]()
    found: dict[frozenset[Any], Layer] = {}
    for circuit in circuits:
        if circuit.has_control_flow_op():
            raise ValueError("no noise is learned of circuits with control flow or boxes")
        if names := FRACTIONAL_GATES.intersection(circuit.count_ops()):
            raise ValueError(f"no noise is learned of circuits with fractional gates: {min(names)}")
        for layer in _entangling(boxing.run(circuit)):
            counts[layer.content] += 1
            found.setdefault(layer.content, layer)
    ranked = sorted(found, key=lambda content: (-counts[content], -found[content].entanglers))
    return [found[content] for content in ranked[:most]]


def _entangling(boxed: QuantumCircuit) -> Iterator[Layer]:
    for instruction in boxed.data:
        if instruction.operation.name == "box":
            layer = _layer(instruction, [boxed.find_bit(bit).index for bit in instruction.qubits])
            if layer.entanglers:
                yield layer


def _layer(instruction: CircuitInstruction, places: list[int]) -> Layer:
    body = undress_box(instruction.operation).body
    gates = []
    for step in body.data:
        operation = step.operation
        if operation.name == "barrier":
            continue
        if operation.name != "measure" and operation.name not in _GATES:
            raise ValueError(f"no noise is learned of a layer with {operation.name!r}")
        if any(getattr(angle, "parameters", ()) for angle in operation.params):
            raise ValueError(f"no noise is learned of a gate with a free parameter: {operation}")
        qubits = tuple(places[body.find_bit(bit).index] for bit in step.qubits)
        gates.append(Gate(operation.name, qubits, tuple(map(float, operation.params))))
    used = Counter(qubit for gate in gates for qubit in gate.qubits)
    if any(times > 1 for times in used.values()):
        raise ValueError("no noise is learned of a box with more than one layer")
    kinds = {gate.name == "measure" for gate in gates}
    if len(kinds) > 1 or (True in kinds and len(used) < len(places)):
        raise ValueError("a box must hold gates only, or measure all its qubits")
    return Layer(tuple(sorted(places)), tuple(sorted(gates, key=lambda gate: gate.qubits)))
