"""Runs a job's program in a worker process.

There are three kinds of noise. ``exact`` gives expectation values without shot noise and standard
errors of zero. ``shots`` adds Gaussian noise with the requested precision as its width. In both,
samples are drawn from the ideal distribution. ``device`` simulates the recorded device, with shots,
gate errors, relaxation and readout errors (see :mod:`.noise`). An executor job always gives bits.
With ``exact`` an estimator's bits are shared out instead of drawn (see :mod:`.apportioned`); with
``shots`` its estimates have the noise of their shots.

No error is mitigated or suppressed, even if the options ask for a ``resilience_level``, twirling
or decoupling; the metadata of results under device noise says so. What the client itself computes
around an executor job (twirling, TREX, ZNE, PEA, PEC) takes effect. A noise learner measures
nothing: its models follow from the recorded noise (see :mod:`.learning`).

Equal content, backend, calibration, repetition and platform seed give bit-identical results in any
process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers import (
    DataBin,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution import (
    apportioned,
    charges,
    circuits,
    client_codec,
    ideal,
    job_options,
    layers,
    learning,
    refusals,
    timing,
    unpacking,
)
from session_block.local_platform.execution.noise import NoisyDevice, device
from session_block.local_platform.execution.seeding import content_seed

# Options that do not change a job's results, so they do not enter its seed.
_IRRELEVANT_OPTIONS = ("environment", "max_execution_time")
_NO_MITIGATION = {"measure_mitigation": False, "zne_mitigation": False, "pec_mitigation": False}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Request:
    """A job as it is sent to a worker.

    Args:
        program: ``sampler``, ``estimator``, ``executor`` or ``noise-learner``.
        backend: Name of the backend.
        recording: Name of the backend's recording.
        params: The JSON text that the client sent.
        noise: ``exact``, ``shots`` or ``device``.
        seed: The platform's seed.
        repetition: Which of several equal jobs it is: each gives a sample of its own.
        circuit_time: Whether to compute how long the job would occupy the device.
        calibration: Number of the calibration that sets the device's errors.
        charged: Whether to compute what IBM charges, and to stop a job of too many executions for
            its maximum execution time.
        refuses: Whether to refuse what IBM's programs refuse.
        limit: The job's maximum execution time in seconds.
    """

    program: str
    backend: str
    recording: str
    params: str
    noise: str
    seed: int
    repetition: int = 1
    circuit_time: bool = False
    calibration: int = 0
    charged: bool = False
    refuses: bool = False
    limit: float = math.inf


@dataclass(frozen=True)
class Answer:
    """A job's result as text for the client, and its QPU time and its charge if requested."""

    result: str
    qpu_seconds: float | None
    charged_seconds: int | None = None


@dataclass(frozen=True)
class _Costs:
    """What a job will cost, known before it is simulated."""

    qpu_seconds: float | None = None
    charged_seconds: int | None = None

    def answer(self, result: str) -> Answer:
        return Answer(result, self.qpu_seconds, self.charged_seconds)


def run(request: Request) -> Answer:
    """Run a job.

    Raises:
        ProgramFailedError: IBM's program refuses the job, or its executions take too long.
        Exception: Any other error of decoding or simulation; the job has then failed.
    """
    runners = {
        "sampler": _run_sampler,
        "estimator": _run_estimator,
        "executor": _run_executor,
        "noise-learner": _run_learner,
    }
    try:
        unpacking.check_unpacked(request.params)
    except ValueError as error:
        raise refusals.unreadable(error) from None
    return runners[request.program](request)


def _run_sampler(request: Request) -> Answer:
    params = _decoded(request)
    options = job_options.of_job(params)
    job_options.refuse_raw_measurements(options)
    default_shots = job_options.sampler_shots(options)
    pubs = [_sampler_pub(request, pub, default_shots) for pub in params["pubs"]]
    if request.refuses:
        refusals.check_sampler(request.recording, options, pubs)
    costs = _costs(request, lambda: timing.sampler_load(request.recording, options, pubs))
    small = [_compact(request, pub.circuit) for pub in pubs]
    seed = _seed(
        request,
        options,
        [
            [circuits.structure(circuit), kept, _values(pub), pub.shots]
            for pub, (circuit, kept) in zip(pubs, small, strict=True)
        ],
    )
    results = []
    for index, (pub, (circuit, kept)) in enumerate(zip(pubs, small, strict=True)):
        reduced = SamplerPub(circuit, pub.parameter_values, pub.shots)
        sample = _device(request, kept).sample if _is_noisy(request, kept) else ideal.sample
        data = sample(reduced, content_seed(seed, index))
        metadata = {"circuit_metadata": pub.circuit.metadata or {}, "shots": pub.shots}
        results.append(SamplerPubResult(data, metadata=metadata))
    result = PrimitiveResult(results, metadata={"version": 2})
    return costs.answer(client_codec.encode_result(result))


def _run_estimator(request: Request) -> Answer:
    params = _decoded(request)
    options = job_options.of_job(params)
    coerce = refusals.estimator_pub if request.refuses else EstimatorPub.coerce
    pubs = [coerce(tuple(pub)) for pub in params["pubs"]]
    if request.refuses:
        refusals.check_estimator(request.recording, options, pubs)
    accuracies = [job_options.estimator_accuracy(pub.precision, options) for pub in pubs]
    all_shots = [shots for _, shots in accuracies]
    costs = _costs(
        request,
        lambda: timing.estimator_load(request.recording, options, pubs, all_shots),
        charges.mitigation(options, max(all_shots, default=0)),
        options,
    )
    small = [_compact(request, pub.circuit, pub.observables) for pub in pubs]
    seed = _seed(
        request,
        options,
        [
            [circuits.structure(circuit), kept, _values(pub), pub.observables.tolist(), precision]
            for pub, (circuit, kept), (precision, _) in zip(pubs, small, accuracies, strict=True)
        ],
    )
    results = []
    for index, (pub, (circuit, kept)) in enumerate(zip(pubs, small, strict=True)):
        terms = circuits.all_reduced_terms(pub.observables, kept)
        precision, shots = accuracies[index]
        if _is_noisy(request, kept):
            evs, stds = _device(request, kept).expectation_values(
                circuit, pub.parameter_values, terms, precision, content_seed(seed, index)
            )
        else:
            evs = ideal.expectation_values(
                circuit, _values(pub), terms, shots, content_seed(seed, index, "state")
            )
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
    metadata = {"version": 2}
    if request.noise == "device":
        metadata["resilience"] = dict(_NO_MITIGATION)
    result = PrimitiveResult(results, metadata=metadata)
    return costs.answer(client_codec.encode_result(result))


def _run_executor(request: Request) -> Answer:
    program = client_codec.decode_program(request.params)
    if request.refuses:
        refusals.check_circuits(request.recording, [item.circuit for item in program.items])
        refusals.check_arguments(
            (item.circuit, getattr(item.source, "circuit_arguments", None))
            for item in program.items
        )
    options = client_codec.executor_options(request.params)
    lengths = [(item.circuit, math.prod(item.shape)) for item in program.items]
    costs = _costs(
        request,
        lambda: timing.executor_load(request.recording, options, lengths, program.shots),
    )
    small = [_compact(request, item.circuit) for item in program.items]
    seed = _seed(
        request,
        {},
        [
            [circuits.structure(circuit), kept, item.arguments, item.shape, program.shots]
            for item, (circuit, kept) in zip(program.items, small, strict=True)
        ],
    )
    without_noise = program.estimates and request.noise == "exact"
    data = []
    for index, (item, (circuit, kept)) in enumerate(zip(program.items, small, strict=True)):
        item_seed = content_seed(seed, index)
        shared_out = without_noise and apportioned.is_possible(circuit)
        if shared_out or _is_noisy(request, kept):
            sample = _sampler_of_item(request, kept, item_seed)
            data.append(
                client_codec.sample_item(
                    item, circuit, shots=program.shots, seed=item_seed, sample=sample
                )
            )
        else:
            simulate = partial(
                client_codec.simulate_item, item, circuit, shots=program.shots, seed=item_seed
            )
            data.append(ideal.on_simulator(len(kept), simulate))
    return costs.answer(client_codec.encode_program_result(program, data))


def _run_learner(request: Request) -> Answer:
    asked = client_codec.decode_learner(request.params)
    if request.refuses:
        instructions = [one.operation for one in asked.instructions]
        blocks = [block for one in instructions for block in getattr(one, "blocks", ())]
        refusals.check_learner(request.recording, list(asked.circuits), blocks)
    job_options.refuse_bit_flip_checks(asked.options)
    if asked.schema is None:
        wanted = layers.of_circuits(
            asked.circuits, asked.options["twirling_strategy"], asked.options["max_layers_to_learn"]
        )
    else:
        width = recordings.configuration(request.recording)["n_qubits"]
        wanted = [layers.of_instruction(one, width) for one in asked.instructions]
    costs = _costs(request, lambda: timing.learner_load(request.recording, asked.options, wanted))
    models = [
        (learning.of_measurements if layer.is_measured else learning.of_gates)(
            layer, _device(request, layer.qubits), has_noise=request.noise == "device"
        )
        for layer in wanted
    ]
    if asked.schema is None:
        result = client_codec.encode_layer_errors(wanted, models, asked.options, request.backend)
    else:
        measured = [layer.is_measured for layer in wanted]
        depths = asked.options["layer_pair_depths"]
        result = client_codec.encode_models(asked.schema, models, measured, depths)
    return costs.answer(result)


def _decoded(request: Request) -> Any:
    try:
        params = client_codec.decode_params(request.params)
        _check_form(params)
    except Exception as error:
        if not request.refuses:
            raise
        raise refusals.unreadable(error) from error
    return params


def _check_form(params: Mapping[str, Any]) -> None:
    if not isinstance(params.get("pubs"), list | tuple):
        raise TypeError("pubs must be a list")
    if not isinstance(params.get("options") or {}, Mapping):
        raise TypeError("options must be an object")


def _costs(
    request: Request,
    load_of: Callable[[], timing.Load],
    mitigation: charges.Mitigation = charges.NO_MITIGATION,
    options: Mapping[str, Any] | None = None,
) -> _Costs:
    """Return what a job will cost, and refuse it if that is too much.

    Raises:
        ProgramFailedError: 1520 or 1305.
    """
    if not (request.circuit_time or request.charged or request.refuses):
        return _Costs()
    load = load_of()
    if request.refuses and request.program != "estimator":
        refusals.check_executions(load.executions)
    charged = None
    if request.charged:
        if charges.execution_seconds(load, mitigation) > request.limit:
            raise refusals.over_time()
        device = timing.timing(request.recording)
        width = recordings.configuration(request.recording)["n_qubits"]
        learning_seconds = device.readout_seconds(range(width))
        learning_seconds += device.rep_delay_seconds(options or {})
        tariff = charges.tariff(request.recording)
        charged = charges.charge(tariff, load, mitigation, learning_seconds)
    return _Costs(load.seconds if request.circuit_time else None, charged)


def _sampler_of_item(
    request: Request, kept: tuple[int, ...], seed: int
) -> Callable[[SamplerPub, client_codec.Randomized], DataBin]:
    if not _is_noisy(request, kept):
        return lambda pub, drawn: (
            apportioned.sample(pub, drawn.flips, drawn.points) or ideal.sample(pub, seed)
        )
    return lambda pub, _: _device(request, kept).sample(pub, seed)


def _is_noisy(request: Request, kept: tuple[int, ...]) -> bool:
    # A circuit without qubits has no noise.
    return request.noise == "device" and bool(kept)


def _device(request: Request, kept: tuple[int, ...]) -> NoisyDevice:
    return device(request.recording, request.backend, request.seed, request.calibration, kept)


def _compact(
    request: Request, circuit: QuantumCircuit, observables: Any = ()
) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """Remove qubits that cannot affect the result; under noise, keep those that are read out."""
    if request.noise != "device":
        return circuits.compact(circuit)
    return circuits.compact(circuit, circuits.observed(observables), with_delays=True)


def _seed(request: Request, options: Mapping[str, Any], content: list[Any]) -> int:
    relevant = {name: value for name, value in options.items() if name not in _IRRELEVANT_OPTIONS}
    repeated = () if request.repetition == 1 else (request.repetition,)
    return content_seed(
        request.seed, request.program, request.backend, relevant, content, *repeated
    )


def _sampler_pub(request: Request, pub: Any, default_shots: int) -> SamplerPub:
    try:
        circuit, *rest = pub
        values = rest[0] if rest else None
        shots = rest[1] if len(rest) > 1 else None
        return SamplerPub.coerce((circuit, values, shots), default_shots)
    except Exception as error:
        if not request.refuses:
            raise
        raise refusals.unreadable(error) from error


def _values(pub: SamplerPub | EstimatorPub) -> Array:
    values: Array = pub.parameter_values.as_array(pub.circuit.parameters)
    return values
