"""Runs a job on Aer: what a worker process does with a program and its parameters.

There is no device noise. ``exact`` gives expectation values without shot noise and standard
errors of zero; ``shots`` adds Gaussian noise of the width of the requested precision. Samples
are drawn from the ideal distribution in both. An executor job always samples, so its estimates
carry shot noise in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from qiskit.primitives.containers import (
    DataBin,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerError, AerSimulator
from qiskit_aer.primitives import SamplerV2

from session_block.local_platform import circuits, client_codec
from session_block.local_platform.seeding import content_seed

DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625
STATEVECTOR_QUBITS = 24
# What does not change the numbers that a job computes.
_IRRELEVANT_OPTIONS = ("environment", "max_execution_time")
_RANDOM_OPERATIONS = ("measure", "reset", "initialize")

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A job as a worker gets it: ``params`` is the JSON text that the client sent."""

    program: str
    backend: str
    params: str
    noise: str
    seed: int


def run(request: Request) -> str:
    """Return the job's result as text for the client.

    Raises:
        Exception: Whatever decoding or simulating raises; the job has then failed.
    """
    runners = {"sampler": _run_sampler, "estimator": _run_estimator, "executor": _run_executor}
    return runners[request.program](request)


def _run_sampler(request: Request) -> str:
    params = client_codec.decode_params(request.params)
    options = _options(params)
    default_shots = options.get("default_shots") or DEFAULT_SHOTS
    pubs = [_sampler_pub(pub, default_shots) for pub in params["pubs"]]
    small = [circuits.compact(pub.circuit) for pub in pubs]
    seed = _seed(
        request,
        options,
        [
            [circuits.structure(circuit), kept, _values(pub), pub.shots]
            for pub, (circuit, kept) in zip(pubs, small, strict=True)
        ],
    )
    results = []
    for index, (pub, (circuit, _)) in enumerate(zip(pubs, small, strict=True)):
        reduced = SamplerPub(circuit, pub.parameter_values, pub.shots)
        data = _sample(reduced, content_seed(seed, index))
        metadata = {"circuit_metadata": pub.circuit.metadata or {}, "shots": pub.shots}
        results.append(SamplerPubResult(data, metadata=metadata))
    return client_codec.encode_result(PrimitiveResult(results, metadata={"version": 2}))


def _sample(pub: SamplerPub, seed: int) -> DataBin:
    def attempt(simulator: AerSimulator) -> DataBin:
        sampler = SamplerV2.from_backend(simulator, seed=seed)
        return sampler.run([pub]).result()[0].data

    return _on_simulator(pub.circuit.num_qubits, attempt)


def _run_estimator(request: Request) -> str:
    params = client_codec.decode_params(request.params)
    options = _options(params)
    pubs = [EstimatorPub.coerce(tuple(pub)) for pub in params["pubs"]]
    precisions = [_precision(pub, options) for pub in pubs]
    small = [circuits.compact(pub.circuit) for pub in pubs]
    seed = _seed(
        request,
        options,
        [
            [circuits.structure(circuit), kept, _values(pub), pub.observables.tolist(), precision]
            for pub, (circuit, kept), precision in zip(pubs, small, precisions, strict=True)
        ],
    )
    results = []
    for index, (pub, precision) in enumerate(zip(pubs, precisions, strict=True)):
        shots = math.ceil(1.0 / precision**2)
        evs = _expectation_values(pub, *small[index], shots, content_seed(seed, index, "state"))
        stds = np.zeros_like(evs)
        if request.noise == "shots":
            rng = np.random.default_rng(content_seed(seed, index, "noise"))
            evs = np.asarray(evs + rng.normal(0.0, precision, evs.shape))
            stds = np.full_like(evs, precision)
        data = DataBin(evs=evs, stds=stds, ensemble_standard_error=stds.copy(), shape=evs.shape)
        metadata = {
            "shots": shots,
            "target_precision": precision,
            "circuit_metadata": pub.circuit.metadata or {},
        }
        results.append(PubResult(data, metadata=metadata))
    return client_codec.encode_result(PrimitiveResult(results, metadata={"version": 2}))


def _expectation_values(
    pub: EstimatorPub, circuit: Any, kept: tuple[int, ...], shots: int, seed: int
) -> np.ndarray[Any, Any]:
    """Return the expectation values of a PUB in its broadcast shape, as a float array."""
    values = _values(pub)
    points = np.arange(math.prod(values.shape[:-1])).reshape(values.shape[:-1])
    values = values.reshape(points.size, -1)
    pairs = np.broadcast(points, np.asarray(pub.observables))
    wanted: dict[int, list[tuple[int, list[tuple[str, float]]]]] = {}
    for flat, (place, observable) in enumerate(pairs):
        terms = circuits.reduced_terms(observable, kept)
        wanted.setdefault(place, []).append((flat, terms))
    evs = np.zeros(pairs.size)
    bound = []
    for place, requests in wanted.items():
        experiment = circuit.assign_parameters(values[place])
        for flat, terms in requests:
            if kept and terms:
                operator = SparsePauliOp.from_list(terms)
                experiment.save_expectation_value(operator, experiment.qubits, label=str(flat))
            else:
                evs[flat] = sum(weight for _, weight in terms)
        bound.append(experiment)
    if kept:
        runs = shots if _is_random(circuit) else 1
        for saved in _saved_values(bound, len(kept), runs, seed):
            for label, value in saved.items():
                evs[int(label)] = float(np.real(value))
    return evs.reshape(pairs.shape)


def _saved_values(
    experiments: list[Any], num_qubits: int, shots: int, seed: int
) -> list[dict[str, Any]]:
    def attempt(simulator: AerSimulator) -> list[dict[str, Any]]:
        result = simulator.run(experiments, shots=shots, seed_simulator=seed).result()
        if not result.success:
            raise AerError(f"simulation failed: {result.status}")
        return [result.data(index) for index in range(len(experiments))]

    return [
        {label: value for label, value in data.items() if label.isdigit()}
        for data in _on_simulator(num_qubits, attempt)
    ]


def _run_executor(request: Request) -> str:
    program = client_codec.decode_program(request.params)
    small = [circuits.compact(item.circuit) for item in program.items]
    seed = _seed(
        request,
        {},
        [
            [circuits.structure(circuit), kept, item.arguments, item.shape, program.shots]
            for item, (circuit, kept) in zip(program.items, small, strict=True)
        ],
    )
    data = []
    for index, (item, (circuit, kept)) in enumerate(zip(program.items, small, strict=True)):

        def attempt(
            simulator: AerSimulator, item: Any = item, circuit: Any = circuit, index: int = index
        ) -> dict[str, Any]:
            return client_codec.simulate_item(
                item,
                circuit,
                shots=program.shots,
                seed=content_seed(seed, index),
                simulator=simulator,
            )

        data.append(_on_simulator(len(kept), attempt))
    return client_codec.encode_program_result(program, data)


def _on_simulator(num_qubits: int, attempt: Callable[[AerSimulator], T]) -> T:
    """Run ``attempt`` with the first simulation method that can hold so many qubits.

    Wide circuits are tried as Clifford circuits first, then as weakly entangled ones.
    """
    if num_qubits <= STATEVECTOR_QUBITS:
        return attempt(AerSimulator(method="automatic", max_parallel_threads=1))
    simulator = AerSimulator(method="stabilizer", max_parallel_threads=1)
    simulator.set_max_qubits(num_qubits)
    try:
        return attempt(simulator)
    except AerError:
        simulator = AerSimulator(method="matrix_product_state", max_parallel_threads=1)
        simulator.set_max_qubits(num_qubits)
        return attempt(simulator)


def _seed(request: Request, options: Mapping[str, Any], content: list[Any]) -> int:
    relevant = {name: value for name, value in options.items() if name not in _IRRELEVANT_OPTIONS}
    return content_seed(request.seed, request.program, request.backend, relevant, content)


def _options(params: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(params.get("options") or {})
    if "resilience_level" in params:
        options["resilience_level"] = params["resilience_level"]
    return options


def _precision(pub: EstimatorPub, options: Mapping[str, Any]) -> float:
    if pub.precision:
        return float(pub.precision)
    if shots := options.get("default_shots"):
        return float(1.0 / math.sqrt(shots))
    return float(options.get("default_precision") or DEFAULT_PRECISION)


def _sampler_pub(pub: Any, default_shots: int) -> SamplerPub:
    circuit, *rest = pub
    values = rest[0] if rest else None
    shots = rest[1] if len(rest) > 1 else None
    return SamplerPub.coerce((circuit, values, shots), default_shots)


def _values(pub: SamplerPub | EstimatorPub) -> Any:
    return pub.parameter_values.as_array(pub.circuit.parameters)


def _is_random(circuit: Any) -> bool:
    return circuit.has_control_flow_op() or any(
        name in _RANDOM_OPERATIONS for name in circuit.count_ops()
    )
