"""Qiskit's primitives on an experiment: they make any algorithm that uses them resumable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime.options.utils import UnsetType

from session_block import aio
from session_block.costs.estimate import DEFAULT_PRECISION, DEFAULT_SHOTS
from session_block.experiments.job import RunContext
from session_block.pubs.request import Request, estimator_request, sampler_request
from session_block.references import Implementation

if TYPE_CHECKING:
    from session_block.experiments.experiment import Experiment
    from session_block.experiments.job import DurableJob


class _Durable:
    """The common part of both primitives."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        options: Any = None,
        implementation: Implementation = "v2",
        transpile: bool = True,
    ) -> None:
        self.experiment = experiment
        self.options = options
        self._implementation: Implementation = implementation
        self._transpile = transpile
        self._made_in = RunContext()

    def _option(self, name: str) -> Any:
        """Return an option's value, or ``None`` for the client's default."""
        given = isinstance(self.options, Mapping)
        value = self.options.get(name) if given else getattr(self.options, name, None)
        return None if isinstance(value, UnsetType) else value

    def _begin(self, request: Request, fitting: Callable[[Any], Any]) -> DurableJob:
        """Submit a request; in a thread unknown to Prefect, on behalf of the primitive's run.

        Some algorithms make their requests in such threads.
        """
        if self._transpile:
            fitted: Any = _FittedLater(request.pubs, fitting)
            request = replace(request, pubs=fitted, asked=request.pubs)
        begin = self.experiment._begin  # noqa: SLF001 - this is part of the experiment's interface
        return self._made_in.call(lambda: begin(request))


class DurableSampler(_Durable, BaseSamplerV2):  # type: ignore[misc]  # Qiskit is untyped
    """A Sampler whose jobs are submitted exactly once, whatever happens to the process.

    A drop-in ``BaseSamplerV2``. Circuits that do not fit the backend are transpiled once and
    pinned, so that a resumed run submits exactly the same circuits.

    Make it in the flow or the task that uses it. Requests that an algorithm makes in its own
    threads, which Prefect does not know, count as requests of the run that made the primitive.

    Args:
        experiment: Submits and records the jobs.
        options: The client's own options, as a dict or an object of its option class.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        transpile: Whether to transpile circuits that do not fit; otherwise they are an error.
    """

    def run(
        self, pubs: Iterable[Any], *, shots: int | None = None, label: str | None = None
    ) -> DurableJob:
        """Submit circuits exactly once, and return their job without waiting for it.

        Args:
            pubs: Circuits, or tuples ``(circuit, parameter_values, shots)``.
            shots: Shots for PUBs without their own; ``None`` for the options' default.
            label: A name for this request; see :meth:`Experiment.run_sampler`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            FaultyQubitError: A pinned circuit uses what the backend now calls faulty.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        request = sampler_request(
            pubs,
            shots=shots,
            options=self.options,
            implementation=self._implementation,
            label=label,
        )
        return self._begin(request, self._fitting)

    arun = aio.async_twin(run)

    @property
    def default_shots(self) -> int:
        """Shots of PUBs if none are given; some algorithms read this property."""
        return int(self._option("default_shots") or DEFAULT_SHOTS)

    def _fitting(self, pub: SamplerPub) -> SamplerPub:
        circuit = self.experiment.fitting(pub.circuit)
        if circuit is pub.circuit:
            return pub
        return SamplerPub(circuit, pub.parameter_values, pub.shots)


class DurableEstimator(_Durable, BaseEstimatorV2):  # type: ignore[misc]  # Qiskit is untyped
    """An Estimator whose jobs are submitted exactly once, whatever happens to the process.

    A drop-in ``BaseEstimatorV2``. Circuits that do not fit the backend are transpiled once and
    pinned, and their observables get the same layout.

    Make it in the flow or the task that uses it. Requests that an algorithm makes in its own
    threads, which Prefect does not know, count as requests of the run that made the primitive.

    Args:
        experiment: Submits and records the jobs.
        options: The client's own options, as a dict or an object of its option class.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        transpile: Whether to transpile circuits that do not fit; otherwise they are an error.
    """

    def run(
        self, pubs: Iterable[Any], *, precision: float | None = None, label: str | None = None
    ) -> DurableJob:
        """Submit circuits and observables exactly once, and return the job without waiting for it.

        Args:
            pubs: Tuples ``(circuit, observables, parameter_values, precision)``.
            precision: Target standard error for PUBs without their own; ``None`` for the options'
                default.
            label: A name for this request; see :meth:`Experiment.run_estimator`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            FaultyQubitError: A pinned circuit uses what the backend now calls faulty.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        request = estimator_request(
            pubs,
            precision=precision,
            options=self.options,
            implementation=self._implementation,
            label=label,
        )
        return self._begin(request, self._fitting)

    arun = aio.async_twin(run)

    @property
    def default_precision(self) -> float:
        """Precision of PUBs if none is given; some algorithms read this property."""
        if shots := self._option("default_shots"):
            return 1 / math.sqrt(shots)
        return float(self._option("default_precision") or DEFAULT_PRECISION)

    def _fitting(self, pub: EstimatorPub) -> EstimatorPub:
        circuit = self.experiment.fitting(pub.circuit)
        if circuit is pub.circuit:
            return pub
        observables = pub.observables.apply_layout(circuit.layout)
        return EstimatorPub(circuit, observables, pub.parameter_values, pub.precision)


class _FittedLater(Sequence[Any]):
    """PUBs that are fitted to the backend only when they are sent; a replay sends none.

    Args:
        pubs: The PUBs as requested.
        fitting: Fits one PUB.
    """

    def __init__(self, pubs: Sequence[Any], fitting: Callable[[Any], Any]) -> None:
        self._asked = pubs
        self._fit = fitting

    @cached_property
    def _fitted(self) -> list[Any]:
        return [self._fit(pub) for pub in self._asked]

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return self._fitted[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._fitted)

    def __len__(self) -> int:
        return len(self._asked)
