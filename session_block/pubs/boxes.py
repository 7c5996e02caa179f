"""Pure: what counts of circuits in boxes, and of boxes alone.

What puts a circuit into boxes gives their annotations (``InjectNoise``, ``ChangeBasis``,
``InjectLocalClifford``, ``Tag``) references, which it counts or hashes, and repeats them in the
labels of a template's barriers. A reference counts by where it occurs again, not by what it is
called. Measurements are boxed in an order that depends on the names of registers, which may be
nobody's, so in a block what may come in any order counts in the order of its places.

The order of a box's qubits depends on their register too, and with it the template's parameters. So
a circuit on a register that nobody named (``q7``) gives another template in another process.
Circuits for a backend are on its register ``q``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qiskit.circuit import (
    CONTROL_FLOW_OP_NAMES,
    Annotation,
    Barrier,
    Bit,
    BoxOp,
    CircuitInstruction,
    ControlFlowOp,
    Operation,
    QuantumCircuit,
    QuantumRegister,
)

_BLOCKS = {*CONTROL_FLOW_OP_NAMES}
_REFERRING = {*_BLOCKS, "barrier"}
"""Operations that hold references, or blocks that do."""

_BOX_LABEL = re.compile(r"[LMR]\d+(_\d+)*@")
"""How the labels of a template's barriers begin. What follows are the references of a box."""

_BIT = re.compile(r"<\w+ register=\((\d+), (['\"])(.*)\2\), index=(\d+)>")

_Places = tuple[Sequence[int], Sequence[int]]
_Where = Mapping[Bit, tuple[int, int]]


class References:
    """The references of a request's boxes, numbered in the order of their first appearances."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], str] = {}

    def _number(self, kind: str, reference: str) -> str:
        # An empty one refers to nothing.
        if not reference:
            return reference
        return self._numbers.setdefault((kind, reference), f"{len(self._numbers)}")

    def renamed(self, annotation: Annotation) -> Annotation:
        """Return an annotation with numbers for its references; a foreign one as it is."""
        if not annotation.namespace.startswith("samplomatic."):
            return annotation
        from samplomatic.annotations import ChangeBasis, InjectLocalClifford, InjectNoise, Tag

        if isinstance(annotation, InjectNoise):
            return InjectNoise(
                self._number("noise", annotation.ref),
                self._number("modifier", annotation.modifier_ref),
                annotation.site,
            )
        if isinstance(annotation, ChangeBasis):
            return ChangeBasis(
                annotation.decomposition,
                annotation.mode,
                self._number("basis", annotation.ref),
                annotation.dressing,
            )
        if isinstance(annotation, InjectLocalClifford):
            return InjectLocalClifford(
                self._number("clifford", annotation.ref),
                annotation.decomposition,
                annotation.dressing,
            )
        if isinstance(annotation, Tag):
            return Tag(self._number("tag", annotation.ref))
        return annotation


def settled(
    circuit: QuantumCircuit, references: References, places: _Places | None = None
) -> QuantumCircuit:
    """Return a circuit with numbered references, and its blocks in order; it may be the same one.

    Args:
        circuit: The circuit, or a block.
        references: The references met before.
        places: The positions of a block's qubits and bits in the outermost circuit.
    """
    names = {*circuit.count_ops()}
    if places is None and not names & _REFERRING:
        return circuit
    at, at_classical = places or (range(circuit.num_qubits), range(circuit.num_clbits))
    where = {
        **dict(zip(circuit.qubits, ((0, place) for place in at), strict=True)),
        **dict(zip(circuit.clbits, ((1, place) for place in at_classical), strict=True)),
    }
    given = list(circuit.data)
    data = list(given) if places is None else _ordered(given, where, circuit)
    for place, instruction in enumerate(data):
        if instruction.name in _REFERRING:
            operation = instruction.operation
            renamed = _settled_operation(operation, instruction, references, where)
            if renamed is not operation:
                data[place] = instruction.replace(operation=renamed)
    return _with_data(circuit, given, data, rebuilt=bool(names & _BLOCKS))


def _with_data(
    circuit: QuantumCircuit,
    given: Sequence[CircuitInstruction],
    data: Sequence[CircuitInstruction],
    *,
    rebuilt: bool,
) -> QuantumCircuit:
    changed = [place for place, one in enumerate(data) if one is not given[place]]
    if not changed:
        return circuit
    if not rebuilt:
        other = circuit.copy()
        for place in changed:
            other.data[place] = data[place]
        return other
    # Qiskit cannot set an operation with blocks in its place.
    other = circuit.copy_empty_like()
    for one in data:
        if one.name in _BLOCKS:
            other.append(one)
        else:
            other.data.append(one)
    return other


def _settled_operation(
    operation: Operation, instruction: CircuitInstruction, references: References, where: _Where
) -> Operation:
    if isinstance(operation, Barrier):
        label = operation.label
        if label is None or (beginning := _BOX_LABEL.match(label)) is None:
            return operation
        return Barrier(operation.num_qubits, beginning.group())
    if not isinstance(operation, ControlFlowOp):
        return operation
    # Those of the box come before those of boxes in it.
    annotations = [references.renamed(one) for one in getattr(operation, "annotations", ())]
    places = (
        [where[bit][1] for bit in instruction.qubits],
        [where[bit][1] for bit in instruction.clbits],
    )
    blocks = [settled(block, references, places) for block in operation.blocks]
    if isinstance(operation, BoxOp):
        return BoxOp(
            *blocks, operation.duration, operation.unit, operation.label, annotations=annotations
        )
    return operation.replace_blocks(blocks)


def _ordered(
    data: Sequence[CircuitInstruction], where: _Where, block: QuantumCircuit
) -> list[CircuitInstruction]:
    """Return a block's instructions by layers, and in a layer by the places on which they act."""
    # Variables bind instructions that share no bit.
    if block.num_identifiers:
        return list(data)
    layers: dict[Bit, int] = {}
    keys = []
    for instruction in data:
        bits = [*instruction.qubits, *instruction.clbits]
        layer = max((layers.get(bit, 0) for bit in bits), default=0) + 1
        layers.update(dict.fromkeys(bits, layer))
        keys.append((layer, sorted(where[bit] for bit in bits)))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [data[place] for place in order]


def circuit_of(instructions: Sequence[CircuitInstruction]) -> QuantumCircuit:
    """Return a circuit of instructions alone.

    Their qubits are at their indices in the physical register ``QuantumRegister(n, "q")``, or, if
    one is in no such register, all in the order of their first appearances.
    """
    qubits = _places([bit for one in instructions for bit in one.qubits])
    clbits = _first_appearances([bit for one in instructions for bit in _used_clbits(one, qubits)])
    circuit = QuantumCircuit(max(qubits.values(), default=-1) + 1, len(clbits))
    for one in instructions:
        circuit.append(
            one.operation, [qubits[bit] for bit in one.qubits], [clbits[bit] for bit in one.clbits]
        )
    return circuit


def _places(qubits: Sequence[Bit]) -> dict[Bit, int]:
    found = {qubit: place_in_register(qubit) for qubit in qubits}
    physical = {
        qubit: place[1] for qubit, place in found.items() if place is not None and place[0] == "q"
    }
    # Registers of other sizes have other qubits with the same index.
    if len({*physical.values()}) < len(found):
        return _first_appearances(qubits)
    return physical


def place_in_register(bit: Bit) -> tuple[str, int] | None:
    """Return the name of a bit's register and its index there, which only its repr tells."""
    if (said := _BIT.fullmatch(repr(bit))) is None:
        return None
    size, _, name, index = said.groups()
    # What only looks like a physical qubit is none.
    if name == "q" and QuantumRegister(int(size), name)[int(index)] != bit:
        return None
    return name, int(index)


def _used_clbits(instruction: CircuitInstruction, qubits: Mapping[Bit, int]) -> list[Bit]:
    """Return an instruction's bits in the order in which its blocks, if any, take them."""
    used: list[Bit] = []
    for block in getattr(instruction.operation, "blocks", ()):
        outer = dict(zip(block.clbits, instruction.clbits, strict=True))
        # In an order that the qubits alone decide.
        where = dict.fromkeys(block.clbits, (1, 0))
        for bit, qubit in zip(block.qubits, instruction.qubits, strict=True):
            where[bit] = (0, qubits[qubit])
        used += [
            outer[bit] for one in _ordered(list(block.data), where, block) for bit in one.clbits
        ]
    return [*used, *instruction.clbits]


def _first_appearances(bits: Sequence[Bit]) -> dict[Bit, int]:
    return {bit: place for place, bit in enumerate(dict.fromkeys(bits))}
