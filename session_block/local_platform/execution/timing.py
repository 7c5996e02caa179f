"""Computes what a job runs on the device, and how long this would occupy it.

For each PUB and parameter point this is shots × (circuit duration + repetition delay), for an
estimator also × the number of measurement bases. The duration of a circuit is its longest path of
instructions, with the recorded durations of gates and readout. Published charges have this form
(real).

Simplifications:

- An instruction without a recorded duration takes no time.
- The longer side of a branch counts.
- A loop counts once if its number of iterations is not fixed.
- A delay counts as zero if its duration is not a number.
- Circuits are not rewritten, so error mitigation and twirling add no time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import ForLoopOp
from qiskit.quantum_info import PauliList
from qiskit.utils import apply_prefix

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution import circuits, learning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qiskit.circuit import Instruction, QuantumCircuit
    from qiskit.primitives.containers.estimator_pub import EstimatorPub
    from qiskit.primitives.containers.sampler_pub import SamplerPub

    from session_block.local_platform.execution.layers import Layer

DEFAULT_REP_DELAY_SECONDS = 250e-6
LEARNING_BASES = 9
"""These measure all Paulis on pairs of qubits, however many there are."""
_NANOSECOND = 1e-9


@dataclass(frozen=True)
class Load:
    """What a job runs on the device.

    Attributes:
        executions: Number of runs of a circuit.
        seconds: Their QPU time, repetition delays included.
        gate_seconds: The part of it that the gates take, without readout and delays.
    """

    executions: int = 0
    seconds: float = 0.0
    gate_seconds: float = 0.0

    def and_runs(self, times: int, length: float, delay: float, gates: float = 0.0) -> Load:
        """Return the load with some more executions, each of a length and with a delay."""
        return Load(
            self.executions + times,
            self.seconds + times * (length + delay),
            self.gate_seconds + times * gates,
        )


class Timing:
    """The durations of a recorded device, in seconds."""

    def __init__(self, recording: str) -> None:
        configuration = recordings.configuration(recording)
        properties = recordings.properties(recording)
        delay = configuration.get("default_rep_delay")
        self._rep_delay = (
            DEFAULT_REP_DELAY_SECONDS if delay is None else delay * recordings.MICROSECOND
        )
        self._dt = configuration["dt"] * _NANOSECOND
        self._gates = {
            (gate["gate"], tuple(gate["qubits"])): recordings.values(gate["parameters"])[
                "gate_length"
            ]
            for gate in properties["gates"]
        }
        for index, qubit in enumerate(properties["qubits"]):
            self._gates["measure", (index,)] = recordings.values(qubit)["readout_length"]

    def rep_delay_seconds(self, options: Mapping[str, Any]) -> float:
        """Return the delay after each shot: from the job's options, else the device's default."""
        execution = options.get("execution") or options
        delay = execution.get("rep_delay")
        return self._rep_delay if delay is None else float(delay)

    def circuit_seconds(self, circuit: QuantumCircuit) -> float:
        """Return the duration of one shot of an ISA circuit."""
        return self._seconds(circuit, range(circuit.num_qubits))

    def longest_seconds(self, places: Iterable[tuple[str, tuple[int, ...]]]) -> float:
        """Return the time of some gates at once, each by name and qubits."""
        return max((self._gates.get(place, 0.0) for place in places), default=0.0)

    def readout_seconds(self, qubits: Sequence[int]) -> float:
        """Return the time to measure some qubits at once."""
        return self.longest_seconds(("measure", (qubit,)) for qubit in qubits)

    def _seconds(self, circuit: QuantumCircuit, places: Sequence[int]) -> float:
        free_at: dict[Any, float] = {}
        for step in circuit.data:
            bits = (*step.qubits, *step.clbits)
            qubits = tuple(places[circuit.find_bit(bit).index] for bit in step.qubits)
            start = max((free_at.get(bit, 0.0) for bit in bits), default=0.0)
            end = start + self._step_seconds(step.operation, qubits)
            free_at.update(dict.fromkeys(bits, end))
        return max(free_at.values(), default=0.0)

    def _step_seconds(self, operation: Instruction, qubits: tuple[int, ...]) -> float:
        if blocks := getattr(operation, "blocks", ()):
            longest = max(self._seconds(block, qubits) for block in blocks)
            turns = len(operation.params[0]) if isinstance(operation, ForLoopOp) else 1
            return turns * longest
        if operation.name == "delay":
            return self._delay_seconds(operation)
        return self._gates.get((operation.name, qubits), 0.0)

    def _delay_seconds(self, delay: Instruction) -> float:
        if not isinstance(delay.duration, Real):
            return 0.0
        length = float(delay.duration)
        return length * self._dt if delay.unit == "dt" else float(apply_prefix(length, delay.unit))


@cache
def timing(recording: str) -> Timing:
    """Return the durations of a recorded device. Cached."""
    return Timing(recording)


def sampler_load(recording: str, options: Mapping[str, Any], pubs: Sequence[SamplerPub]) -> Load:
    """Return what a sampler job runs."""
    device = timing(recording)
    delay = device.rep_delay_seconds(options)
    load = Load()
    for pub in pubs:
        runs = pub.shots * pub.parameter_values.size
        load = load.and_runs(runs, device.circuit_seconds(pub.circuit), delay)
    return load


def estimator_load(
    recording: str,
    options: Mapping[str, Any],
    pubs: Sequence[EstimatorPub],
    shots: Sequence[int],
) -> Load:
    """Return what an estimator job runs.

    Args:
        recording: Name of the device's recording.
        options: The job's options.
        pubs: The job's PUBs.
        shots: For each PUB, the number of shots per measurement basis.
    """
    device = timing(recording)
    delay = device.rep_delay_seconds(options)
    load = Load()
    for pub, runs in zip(pubs, shots, strict=True):
        qubits = sorted(circuits.observed(pub.observables))
        terms = circuits.all_reduced_terms(pub.observables, qubits)
        bases = measurement_bases(pub.parameter_values.shape, terms)
        gates = device.circuit_seconds(pub.circuit)
        load = load.and_runs(runs * bases, gates + device.readout_seconds(qubits), delay, gates)
    return load


def executor_load(
    recording: str,
    options: Mapping[str, Any],
    items: Sequence[tuple[QuantumCircuit, int]],
    shots: int,
) -> Load:
    """Return what an executor job runs.

    Args:
        recording: Name of the device's recording.
        options: The job's options.
        items: Circuits, each with its number of parameter points.
        shots: Number of shots per point.
    """
    device = timing(recording)
    delay = device.rep_delay_seconds(options)
    load = Load()
    for circuit, points in items:
        load = load.and_runs(shots * points, device.circuit_seconds(circuit), delay)
    return load


def learner_load(recording: str, options: Mapping[str, Any], layers: Sequence[Layer]) -> Load:
    """Return what a noise learner job runs: its layers are learned one by one.

    A layer of gates is repeated as often as each of the depths says, and measured in nine bases,
    as the client documents it. A layer of measurements is run once.

    Args:
        recording: Name of the device's recording.
        options: All of the job's options.
        layers: The layers to learn.
    """
    device = timing(recording)
    delay = device.rep_delay_seconds(options)
    runs = options["num_randomizations"] * options["shots_per_randomization"]
    load = Load()
    for layer in layers:
        twirling = device.longest_seconds(
            (learning.TWIRLING_GATE, (qubit,)) for qubit in layer.qubits
        )
        twirling *= learning.TWIRLING_GATES
        once = twirling + device.readout_seconds(layer.qubits)
        if layer.is_measured:
            load = load.and_runs(runs, once, delay)
            continue
        gates = device.longest_seconds((gate.name, gate.qubits) for gate in layer.gates)
        for depth in options["layer_pair_depths"]:
            length = 2 * depth * (twirling + gates) + once
            load = load.and_runs(runs * LEARNING_BASES, length, delay)
    return load


def measurement_bases(shape: tuple[int, ...], terms: np.ndarray[Any, Any]) -> int:
    """Return the number of measurement bases of an estimator PUB, summed over parameter points.

    Terms that commute qubit by qubit share a basis. A constant needs none.

    Args:
        shape: Shape of the parameter points.
        terms: Observables as lists of Pauli labels and weights; broadcasts against the points.
    """
    points = np.arange(math.prod(shape)).reshape(shape)
    labels: list[set[str]] = [set() for _ in range(points.size)]
    for point, observable in np.broadcast(points, terms):
        labels[point].update(label for label, _ in observable if label.strip("I"))
    counts = {
        wanted: len(PauliList(sorted(wanted)).group_commuting(qubit_wise=True)) if wanted else 0
        for wanted in map(frozenset, labels)
    }
    return sum(counts[frozenset(wanted)] for wanted in labels)
