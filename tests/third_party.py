"""Other people's algorithms, unmodified, on durable primitives; each returns its way and its end.

Run as a program it runs one of them: ``third_party.py STATE_DIR LEDGER_URL EXPERIMENT ALGORITHM``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import QAOA, VQE, SamplingVQE
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from qiskit_algorithms.optimizers import COBYLA, NFT, SPSA, GradientDescent, Optimizer
from qiskit_algorithms.utils import algorithm_globals
from scipy.optimize import minimize
from support import BACKEND

from session_block import DurableEstimator, DurableSampler, LocalPlatformCredentials, QuantumSession
from session_block.algorithms.hamiltonians import H2_PAULIS
from session_block.experiments.experiment import Experiment

H2 = SparsePauliOp.from_list(list(H2_PAULIS))
CUT = SparsePauliOp(["ZZ", "ZI"], [1.0, 0.5])
POINT = [0.1, 0.2, 0.3, 0.4]

Way = list[Any]


def _estimator(experiment: Experiment) -> DurableEstimator:
    return DurableEstimator(experiment, options={"default_precision": 0.05})


def _sampler(experiment: Experiment) -> DurableSampler:
    return DurableSampler(experiment, options={"default_shots": 256})


def _vqe(experiment: Experiment, optimizer: Optimizer, **more: Any) -> Way:
    way: Way = []
    found = VQE(
        _estimator(experiment),
        real_amplitudes(2, reps=1),
        optimizer,
        initial_point=np.array(POINT),
        callback=lambda count, point, value, _: way.append([count, list(point), value]),
        **more,
    ).compute_minimum_eigenvalue(H2)
    return [*way, float(np.real(found.eigenvalue)), list(found.optimal_point)]


def vqe_cobyla(experiment: Experiment) -> Way:
    """VQE with COBYLA, and a transpiler of the experiment's own."""
    return _vqe(experiment, COBYLA(maxiter=8), transpiler=experiment.transpiler())


def vqe_spsa(experiment: Experiment) -> Way:
    """VQE with SPSA, whose seed is drawn once."""
    seed = experiment.once("seed", lambda: int(np.random.default_rng().integers(2**31)))
    algorithm_globals.random_seed = seed
    return _vqe(experiment, SPSA(maxiter=3, learning_rate=0.1, perturbation=0.1))


def vqe_nft(experiment: Experiment) -> Way:
    """VQE with NFT."""
    return _vqe(experiment, NFT(maxfev=9))


def vqe_gradient(experiment: Experiment) -> Way:
    """VQE with gradient descent and parameter-shift gradients."""
    gradient = ParamShiftEstimatorGradient(_estimator(experiment))
    return _vqe(experiment, GradientDescent(maxiter=4, learning_rate=0.1), gradient=gradient)


def sampling_vqe(experiment: Experiment) -> Way:
    """SamplingVQE with COBYLA."""
    found = SamplingVQE(
        _sampler(experiment),
        real_amplitudes(2, reps=1),
        COBYLA(maxiter=8),
        initial_point=np.array(POINT),
    ).compute_minimum_eigenvalue(CUT)
    return [
        float(found.eigenvalue.real),
        list(found.optimal_point),
        found.best_measurement["value"].real,
    ]


def qaoa(experiment: Experiment) -> Way:
    """QAOA with COBYLA."""
    found = QAOA(
        _sampler(experiment), COBYLA(maxiter=8), reps=2, initial_point=np.array(POINT)
    ).compute_minimum_eigenvalue(CUT)
    return [
        float(found.eigenvalue.real),
        list(found.optimal_point),
        found.best_measurement["bitstring"],
    ]


def estimator_qnn(experiment: Experiment) -> Way:
    """An EstimatorQNN, trained to two points."""
    from qiskit_machine_learning.algorithms import NeuralNetworkRegressor
    from qiskit_machine_learning.neural_networks import EstimatorQNN
    from qiskit_machine_learning.optimizers import COBYLA as MLCOBYLA

    features, ansatz = zz_feature_map(2, reps=1), real_amplitudes(2, reps=1)
    network = EstimatorQNN(
        circuit=features.compose(ansatz),
        estimator=_estimator(experiment),
        input_params=features.parameters,
        weight_params=ansatz.parameters,
        default_precision=0.05,
    )
    way: Way = []
    regressor = NeuralNetworkRegressor(
        network,
        optimizer=MLCOBYLA(maxiter=8),
        initial_point=np.array(POINT),
        callback=lambda weights, loss: way.append([list(weights), float(loss)]),
    )
    regressor.fit(np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.5, -0.5]))
    return [*way, list(regressor.weights)]


def scipy_minimize(experiment: Experiment) -> Way:
    """Nothing but scipy.optimize.minimize."""
    estimator = _estimator(experiment)
    circuit = real_amplitudes(2, reps=1)
    way: Way = []

    def energy(point: Any) -> float:
        value = float(estimator.run([(circuit, H2, point)]).result()[0].data.evs)
        way.append([list(point), value])
        return value

    minimize(energy, POINT, method="Powell", options={"maxfev": 8, "maxiter": 1})
    return way


ALGORITHMS: dict[str, Callable[[Experiment], Way]] = {
    one.__name__: one
    for one in (
        vqe_cobyla,
        vqe_spsa,
        vqe_nft,
        vqe_gradient,
        sampling_vqe,
        qaoa,
        estimator_qnn,
        scipy_minimize,
    )
}


def main() -> None:
    """Run one algorithm, and print its way."""
    state_dir, ledger_url, name, algorithm = sys.argv[1:]
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )
    with block.experiment(name) as experiment:
        print(json.dumps(ALGORITHMS[algorithm](experiment), default=float))  # noqa: T201


if __name__ == "__main__":
    main()
