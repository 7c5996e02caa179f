"""The noise models that a noise learner finds: they follow from the device's recorded noise.

Nothing is measured. A model holds the rates of the noise that :mod:`.noise` applies to a layer,
after Pauli twirling: of each gate in the layer, and of the two sx gates with which the client
twirls each qubit before it. Idle qubits have no other noise. As in IBM's own learning package
(qiskit-noise-learning 0.1, which measures the same model on this platform):

- generators act on one qubit, or on two that the device couples;
- a generator and what the layer makes of it share a rate, because repeating the layer cannot tell
  them apart (arXiv:2201.09866); it is the mean of both;
- of a measurement the model is a bit flip of each qubit, the mean of both recorded flips.

Guesses: the order of the generators; that the rates are exact, with standard errors of zero,
however few shots the options ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford, Pauli, PauliList, QubitSparsePauliList

from session_block.local_platform.execution.layers import Layer
from session_block.local_platform.execution.noise import NoisyDevice

TWIRLING_GATE = "sx"
TWIRLING_GATES = 2
"""So many gates of this name make any gate on one qubit, with virtual rotations between them."""

Array = np.ndarray[Any, Any]
Generator = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Model:
    """A sparse Pauli-Lindblad model.

    Attributes:
        num_qubits: Number of the layer's qubits, which are numbered from zero.
        generators: Groups that share a rate; each generator as Pauli letters and their qubits.
        rates: The rate of every generator in each group.
    """

    num_qubits: int
    generators: tuple[tuple[Generator, ...], ...]
    rates: tuple[float, ...]


def of_gates(layer: Layer, device: NoisyDevice, *, has_noise: bool) -> Model:
    """Return the model of a layer of gates.

    Args:
        layer: The layer.
        device: The layer's qubits, in its order.
        has_noise: Whether jobs have this noise; if not, all rates are zero.

    Raises:
        ValueError: The layer is not Clifford, it has a gate on qubits that are not coupled, or the
            error of a gate is so large that it leaves no Pauli-Lindblad model.
    """
    _require_coupled(layer, device)
    generators = list(_generators(device))
    rates = dict.fromkeys(generators, 0.0)
    if has_noise:
        for generator, rate in _layer_rates(layer, device):
            rates[generator] += rate
    groups = _indistinguishable(layer, generators)
    means = (float(np.mean([rates[one] for one in group])) for group in groups)
    return Model(len(layer.qubits), groups, tuple(means))


def of_measurements(layer: Layer, device: NoisyDevice, *, has_noise: bool) -> Model:
    """Return the model of a layer that measures all its qubits: a bit flip of each.

    Arguments and errors as for :func:`of_gates`.
    """
    qubits = range(len(layer.qubits))
    rates = [0.0 for _ in qubits]
    if has_noise:
        # Bits flip also by errors of the twirling gates: by all that anticommute with Z.
        rates = [
            _flip_rate(device.readout_flips(qubit))
            + sum(rate for (letter, _), rate in _twirling_rates(device, qubit) if letter != "Z")
            for qubit in qubits
        ]
    return Model(len(rates), tuple((("X", (qubit,)),) for qubit in qubits), tuple(rates))


def _require_coupled(layer: Layer, device: NoisyDevice) -> None:
    coupled = [{layer.qubits[qubit] for qubit in pair} for pair in device.coupled_pairs()]
    for gate in layer.gates:
        if len(gate.qubits) > 1 and set(gate.qubits) not in coupled:
            raise ValueError(f"{gate.name} on qubits {gate.qubits}: the device has no such gate")


def _generators(device: NoisyDevice) -> Iterator[Generator]:
    for qubit in range(device.target.num_qubits):
        for letter in "XYZ":
            yield letter, (qubit,)
    for pair in device.coupled_pairs():
        for letters in product("XYZ", repeat=2):
            yield "".join(letters), pair


def _layer_rates(layer: Layer, device: NoisyDevice) -> Iterator[tuple[Generator, float]]:
    # The noise of the twirling gates lies before the layer, that of its gates after it. As no rate
    # is told apart from that on the layer's other side, it does not matter.
    for qubit in range(len(layer.qubits)):
        yield from _twirling_rates(device, qubit)
    for gate in layer.gates:
        qubits = tuple(layer.qubits.index(qubit) for qubit in gate.qubits)
        yield from _rates(device, gate.name, qubits)


def _twirling_rates(device: NoisyDevice, qubit: int) -> Iterator[tuple[Generator, float]]:
    for generator, rate in _rates(device, TWIRLING_GATE, (qubit,)):
        yield generator, TWIRLING_GATES * rate


def _flip_rate(flips: tuple[float, float]) -> float:
    """Return the rate of X that flips as often as the mean of both probabilities."""
    fidelity = 1 - sum(flips)
    if fidelity <= 0:
        raise ValueError(f"a qubit is read wrongly too often for a noise model: {flips}")
    return -math.log(fidelity) / 2


def _rates(
    device: NoisyDevice, gate: str, qubits: tuple[int, ...]
) -> Iterator[tuple[Generator, float]]:
    """Give the rates of one gate's noise, all 3 or 15 generators on its qubits."""
    fidelities = device.pauli_fidelities(gate, qubits)
    if np.min(fidelities) <= 0:
        raise ValueError(
            f"the recorded error of {gate} on qubits {qubits} of the layer is too large for a "
            "Pauli-Lindblad model"
        )
    labels, matrix = _anticommutation(len(qubits))
    # A fidelity is the product of exp(-2 rate) over all generators that anticommute with its Pauli.
    rates = np.linalg.solve(-2 * matrix, np.log(fidelities))
    for label, rate in zip(labels, rates, strict=True):
        letters = [(qubit, letter) for qubit, letter in zip(qubits, label[::-1], strict=True)]
        acting = sorted((qubit, letter) for qubit, letter in letters if letter != "I")
        generator = "".join(letter for _, letter in acting), tuple(qubit for qubit, _ in acting)
        # What is negative here is a rounding error.
        yield generator, max(float(rate), 0.0)


@cache
def _anticommutation(num_qubits: int) -> tuple[list[str], Array]:
    """Return all Paulis but the identity, and which of them anticommute (0 or 1)."""
    labels = ["".join(letters) for letters in product("IXYZ", repeat=num_qubits)][1:]
    paulis = [Pauli(label) for label in labels]
    return labels, np.array([[int(one.anticommutes(other)) for other in paulis] for one in paulis])


def _indistinguishable(
    layer: Layer, generators: list[Generator]
) -> tuple[tuple[Generator, ...], ...]:
    """Return the generators in groups: those that the layer turns into each other share one."""
    sparse = QubitSparsePauliList.from_sparse_list(generators, len(layer.qubits))
    images = _labels(sparse.to_pauli_list().evolve(_clifford(layer), frame="s"))
    known = dict(zip(_labels(sparse.to_pauli_list()), generators, strict=True))
    partners = {
        generator: known.get(image, generator)
        for generator, image in zip(generators, images, strict=True)
    }
    groups: dict[frozenset[Generator], tuple[Generator, ...]] = {}
    for generator, partner in partners.items():
        alone = partner == generator or partners[partner] != generator
        group = (generator,) if alone else (generator, partner)
        groups.setdefault(frozenset(group), group)
    return tuple(groups.values())


def _labels(paulis: PauliList) -> list[str]:
    return [label.lstrip("-i") for label in paulis.to_labels()]


def _clifford(layer: Layer) -> Clifford:
    try:
        return Clifford(layer.circuit())
    except QiskitError as error:
        raise ValueError(f"no noise is learned of a layer that is not Clifford: {error}") from error
