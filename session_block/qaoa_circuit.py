"""The circuit of QAOA, its angles, and where to begin with them.

The convention is that of Farhi, Goldstone and Gutmann (arXiv:1411.4028): on the state that is the
sum of all bit strings act, p times, exp(−iγ_l C) and then exp(−iβ_l ΣX), where C is what becomes
large: the cut, or minus the energy. On an even ring γ = π/4, β = π/8 cut ¾ of the edges. Qiskit's
own ansatz has the energy itself in the place of C, so its γ have the other sign.

Points are ``[γ_1, …, γ_p, β_1, …, β_p]``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from session_block.ising import SpinProblem

Point = NDArray[np.float64]

_GAMMA_END, _BETA_BEGIN = 1.1, 0.75
"""Of the linear ramp. No other pair that was tried was much better on rings, cubic, random and
complete graphs, weighted or not, with 1 to 8 layers."""


def qaoa_circuit(problem: SpinProblem, reps: int) -> QuantumCircuit:
    """Return the circuit, not measured; its parameters are :func:`angle_names`."""
    gammas, betas = ParameterVector("γ", reps), ParameterVector("β", reps)
    couplings, fields, _ = problem.terms
    sign = 1 if problem.maximised else -1
    circuit = QuantumCircuit(problem.num_nodes, name="qaoa")
    circuit.h(circuit.qubits)
    for gamma, beta in zip(gammas, betas, strict=True):
        for first, second, coupling in couplings:
            if coupling:
                circuit.rzz(2 * sign * coupling * gamma, first, second)
        for node, field in fields:
            if field:
                circuit.rz(2 * sign * field * gamma, node)
        circuit.rx(2 * beta, circuit.qubits)
    return circuit


def angle_names(reps: int) -> tuple[str, ...]:
    """Return the names of the circuit's parameters, in the order of a point's angles."""
    return tuple(f"{letter}[{layer}]" for letter in "γβ" for layer in range(reps))


def units(problem: SpinProblem, reps: int) -> Point:
    """Return the units in which angles are of order 1, whatever the problem's weights are.

    γ counts in units of 1 / strength (compare Sureshbabu et al., arXiv:2305.15201), β in radians.
    """
    return np.repeat([1 / problem.strength, 1.0], reps)


def linear_ramp(reps: int) -> Point:
    """Return a point, in :func:`units`, where γ rises and β falls, as in annealing.

    γ_l = 1.1 t_l and β_l = 0.75 (1 − t_l), with t_l = (l − ½) / p; compare Sack and Serbyn,
    arXiv:2101.05742.
    """
    times = (np.arange(reps) + 0.5) / reps
    return np.concatenate([_GAMMA_END * times, _BETA_BEGIN * (1 - times)])


def random_point(reps: int, random: np.random.Generator) -> Point:
    """Draw a point, in :func:`units`: γ uniformly from ±π, β from ±π/2."""
    reach = np.repeat([math.pi, math.pi / 2], reps)
    return random.uniform(-reach, reach)
