"""Qiskit's primitives on an experiment: any algorithm that takes them becomes resumable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.references import Implementation
from session_block.request import estimator_request, input_errors, sampler_request

if TYPE_CHECKING:
    from session_block.durable_job import DurableJob
    from session_block.experiment import Experiment


class DurableSampler(BaseSamplerV2):  # type: ignore[misc]  # Qiskit is untyped
    """A Sampler whose jobs are submitted exactly once, whatever happens to the process.

    A drop-in ``BaseSamplerV2``. Circuits that do not fit the backend are transpiled once and
    pinned, so that a resumed run submits the very same ones.

    Args:
        experiment: Where jobs are submitted and recorded.
        options: The client's own options, as a dict or an object of its option class.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        transpile: Whether to transpile; otherwise a circuit that does not fit is an error.
    """

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

    def run(
        self, pubs: Iterable[Any], *, shots: int | None = None, label: str | None = None
    ) -> DurableJob:
        """Submit circuits, exactly once, and return their job at once.

        Args:
            pubs: Circuits, or tuples ``(circuit, parameter_values, shots)``.
            shots: Shots for the PUBs that do not say their own; ``None`` for the options' default.
            label: A name for this request; see :meth:`Experiment.run_sampler`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        with input_errors("The Sampler request is"):
            coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        request = sampler_request(
            [self._fitting(pub) for pub in coerced],
            options=self.options,
            implementation=self._implementation,
            asked=coerced,
        )
        return self.experiment.begin(request, label)

    def _fitting(self, pub: SamplerPub) -> SamplerPub:
        circuit = self.experiment.fitting(pub.circuit) if self._transpile else pub.circuit
        if circuit is pub.circuit:
            return pub
        return SamplerPub(circuit, pub.parameter_values, pub.shots)


class DurableEstimator(BaseEstimatorV2):  # type: ignore[misc]  # Qiskit is untyped
    """An Estimator whose jobs are submitted exactly once, whatever happens to the process.

    A drop-in ``BaseEstimatorV2``. Circuits that do not fit the backend are transpiled once and
    pinned, and their observables laid out alike.

    Args:
        experiment: Where jobs are submitted and recorded.
        options: The client's own options, as a dict or an object of its option class.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        transpile: Whether to transpile; otherwise a circuit that does not fit is an error.
    """

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

    def run(
        self, pubs: Iterable[Any], *, precision: float | None = None, label: str | None = None
    ) -> DurableJob:
        """Submit circuits and observables, exactly once, and return their job at once.

        Args:
            pubs: Tuples ``(circuit, observables, parameter_values, precision)``.
            precision: Standard error that is aimed at, for the PUBs that do not say their own.
            label: A name for this request; see :meth:`Experiment.run_estimator`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.
        """
        with input_errors("The Estimator request is"):
            coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        request = estimator_request(
            [self._fitting(pub) for pub in coerced],
            options=self.options,
            implementation=self._implementation,
            asked=coerced,
        )
        return self.experiment.begin(request, label)

    def _fitting(self, pub: EstimatorPub) -> EstimatorPub:
        circuit = self.experiment.fitting(pub.circuit) if self._transpile else pub.circuit
        if circuit is pub.circuit:
            return pub
        observables = pub.observables.apply_layout(circuit.layout)
        return EstimatorPub(circuit, observables, pub.parameter_values, pub.precision)
