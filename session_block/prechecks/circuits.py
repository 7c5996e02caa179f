"""What the rules ask of circuits; each question costs little on an ordinary circuit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qiskit.circuit import CONTROL_FLOW_OP_NAMES, CircuitInstruction, Instruction, QuantumCircuit

FRACTIONAL_GATES = frozenset(("rx", "rzz"))

MAX_INSTRUCTIONS_PER_QUBIT = 26_800_000
INSTRUCTION_COUNTS = {
    "rz": 1,
    "delay": 1,
    "sx": 2,
    "x": 2,
    "cx": 5,
    "cz": 5,
    "ecr": 5,
    "measure": 10,
    "reset": 17,
    "init": 50,
}
"""How many control-system instructions IBM counts for each [docs]; others count as none here."""

MAX_GATES = {"rz": 30_000_000, "sx": 20_000_000}
MAX_TWO_QUBIT_GATES = 5_000_000
_TWO_QUBIT_GATES = frozenset(("cx", "cz", "ecr"))

_BLOCKS = frozenset(CONTROL_FLOW_OP_NAMES)
_DYNAMIC = _BLOCKS - {"box"}


def blocks_of(instruction: CircuitInstruction) -> Sequence[QuantumCircuit]:
    """Return the circuits inside an instruction, such as a branch, a loop or a box."""
    return getattr(instruction.operation, "blocks", ()) if instruction.name in _BLOCKS else ()


def instructions_in(circuit: QuantumCircuit) -> Iterator[CircuitInstruction]:
    """Give all instructions of a circuit, those inside blocks included."""
    for instruction in circuit.data:
        yield instruction
        for block in blocks_of(instruction):
            yield from instructions_in(block)


def names_in(circuit: QuantumCircuit) -> set[str]:
    """Return the names of a circuit's instructions, those inside blocks included."""
    names = {*circuit.count_ops()}
    if names & _BLOCKS:
        names |= {one.name for one in instructions_in(circuit)}
    return names


def is_dynamic(circuit: QuantumCircuit) -> bool:
    """Whether a circuit has control flow; boxes are none."""
    return bool(names_in(circuit) & _DYNAMIC)


def first_fractional(circuits: Iterable[QuantumCircuit]) -> tuple[int, str] | None:
    """Return which circuit has a fractional gate, and its name; ``None`` if none has one."""
    for index, circuit in enumerate(circuits):
        if found := names_in(circuit) & FRACTIONAL_GATES:
            return index, min(found)
    return None


def undefined_gates(circuit: QuantumCircuit, known: Iterable[str]) -> list[str]:
    """Return the names of gates that neither the device knows nor anybody has defined.

    Args:
        circuit: The circuit.
        known: The names of the device's instructions.
    """
    unknown = names_in(circuit) - {*known, *_BLOCKS, "barrier", "store"}
    if not unknown:
        return []
    operations = (one.operation for one in instructions_in(circuit) if one.name in unknown)
    return sorted(
        {
            one.name
            for one in operations
            if type(one) is Instruction or getattr(one, "definition", None) is None
        }
    )


def why_too_large(circuit: QuantumCircuit) -> str | None:
    """Say which of IBM's limits a circuit exceeds; ``None`` if it exceeds none.

    Of an ordinary circuit only the kinds of its instructions are counted: on all qubits together
    it has fewer than one qubit may have.
    """
    counts = circuit.count_ops()
    on_all = sum(INSTRUCTION_COUNTS.get(name, 0) * count for name, count in counts.items())
    if on_all > MAX_INSTRUCTIONS_PER_QUBIT:
        on_one = instructions_per_qubit(circuit)
        return too_many_instructions(on_one) or too_many_gates(counts)
    return too_many_gates(counts)


def instructions_per_qubit(circuit: QuantumCircuit) -> int:
    """Return the least number of control-system instructions on a circuit's busiest qubit.

    Each instruction counts once, also in a loop, and what IBM's table lacks counts as none.
    """
    busy: Counter[object] = Counter()
    for instruction in circuit.data:
        count = INSTRUCTION_COUNTS.get(instruction.name, 0)
        for qubit in instruction.qubits if count else ():
            busy[qubit] += count
    return max(busy.values(), default=0)


def too_many_instructions(count: int) -> str | None:
    """Say that a qubit has too many control-system instructions; ``None`` if it has not."""
    if count <= MAX_INSTRUCTIONS_PER_QUBIT:
        return None
    return (
        f"{count} control-system instructions on one qubit, and {MAX_INSTRUCTIONS_PER_QUBIT} are "
        "allowed"
    )


def too_many_gates(counts: Mapping[str, int]) -> str | None:
    """Say which gates a circuit has too many of, given how often each occurs; else ``None``."""
    for name, most in MAX_GATES.items():
        if counts.get(name, 0) > most:
            return f"{counts[name]} {name} gates, and {most} are allowed"
    entangling = sum(counts.get(name, 0) for name in _TWO_QUBIT_GATES)
    if entangling > MAX_TWO_QUBIT_GATES:
        return f"{entangling} two-qubit gates, and {MAX_TWO_QUBIT_GATES} are allowed"
    return None
