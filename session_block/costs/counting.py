"""Count what a request runs: executions and their lengths, from its PUBs or its quantum program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import PauliList
from qiskit.transpiler import Target
from qiskit_ibm_runtime import IBMBackend

from session_block.client import Program
from session_block.costs.public_records import (
    LEARNING_RANDOMIZATIONS,
    LEAST_MITIGATED_SHOTS,
    ZNE_FACTORS,
)
from session_block.costs.work import DEFAULT_PRECISION, DEFAULT_SHOTS, Runs, Work
from session_block.pubs.families import is_unset
from session_block.pubs.request import PrimitiveRequest, Request

DEFAULT_REP_DELAY_SECONDS = 250e-6
_MOST_PEC_OVERHEAD = 100.0


def work_of(request: Request, program: Program, backend: IBMBackend) -> Work | None:
    """Return what a request's job runs; ``None`` if that cannot be counted.

    Args:
        request: What one job runs.
        program: What the client sends for it.
        backend: Where it runs.
    """
    if program.executions is not None:
        return _work_of_program(request, program, backend)
    if isinstance(request, PrimitiveRequest):
        return work_of_pubs(request, backend)
    return None


def work_of_pubs(request: PrimitiveRequest, backend: IBMBackend) -> Work:
    """Return what a job of the family ``v2`` runs, which is counted from its PUBs.

    Args:
        request: What one job runs.
        backend: Where it runs.
    """
    options, target = request.options, backend.target
    level = resilience_level(request)
    resilience = getattr(options, "resilience", None)
    mitigates = _switch(resilience, "measure_mitigation", default=level > 0)
    runs, most_shots = [], 1
    for pub in request.pubs:
        shots, bases = _shots_and_bases(pub, options)
        shots = max(shots, LEAST_MITIGATED_SHOTS) if mitigates else shots
        readout = 0.0 if isinstance(pub, SamplerPub) else readout_seconds(target)
        runs.append(Runs(shots * bases, length_seconds(pub.circuit, target), readout))
        most_shots = max(most_shots, shots)
    learned = _learning(resilience, most_shots)
    pec = _switch(resilience, "pec_mitigation", default=False)
    return Work(
        program=request.kind,
        family=family_of(backend),
        level=level,
        rep_delay_seconds=rep_delay_seconds(options, backend),
        runs=runs,
        learning=Runs(learned, 0.0, readout_seconds(target)) if mitigates else None,
        noise_factors=_noise_factors(resilience, level),
        most_sampling=_given(resilience, "pec", "max_overhead") or _MOST_PEC_OVERHEAD
        if pec
        else 1.0,
    )


def _work_of_program(request: Request, program: Program, backend: IBMBackend) -> Work:
    """Return what a quantum program runs: its shots × the sizes of its items, whatever they do."""
    sizes, circuits = program.item_sizes or (), program.item_circuits or ()
    shots = int(program.inputs["quantum_program"]["shots"])
    return Work(
        program=request.kind,
        family=family_of(backend),
        level=resilience_level(request),
        rep_delay_seconds=rep_delay_seconds(request.options, backend),
        runs=[
            Runs(shots * size, length_seconds(circuit, backend.target))
            for size, circuit in zip(sizes, circuits, strict=True)
        ],
    )


def resilience_level(request: Request) -> int:
    """Return a request's resilience level; an Estimator's is 1 by default [docs], others have none.

    Args:
        request: The request.
    """
    if request.kind != "estimator":
        return 0
    level = _given(request.options, "resilience_level")
    return 1 if level is None else int(level)


def family_of(backend: IBMBackend) -> str:
    """Return the family of a backend's QPU in lower case; empty if the backend does not say."""
    kind = getattr(backend, "processor_type", None)
    return str(kind.get("family", "")).lower() if isinstance(kind, Mapping) else ""


def rep_delay_seconds(options: Any, backend: IBMBackend) -> float:
    """Return the delay after each execution: the options', else the backend's own."""
    asked = _given(options, "execution", "rep_delay")
    usual = getattr(backend, "default_rep_delay", None)
    chosen = asked if asked is not None else usual
    return DEFAULT_REP_DELAY_SECONDS if chosen is None else float(chosen)


def readout_seconds(target: Target) -> float:
    """Return how long the slowest readout of a backend takes."""
    places = target["measure"].values() if "measure" in target.operation_names else ()
    return _slowest(places)


def length_seconds(circuit: QuantumCircuit, target: Target) -> float:
    """Return how long a circuit takes, in seconds.

    If Qiskit cannot tell, as for a circuit with branches, this is the depth times the duration of
    the slowest instruction.
    """
    try:
        return float(circuit.estimate_duration(target, unit="s"))
    except QiskitError:
        slowest = max(_slowest(places.values()) for places in target.values())
        return float(circuit.depth() * slowest)


def _slowest(places: Iterable[Any]) -> float:
    return max((one.duration or 0.0 for one in places if one), default=0.0)


def _shots_and_bases(pub: SamplerPub | EstimatorPub, options: Any) -> tuple[int, int]:
    """Return a PUB's shots, and how many circuits run with as many."""
    default_shots = _given(options, "default_shots")
    if isinstance(pub, SamplerPub):
        shots = pub.shots or default_shots or DEFAULT_SHOTS
        return int(shots), int(pub.parameter_values.size)
    precision = pub.precision or _given(options, "default_precision") or DEFAULT_PRECISION
    shots = None if pub.precision else default_shots
    return int(shots or math.ceil(1 / precision**2)), _bases(pub)


def _bases(pub: EstimatorPub) -> int:
    """Return the number of measurement bases of a PUB, summed over its parameter points."""
    shape = pub.parameter_values.shape
    points = np.arange(math.prod(shape)).reshape(shape)
    paulis: list[set[str]] = [set() for _ in range(points.size)]
    for point, observable in np.broadcast(points, np.asarray(pub.observables)):
        paulis[point].update(label for label in observable if label.strip("I"))
    groups = {
        wanted: len(PauliList(sorted(wanted)).group_commuting(qubit_wise=True)) if wanted else 0
        for wanted in map(frozenset, paulis)
    }
    return sum(groups[frozenset(wanted)] for wanted in paulis)


def _learning(resilience: Any, shots: int) -> int:
    """Return how many executions learn the readout errors."""
    randomizations = _given(resilience, "measure_noise_learning", "num_randomizations")
    each = _given(resilience, "measure_noise_learning", "shots_per_randomization")
    several = randomizations if isinstance(randomizations, int) else LEARNING_RANDOMIZATIONS
    return several * (each if isinstance(each, int) else shots)


def _noise_factors(resilience: Any, level: int) -> tuple[float, ...]:
    if not _switch(resilience, "zne_mitigation", default=level > 1):
        return (1.0,)
    given = _given(resilience, "zne", "noise_factors")
    return ZNE_FACTORS if given is None or isinstance(given, str) else tuple(map(float, given))


def _switch(resilience: Any, name: str, *, default: bool) -> bool:
    given = _given(resilience, name)
    return default if given is None else bool(given)


def _given(options: Any, *names: str) -> Any:
    """Return an option, or ``None`` if it is not set."""
    for name in names:
        options = (
            options.get(name) if isinstance(options, Mapping) else getattr(options, name, None)
        )
    return None if is_unset(options) else options
