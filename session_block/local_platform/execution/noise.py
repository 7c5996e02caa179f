"""Device noise: runs a circuit with the gate and readout errors of the recorded device.

The noise is Aer's model of a backend. Each gate is followed by relaxation (T1, T2) over its
duration, and by the depolarisation that makes up the rest of its recorded error. Qubits relax
during delays. A measured bit flips with the recorded probabilities, which differ for 0 and 1.
Limits: a qubit that idles without a delay in the circuit does not relax, and there is neither
crosstalk nor leakage.

Only the qubits that a circuit keeps and the gates that it uses enter the model, so that a small
circuit costs the same on a device of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from qiskit.circuit import Delay, Measure, Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, Options, QubitProperties
from qiskit.quantum_info import PTM
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_aer.noise.device import basic_device_gate_errors

from session_block.local_platform.devices import drift, recordings
from session_block.local_platform.execution import methods, parts
from session_block.local_platform.execution.seeding import content_seed
from session_block.local_platform.execution.simulator import Simulator

_NANOSECOND = 1e-9
_ZERO = 1e-8
_PAIR = 2
_CACHED_DEVICES = 64
_CACHED_MODELS = 8
_CACHED_PARTS = 64
_CACHED_CALIBRATIONS = 8

# Readout is modelled separately, with its two flip probabilities.
_GATES = {
    name: gate for name, gate in get_standard_gate_name_mapping().items() if name != "measure"
}

Array = np.ndarray[Any, Any]
Values = dict[str, float]
Place = tuple[str, tuple[int, ...]]


class NoisyDevice(BackendV2):  # type: ignore[misc]  # Qiskit is untyped
    """The kept qubits of a device as a separate backend that simulates with noise."""

    def __init__(self, qubits: Sequence[Values], gates: Mapping[Place, Values], dt: float) -> None:
        super().__init__(name="noisy device")
        self._qubits = qubits
        self._gates = gates
        self._dt = dt
        self._target = _target(qubits, gates, dt)
        self._part = lru_cache(maxsize=_CACHED_PARTS)(self._new_part)
        self._noise_model = lru_cache(maxsize=_CACHED_MODELS)(self._new_noise_model)

    @property
    def target(self) -> Target:
        """The gates among the kept qubits, numbered from zero."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """No limit: any number of circuits can be run at once."""
        return

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: list[QuantumCircuit], **options: Any) -> Any:
        """Run circuits without free parameters.

        Raises:
            TooBigToSimulateError: They cannot be simulated in reasonable time and memory.
        """
        return self.simulator(run_input, options["shots"]).run(run_input, **options)

    def simulator(self, wanted: list[QuantumCircuit], shots: int) -> Simulator:
        """Return a simulator of this device, with the fastest method for the circuits.

        Raises:
            TooBigToSimulateError: They cannot be simulated in reasonable time and memory.
        """
        method = methods.choose(wanted, shots)
        used = frozenset(chain.from_iterable(map(_used, wanted))).intersection(self._gates)
        return Simulator(method, self._target.num_qubits, noise_model=self._noise_model(used))

    def _new_part(self, qubits: tuple[int, ...]) -> NoisyDevice:
        return NoisyDevice(
            [self._qubits[index] for index in qubits], _among(self._gates, qubits), self._dt
        )

    def _new_noise_model(self, used: frozenset[Place]) -> NoiseModel:
        gates = {place: values for place, values in self._gates.items() if place in used}
        part = NoisyDevice(self._qubits, gates, self._dt)
        model = NoiseModel.from_backend(part, readout_error=False)
        model.add_basis_gates(list(self._target.operation_names))
        for index in range(len(self._qubits)):
            one_for_zero, zero_for_one = self.readout_flips(index)
            flips = [[1 - one_for_zero, one_for_zero], [zero_for_one, 1 - zero_for_one]]
            model.add_readout_error(ReadoutError(flips), [index])
        return model

    def readout_flips(self, qubit: int) -> tuple[float, float]:
        """Return how likely a qubit is read as 1 if it is 0, and as 0 if it is 1."""
        values = self._qubits[qubit]
        return values["prob_meas1_prep0"], values["prob_meas0_prep1"]

    def coupled_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of qubits that have a common gate; each once, in ascending order."""
        pairs = {tuple(sorted(qubits)) for _, qubits in self._gates if len(qubits) == _PAIR}
        return [(first, second) for first, second in sorted(pairs)]

    def pauli_fidelities(self, gate: str, qubits: tuple[int, ...]) -> Array:
        """Return how much of each Pauli but the identity a gate's noise leaves.

        Ordered as the labels from ``X`` to ``Z``, or from ``IX`` to ``ZZ`` with the first qubit on
        the right. All are 1 if the gate has no recorded error.
        """
        values = self._gates.get((gate, qubits))
        place = {} if values is None else {(gate, tuple(range(len(qubits)))): values}
        part = NoisyDevice([self._qubits[qubit] for qubit in qubits], place, self._dt)
        fidelities = np.ones(4 ** len(qubits) - 1)
        for _, _, error in basic_device_gate_errors(target=part.target):
            fidelities = np.real(np.diag(PTM(error.to_quantumchannel()).data))[1:]
        return fidelities

    def sample(self, pub: SamplerPub, seed: int) -> DataBin:
        """Sample a PUB part by part. Return arrays of bits by register.

        Raises:
            TooBigToSimulateError: They cannot be simulated in reasonable time and memory.
        """
        groups = parts.independent(pub.circuit)
        if len(groups) <= 1:
            return self.sample_whole(pub, seed)
        return parts.together(
            [
                self._part(qubits).sample_whole(parts.part(pub, qubits), content_seed(seed, index))
                for index, qubits in enumerate(groups)
            ]
        )

    def sample_whole(self, pub: SamplerPub, seed: int) -> DataBin:
        """Sample a PUB in one piece. Return arrays of bits by register."""
        sampler = BackendSamplerV2(backend=self, options={"seed_simulator": seed})
        return sampler.run([pub]).result()[0].data

    def expectation_values(
        self,
        circuit: QuantumCircuit,
        values: BindingsArray,
        terms: Array,
        precision: float,
        seed: int,
    ) -> tuple[Array, Array]:
        """Return expectation values and standard errors, as float arrays of the broadcast shape.

        Every group of qubit-wise commuting terms is measured with ``1 / precision**2`` shots.

        Args:
            circuit: A circuit on the kept qubits only.
            values: Values of the circuit's parameters.
            terms: Observables as lists of Pauli labels and weights; an object array whose shape
                broadcasts against that of the values.
            precision: The wanted standard error of a single Pauli.
            seed: Seed of all random choices.
        """
        constant = {"I" * circuit.num_qubits: 1.0}
        observables = np.empty(terms.shape, dtype=object)
        # Qiskit refuses an observable if all its terms cancel.
        remains = np.ones(terms.shape)
        for index in np.ndindex(terms.shape):
            observable = {label: weight for label, weight in terms[index] if abs(weight) > _ZERO}
            observables[index] = observable or constant
            remains[index] = bool(observable)
        pub = EstimatorPub.coerce((circuit, observables.tolist(), values, precision))
        estimator = BackendEstimatorV2(backend=self, options={"seed_simulator": seed})
        data = estimator.run([pub]).result()[0].data
        return np.asarray(data.evs * remains), np.asarray(data.stds)


@lru_cache(maxsize=_CACHED_DEVICES)
def device(
    recording: str, backend: str, seed: int, calibration: int, kept: tuple[int, ...]
) -> NoisyDevice:
    """Return the kept qubits of a device, with its noise after a calibration."""
    properties = _properties(recording, backend, seed, calibration)
    gates = {
        (gate["gate"], tuple(gate["qubits"])): recordings.values(gate["parameters"])
        for gate in properties["gates"]
        if gate["gate"] in _GATES
    }
    qubits = [recordings.values(properties["qubits"][index]) for index in kept]
    dt = recordings.configuration(recording)["dt"] * _NANOSECOND
    return NoisyDevice(qubits, _among(gates, kept), dt)


@lru_cache(maxsize=_CACHED_CALIBRATIONS)
def _properties(recording: str, backend: str, seed: int, calibration: int) -> dict[str, Any]:
    recorded = recordings.properties(recording)
    return drift.drifted(recorded, seed=seed, backend=backend, number=calibration)


def _among(gates: Mapping[Place, Values], kept: Sequence[int]) -> dict[Place, Values]:
    place = {qubit: index for index, qubit in enumerate(kept)}
    return {
        (name, tuple(place[qubit] for qubit in qubits)): values
        for (name, qubits), values in gates.items()
        if all(qubit in place for qubit in qubits)
    }


def _target(qubits: Sequence[Values], gates: Mapping[Place, Values], dt: float) -> Target:
    target = Target(
        num_qubits=len(qubits),
        dt=dt,
        qubit_properties=[
            QubitProperties(t1=values.get("T1"), t2=values.get("T2")) for values in qubits
        ],
    )
    places: dict[str, dict[tuple[int, ...], InstructionProperties]] = {}
    for (name, where), values in gates.items():
        places.setdefault(name, {})[where] = InstructionProperties(
            duration=values.get("gate_length"), error=values.get("gate_error")
        )
    for name, properties in places.items():
        target.add_instruction(_GATES[name], properties)
    everywhere = {(index,): None for index in range(len(qubits))}
    target.add_instruction(Measure(), everywhere)
    target.add_instruction(Delay(Parameter("t")), everywhere)
    return target


def _used(circuit: QuantumCircuit) -> Iterator[Place]:
    for step in circuit.data:
        qubits = tuple(circuit.find_bit(bit).index for bit in step.qubits)
        yield step.operation.name, qubits
        for block in getattr(step.operation, "blocks", ()):
            for name, places in _used(block):
                yield name, tuple(qubits[place] for place in places)
