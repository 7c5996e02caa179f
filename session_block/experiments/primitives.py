"""Qiskit's primitives on an experiment: they make any algorithm that uses them resumable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, overload

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime import IBMBackend, Session

from session_block import aio
from session_block.costs.work import DEFAULT_PRECISION, DEFAULT_SHOTS
from session_block.errors import InvalidInputError
from session_block.experiments.job import RunContext
from session_block.pubs.families import is_unset
from session_block.pubs.options import chosen_options
from session_block.pubs.request import PrimitiveRequest, estimator_request, sampler_request
from session_block.references import Implementation, PrimitiveKind

if TYPE_CHECKING:
    from session_block.experiments.experiment import Experiment
    from session_block.experiments.job import DurableJob
    from session_block.experiments.parted_job import PartedJob


_SHARED = frozenset({"experiment", "_made_in"})
"""What a copy of a primitive shares with it: there is one experiment, and one run."""


class _Durable:
    """The common part of both primitives: what libraries read of the client's primitives."""

    version = 2
    """The version of Qiskit's interface, as the client's primitives say it."""

    _kind: ClassVar[PrimitiveKind]

    def __init__(
        self,
        experiment: Experiment,
        *,
        options: Any = None,
        implementation: Implementation | None = None,
        transpile: bool = True,
    ) -> None:
        self.experiment = experiment
        self._implementation: Implementation = implementation or experiment.implementation
        self._transpile = transpile
        self._made_in = RunContext()
        self.options = options

    @property
    def options(self) -> Any:
        """The options of later requests, as an object of the client's option class.

        Set its fields, as in ``sampler.options.default_shots = 100``, or assign a dict or an option
        object. Requests that were made keep theirs.

        Raises:
            InvalidInputError: The assigned options are wrong.

        Examples:
            >>> sampler = DurableSampler(experiment)
            >>> sampler.options.default_shots = 100
            >>> sampler.run([circuit]).result()[0].data.meas.num_shots
            100
        """
        return self._options

    @options.setter
    def options(self, options: Any) -> None:
        chosen = chosen_options(self._kind, self._implementation, options)
        # As the client does: its 'v2' primitives copy an option object, the others share it.
        self._options = copy(chosen) if self._implementation == "v2" else chosen

    def backend(self) -> IBMBackend:
        """Return the backend on which the requests run, as the client's object.

        Raises:
            BackendNotFoundError: The instance has no such backend.
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> backend = sampler.backend()
            >>> backend.name
            'ibm_manila'
        """
        return self.experiment.backend

    abackend = aio.async_twin(backend)

    @property
    def _backend(self) -> IBMBackend:
        """The same, under the name that some libraries, as qiskit-experiments, read."""
        return self.experiment.backend

    @property
    def mode(self) -> Session | None:
        """The client's session or batch that is open for the requests.

        Reading it opens none: it is ``None`` before the first request, after the end, and in job
        mode.

        Raises:
            ConnectionFailedError: The platform could not be reached.

        Examples:
            >>> session_id = experiment.open_session()
            >>> sampler.mode.session_id == session_id
            True
        """
        return self.experiment._sessions.attached()  # noqa: SLF001 - as in _begin

    async def amode(self) -> Session | None:
        """Async twin of :attr:`mode`.

        Examples:
            >>> session_id = experiment.open_session()
            >>> session = await sampler.amode()
            >>> session.session_id == session_id
            True
        """
        return await aio.in_thread(lambda: self.mode)

    def __copy__(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a primitive with options of its own; it shares the experiment."""
        copied = copy(self)
        memo[id(self)] = copied
        for name, value in self.__dict__.items():
            if name not in _SHARED:
                copied.__dict__[name] = deepcopy(value, memo)
        return copied

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise InvalidInputError(
            f"A {type(self).__name__} of experiment {self.experiment.identity} cannot be pickled: "
            "its experiment belongs to this process. Save the Block, pass experiment.session_ref, "
            "a SessionRef, to the other process, and call there the task "
            f"session_block.tasks.run_{self._kind} with it, and with a label.",
            experiment=self.experiment.uid,
        )

    def _option(self, name: str) -> Any:
        """Return an option's value, or ``None`` for the client's default."""
        value = getattr(self.options, name, None)
        return None if is_unset(value) else value

    def _refuse(self, *, dry_run: bool) -> None:
        if dry_run:
            raise InvalidInputError(
                "A dry run returns random data, so it is neither recorded nor submitted. Use the "
                "client's own primitive for it, or estimate the request with "
                f"experiment.estimate_{self._kind}.",
                experiment=self.experiment.uid,
            )

    def _begin(
        self, request: PrimitiveRequest, fitting: Callable[[Any], Any]
    ) -> DurableJob | PartedJob:
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

    A drop-in ``BaseSamplerV2``, with the ``options``, ``backend()`` and ``mode`` of the client's
    Sampler. Circuits that do not fit the backend are transpiled once and pinned, so that a resumed
    run submits exactly the same circuits.

    Make it in the flow or the task that uses it. Requests that an algorithm makes in its own
    threads, which Prefect does not know, count as requests of the run that made the primitive.

    Args:
        experiment: Submits and records the jobs.
        options: The client's own options, as a dict or an object of its option class. They can be
            changed between requests; see :attr:`options`.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; by default
            the experiment's own.
        transpile: Whether to transpile circuits that do not fit; otherwise they are an error.

    Raises:
        InvalidInputError: The options or the implementation are wrong.

    Examples:
        >>> sampler = DurableSampler(experiment, options={"default_shots": 1000})
        >>> sampler.run([bell_pair]).result()[0].data.meas.num_shots  # transpiled once, and kept
        1000
    """

    _kind = "sampler"

    def run(
        self,
        pubs: Iterable[Any],
        *,
        shots: int | None = None,
        dry_run: bool = False,
        label: str | None = None,
    ) -> DurableJob | PartedJob:
        """Submit circuits exactly once, and return their job without waiting for it.

        Args:
            pubs: Circuits, or tuples ``(circuit, parameter_values, shots)``.
            shots: Shots for PUBs without their own; ``None`` for the options' default.
            dry_run: The client's own argument; only ``False`` is possible.
            label: A name for this request; see :meth:`Experiment.run_sampler`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            FaultyQubitError: A pinned circuit uses what the backend now calls faulty.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.

        Examples:
            >>> job = sampler.run([circuit], shots=1000)
            >>> sorted(job.result()[0].data.meas.get_counts())
            ['00', '11']
        """
        self._refuse(dry_run=dry_run)
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
        """Shots of PUBs if none are given; some algorithms read this property.

        Examples:
            >>> DurableSampler(experiment, options={"default_shots": 100}).default_shots
            100
        """
        return int(self._option("default_shots") or DEFAULT_SHOTS)

    def _fitting(self, pub: SamplerPub) -> SamplerPub:
        circuit = self.experiment.fitting(pub.circuit)
        if circuit is pub.circuit:
            return pub
        return SamplerPub(circuit, pub.parameter_values, pub.shots)


class DurableEstimator(_Durable, BaseEstimatorV2):  # type: ignore[misc]  # Qiskit is untyped
    """An Estimator whose jobs are submitted exactly once, whatever happens to the process.

    A drop-in ``BaseEstimatorV2``, with the ``options``, ``backend()`` and ``mode`` of the client's
    Estimator. Circuits that do not fit the backend are transpiled once and pinned, and their
    observables get the same layout.

    Make it in the flow or the task that uses it. Requests that an algorithm makes in its own
    threads, which Prefect does not know, count as requests of the run that made the primitive.

    Args:
        experiment: Submits and records the jobs.
        options: The client's own options, as a dict or an object of its option class. They can be
            changed between requests; see :attr:`options`.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; by default
            the experiment's own.
        transpile: Whether to transpile circuits that do not fit; otherwise they are an error.

    Raises:
        InvalidInputError: The options or the implementation are wrong.

    Examples:
        >>> from scipy.optimize import minimize
        >>> estimator = DurableEstimator(experiment)
        >>> def energy(x):
        ...     return float(estimator.run([(ansatz, observable, x)]).result()[0].data.evs)
        >>> found = minimize(energy, [0.0] * 4, method="COBYLA", options={"maxiter": 6})
        >>> int(found.nfev)
        6
    """

    _kind = "estimator"

    def run(
        self,
        pubs: Iterable[Any],
        *,
        precision: float | None = None,
        dry_run: bool = False,
        label: str | None = None,
    ) -> DurableJob | PartedJob:
        """Submit circuits and observables exactly once, and return the job without waiting for it.

        Args:
            pubs: Tuples ``(circuit, observables, parameter_values, precision)``.
            precision: Target standard error for PUBs without their own; ``None`` for the options'
                default.
            dry_run: The client's own argument; only ``False`` is possible.
            label: A name for this request; see :meth:`Experiment.run_estimator`.

        Raises:
            InvalidInputError: The request is wrong; nothing was sent.
            FaultyQubitError: A pinned circuit uses what the backend now calls faulty.
            SubmissionError: The submission went wrong; the message says what to do.
            ConnectionFailedError: The platform could not be reached; run again to go on.

        Examples:
            >>> job = estimator.run([(ansatz, observable, np.zeros((3, 4)))], precision=0.05)
            >>> job.result()[0].data.evs.shape
            (3,)
        """
        self._refuse(dry_run=dry_run)
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
        """Precision of PUBs if none is given; some algorithms read this property.

        Examples:
            >>> DurableEstimator(experiment, options={"default_shots": 10_000}).default_precision
            0.01
        """
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
