"""Device noise: a circuit run as the recorded device would, with its gate and readout errors.

The noise is Aer's model of a backend. Each gate is followed by relaxation (T1, T2) over its own
length, and by as much depolarisation as its recorded error needs beyond that; delays relax; a
measured bit flips with the recorded probabilities, which differ for 0 and 1. Limits: a qubit that
idles without a delay in the circuit does not relax, qubits do not disturb each other (crosstalk),
and nothing leaks out of a qubit.

Only the qubits that a circuit keeps enter the model, so that a small circuit costs the same on a
device of any size.
"""

from __future__ import annotations

from functools import lru_cache
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
from qiskit.transpiler import InstructionProperties, Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError

from session_block.local_platform import drift, methods, recordings

_NANOSECOND = 1e-9
_ZERO = 1e-8
_CACHED_DEVICES = 64
_CACHED_CALIBRATIONS = 8

Array = np.ndarray[Any, Any]


class NoisyDevice(BackendV2):  # type: ignore[misc]  # Qiskit is untyped
    """The kept qubits of a device as a backend of their own, whose runs are noisy simulations."""

    def __init__(self, target: Target, noise_model: NoiseModel) -> None:
        super().__init__(name="noisy device")
        self._target = target
        self._noise_model = noise_model

    @property
    def target(self) -> Target:
        """The gates among the kept qubits, numbered from zero."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """Any number of circuits is run at once."""
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

    def simulator(self, wanted: list[QuantumCircuit], shots: int) -> AerSimulator:
        """Return a simulator of this device by the method that fits the circuits.

        Raises:
            TooBigToSimulateError: They cannot be simulated in reasonable time and memory.
        """
        simulator = AerSimulator(
            method=methods.choose(wanted, shots),
            noise_model=self._noise_model,
            max_parallel_threads=1,
        )
        simulator.set_max_qubits(self._target.num_qubits)
        return simulator

    def sample(self, pub: SamplerPub, seed: int) -> DataBin:
        """Return samples of a PUB, as arrays of bits by register."""
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
            values: Values of its parameters.
            terms: Observables as lists of Pauli labels and weights; an object array whose shape
                broadcasts against that of the values.
            precision: The wanted standard error of a single Pauli.
            seed: Of all random choices.
        """
        constant = {"I" * circuit.num_qubits: 1.0}
        observables = np.empty(terms.shape, dtype=object)
        # Qiskit refuses observables whose terms cancel each other.
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
    """Return the kept qubits of a device with the noise that it has after a calibration."""
    configuration = recordings.configuration(recording)
    properties = _properties(recording, backend, seed, calibration)
    qubits = [recordings.values(properties["qubits"][index]) for index in kept]
    target = _target(qubits, properties["gates"], kept, configuration["dt"] * _NANOSECOND)
    made = NoisyDevice(target, NoiseModel())
    noise_model = NoiseModel.from_backend(made, readout_error=False)
    for index, values in enumerate(qubits):
        one_for_zero, zero_for_one = values["prob_meas1_prep0"], values["prob_meas0_prep1"]
        flips = [[1 - one_for_zero, one_for_zero], [zero_for_one, 1 - zero_for_one]]
        noise_model.add_readout_error(ReadoutError(flips), [index])
    return NoisyDevice(target, noise_model)


@lru_cache(maxsize=_CACHED_CALIBRATIONS)
def _properties(recording: str, backend: str, seed: int, calibration: int) -> dict[str, Any]:
    recorded = recordings.properties(recording)
    return drift.drifted(recorded, seed=seed, backend=backend, number=calibration)


def _target(
    qubits: list[dict[str, float]],
    gates: list[dict[str, Any]],
    kept: tuple[int, ...],
    dt: float,
) -> Target:
    place = {qubit: index for index, qubit in enumerate(kept)}
    known = get_standard_gate_name_mapping()
    found: dict[str, dict[tuple[int, ...], InstructionProperties]] = {}
    for gate in gates:
        name = gate["gate"]
        if name in known and name != "measure" and all(qubit in place for qubit in gate["qubits"]):
            values = recordings.values(gate["parameters"])
            where = tuple(place[qubit] for qubit in gate["qubits"])
            found.setdefault(name, {})[where] = InstructionProperties(
                duration=values.get("gate_length"), error=values.get("gate_error")
            )
    target = Target(
        num_qubits=len(kept),
        dt=dt,
        qubit_properties=[
            QubitProperties(t1=values.get("T1"), t2=values.get("T2")) for values in qubits
        ],
    )
    for name, places in found.items():
        target.add_instruction(known[name], places)
    readout = {
        (index,): InstructionProperties(duration=values["readout_length"])
        for index, values in enumerate(qubits)
    }
    target.add_instruction(Measure(), readout)
    target.add_instruction(Delay(Parameter("t")), {(index,): None for index in range(len(kept))})
    return target
