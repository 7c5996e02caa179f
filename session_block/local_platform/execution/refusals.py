"""What IBM's programs refuse: the job is accepted, queued, and then ends as ``Failed`` with a code.

Real: these codes were seen on jobs of the programs ``sampler``, ``estimator`` and
``noise-learner``, and so were the limit of executions and the two-qubit angles. Docs: the limit of
executions is the sampler's; fractional gates exclude gate twirling, PEC and PEA, but not ZNE by
gate folding; the number of PUBs that a device takes, of which newer pages say that it is no longer
enforced.

Guesses: where exactly memory runs out; that a circuit which cannot be decoded is always 1603 and
one with an undefined gate always 1506 (on the real service one program can end as either); that too
many PUBs get the code of too many executions; all texts; everything about executor jobs, which are
refused as those of the other programs where the platform's settings say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution import client_codec
from session_block.local_platform.execution.job_options import Options, resilience_level
from session_block.local_platform.execution.layers import FRACTIONAL_GATES
from session_block.local_platform.workloads.job_records import (
    MAX_TIME_CODE,
    MAX_TIME_REASON,
    MAX_TIME_SOLUTION,
)

MAX_EXECUTIONS = 10_000_000
# Guess: 100 PUBs at resilience level 2 ran, 300 ran out of memory (real).
MEMORY_PUBS = 300
_MITIGATING = 2
# What every device does anywhere, or what does nothing there.
_EVERYWHERE = frozenset(("barrier", "delay", "measure", "reset", "store"))
_SPLIT = "Split the job into several ones."


class ProgramFailedError(Exception):
    """A job that its program ends without a result.

    Attributes:
        code: IBM's code.
        reason: What is wrong.
        solution: What to do about it.
        state: How the job ends: ``failed`` or ``cancelled``.
        is_free: Whether it is charged nothing; if not, what its code costs.
    """

    def __init__(
        self, code: int, reason: str, solution: str, *, state: str = "failed", is_free: bool = False
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.solution = solution
        self.state = state
        self.is_free = is_free


def unreadable(error: Exception) -> ProgramFailedError:
    """Return the failure of a job whose parameters the program cannot make sense of."""
    return ProgramFailedError(
        1603,
        f"The input of the program cannot be read: {error}",
        "Check the PUBs, and send circuits as the client encodes them.",
        is_free=True,
    )


def estimator_pub(raw: Sequence[Any]) -> EstimatorPub:
    """Return the PUB that a client sent.

    Raises:
        ProgramFailedError: 1501 for observables of another width than the circuit, 1603 for what
            is no PUB.
    """
    try:
        circuit, observables = raw[0], ObservablesArray.coerce(raw[1])
        width = observables.num_qubits
    except Exception as error:
        raise unreadable(error) from error
    if isinstance(circuit, QuantumCircuit) and circuit.num_qubits != width:
        raise ProgramFailedError(
            1501,
            f"The observables are on {width} qubits, the circuit is on {circuit.num_qubits}.",
            "Apply the circuit's layout to the observables.",
        )
    try:
        return EstimatorPub.coerce(tuple(raw))
    except Exception as error:
        raise unreadable(error) from error


def check_sampler(recording: str, options: Options, pubs: Sequence[SamplerPub]) -> None:
    """Refuse what IBM's sampler refuses. Raises ProgramFailedError."""
    check_circuits(recording, [pub.circuit for pub in pubs])
    _check_angles(pubs)
    refuses = _twirls_gates(options, default=False)
    _refuse_fractional((pub.circuit for pub in pubs), refuses, "gate twirling")


def check_estimator(recording: str, options: Options, pubs: Sequence[EstimatorPub]) -> None:
    """Refuse what IBM's estimator refuses. Raises ProgramFailedError."""
    resilience = options.get("resilience") or {}
    pec = resilience.get("pec_mitigation") is True
    if pec and resilience.get("zne_mitigation") is True:
        raise ProgramFailedError(
            1521,
            "The options pec_mitigation and zne_mitigation exclude each other.",
            "Choose one of them.",
        )
    circuits = [pub.circuit for pub in pubs]
    if any(_is_dynamic(circuit) for circuit in circuits):
        raise ProgramFailedError(
            1522,
            "The estimator runs no dynamic circuits.",
            "Run the circuit with a sampler, or without control flow and measurements.",
        )
    check_circuits(recording, circuits)
    _check_angles(pubs)
    level = resilience_level(options)
    mitigates = level >= _MITIGATING
    refusing = _twirls_gates(options, default=mitigates) or pec or _amplifies(resilience, mitigates)
    _refuse_fractional(circuits, refusing, "gate twirling, PEC or PEA")
    if mitigates and len(pubs) >= MEMORY_PUBS:
        raise ProgramFailedError(
            1336, f"The job of {len(pubs)} PUBs ran out of memory.", _SPLIT, is_free=True
        )


def check_learner(
    recording: str, circuits: Sequence[QuantumCircuit], blocks: Iterable[QuantumCircuit]
) -> None:
    """Refuse to learn the noise of circuits that are not ISA, or have fractional gates.

    Args:
        recording: The device.
        circuits: Circuits of the device.
        blocks: Circuits of the qubits that they are on alone.

    Raises:
        ProgramFailedError: 1506, 1517, 1519 or 1520.
    """
    check_circuits(recording, circuits)
    _refuse_fractional([*circuits, *blocks], True, "noise learning")


def check_circuits(recording: str, circuits: Sequence[QuantumCircuit]) -> None:
    """Refuse too many circuits, and those that are not ISA circuits of the device.

    Raises:
        ProgramFailedError: 1520, 1506 or 1517.
    """
    most = recordings.configuration(recording).get("max_experiments")
    if most is not None and len(circuits) > most:
        raise ProgramFailedError(
            1520, f"The job has {len(circuits)} circuits, the device takes {most}.", _SPLIT
        )
    width = recordings.configuration(recording)["n_qubits"]
    for circuit in circuits:
        if circuit.num_qubits > width:
            raise _not_isa(f"the circuit has {circuit.num_qubits} qubits, the device {width}")
        for operation, qubits in _instructions(circuit, range(circuit.num_qubits)):
            _check_instruction(recording, operation, qubits)


def check_arguments(circuits: Iterable[tuple[QuantumCircuit, Any]]) -> None:
    """Refuse arguments that turn a two-qubit gate too far. Raises ProgramFailedError 1517.

    Args:
        circuits: Circuits, each with the values of its parameters in their order, or None.
    """
    for circuit, values in circuits:
        if values is not None and circuit.num_parameters:
            bindings = BindingsArray({tuple(circuit.parameters): values})
            _check_angles([SamplerPub(circuit, bindings)])


def check_executions(executions: int) -> None:
    """Refuse a job of too many executions. Raises ProgramFailedError 1520."""
    if executions > MAX_EXECUTIONS:
        raise ProgramFailedError(
            1520,
            f"The job has {executions} executions, at most {MAX_EXECUTIONS} are allowed.",
            "Use fewer shots or PUBs, or split the job.",
        )


def over_time() -> ProgramFailedError:
    """Return the end of a job whose executions take longer than it may."""
    return ProgramFailedError(MAX_TIME_CODE, MAX_TIME_REASON, MAX_TIME_SOLUTION, state="cancelled")


def _check_instruction(recording: str, operation: Instruction, qubits: tuple[int, ...]) -> None:
    name = operation.name
    if name in _EVERYWHERE or (name, qubits) in _gates(recording):
        if name == "rzz":
            _check_angle(operation)
        return
    if name not in recordings.configuration(recording)["basis_gates"] and (
        type(operation) is Instruction or operation.definition is None
    ):
        raise ProgramFailedError(
            1506, f"The gate {name} has no definition.", "Define the gate, or decompose it."
        )
    raise _not_isa(f"the device has no {name} on qubits {list(qubits)}")


def _check_angle(operation: Instruction) -> None:
    said = client_codec.why_rzz_is_invalid(operation)
    if said:
        raise _not_isa(said)


def _check_angles(pubs: Sequence[SamplerPub | EstimatorPub]) -> None:
    for pub in pubs:
        if said := client_codec.why_angles_are_invalid(pub):
            raise _not_isa(said)


def _not_isa(why: str) -> ProgramFailedError:
    return ProgramFailedError(
        1517,
        f"A circuit is not an ISA circuit of the device: {why}.",
        "Transpile the circuit for the device.",
    )


def _refuse_fractional(circuits: Iterable[QuantumCircuit], refuses: bool, what: str) -> None:
    if refuses and any(_has_fractional(circuit) for circuit in circuits):
        raise ProgramFailedError(
            1519,
            f"There is no {what} for circuits with fractional gates.",
            "Transpile the circuit without fractional gates, or switch the option off.",
        )


def _twirls_gates(options: Mapping[str, Any], *, default: bool) -> bool:
    asked = (options.get("twirling") or {}).get("enable_gates")
    return default if asked is None else asked is True


def _amplifies(resilience: Mapping[str, Any], default: bool) -> bool:
    """Whether PEA amplifies noise; gate folding, which is the default, goes with all gates."""
    asked = resilience.get("zne_mitigation")
    is_on = default if asked is None else asked is True
    return is_on and (resilience.get("zne") or {}).get("amplifier") == "pea"


def _has_fractional(circuit: QuantumCircuit) -> bool:
    places = range(circuit.num_qubits)
    return any(one.name in FRACTIONAL_GATES for one, _ in _instructions(circuit, places))


def _is_dynamic(circuit: QuantumCircuit) -> bool:
    return any(getattr(step.operation, "blocks", ()) for step in circuit.data)


def _instructions(
    circuit: QuantumCircuit, places: Sequence[int]
) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
    """Give all instructions with their qubits on the device; of blocks, what is in them."""
    for step in circuit.data:
        qubits = tuple(places[circuit.find_bit(bit).index] for bit in step.qubits)
        blocks = getattr(step.operation, "blocks", ())
        for block in blocks:
            yield from _instructions(block, qubits)
        if not blocks:
            yield step.operation, qubits


@cache
def _gates(recording: str) -> frozenset[tuple[str, tuple[int, ...]]]:
    gates = recordings.properties(recording)["gates"]
    known = {(gate["gate"], tuple(gate["qubits"])) for gate in gates}
    # Some recordings have no entry for gates that take no time.
    width = range(recordings.configuration(recording)["n_qubits"])
    known.update((name, (qubit,)) for name in ("id", "rz") for qubit in width)
    return frozenset(known)
