"""Requests, validated before anything is sent; those of the primitives are PUBs and options.

:func:`sampler_request` and :func:`estimator_request` are the only places that define the arguments
of the Sampler and the Estimator. Methods and tasks take their signatures from here, through
:func:`asks`.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from qiskit import QuantumCircuit
from qiskit.primitives.containers import PrimitiveResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime import IBMBackend, RuntimeJobV2, Session
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.utils.validations import (
    validate_classical_registers,
    validate_estimator_pubs,
    validate_isa_circuits,
    validate_rzz_pubs,
)

from session_block.errors import FaultyQubitError, InvalidInputError, NotISAError
from session_block.pubs.checks import check_estimator_pubs, check_sampler_pubs
from session_block.pubs.families import default_implementation, primitive_class
from session_block.pubs.fingerprint import FINGERPRINTS, fingerprint_label, fingerprint_part
from session_block.pubs.options import (
    are_drawn_in_the_client,
    chosen_options,
    frozen,
    input_errors,
    what_reaches_the_platform,
    with_job_tags,
)
from session_block.pubs.registers import numbered_names
from session_block.references import Implementation, PrimitiveKind

_RZZ = "rzz"
"""A gate whose angle is limited, so that its values count too."""

P = ParamSpec("P")
Q = TypeVar("Q")
S = TypeVar("S", bound="_HasFamily")
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Which part of a request that takes several jobs a request is.

    Attributes:
        of: The whole request.
        index: The part's number, counted from 0.
        places: The places of its PUBs in the whole request.
    """

    of: PrimitiveRequest
    index: int
    places: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Request(ABC):
    """A validated request: what a job runs, and how it is recognised after an interruption.

    Attributes:
        kind: ``sampler``, ``estimator``, or the platform's name of another program.
        implementation: The client's family of primitives; ``None`` for what belongs to none.
        options: The client's own option object.
        label: The user's name for it, or ``None``.
        part: Which part of another request it is; ``None`` if it is whole.
    """

    kind: str
    implementation: Implementation | None
    options: Any
    label: str | None = None
    part: Part | None = None

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """What the user gave, by name."""

    @property
    @abstractmethod
    def like(self) -> Hashable:
        """Sizes of the request; requests with equal sizes are expected to take equally long."""

    @abstractmethod
    def identity_by(self, version: int) -> str:
        """Return the identity of its content by a version of the rule."""

    @abstractmethod
    def send(self, mode: Session | IBMBackend, tags: Sequence[str]) -> RuntimeJobV2:
        """Submit the request once, with these tags in addition to the user's.

        Args:
            mode: The session or batch, or in job mode the backend.
            tags: The package's tags.
        """

    @property
    def parts(self) -> Sequence[Request]:
        """What one job each answers: the request itself, if one job answers it all."""
        return (self,)

    @property
    def fingerprint(self) -> str:
        """The request's identity by the newest version of the rule."""
        return self.fingerprint_by(max(FINGERPRINTS))

    def fingerprint_by(self, version: int) -> str:
        """Return the request's identity by a version of :mod:`session_block.pubs.fingerprint`."""
        if version not in self._fingerprints:
            self._fingerprints[version] = (
                self.identity_by(version)
                if self.part is None
                else fingerprint_part(self.part.of.fingerprint_by(version), self.part.index)
            )
        return self._fingerprints[version]

    @property
    def label_fingerprint(self) -> str | None:
        """The identity that the label gives it; ``None`` without a label."""
        if self.label is None:
            return None
        whole = fingerprint_label(self.label)
        return whole if self.part is None else fingerprint_part(whole, self.part.index)

    @property
    def registers(self) -> list[list[str]] | None:
        """The names that its registers have in a result, where an equal request may have others."""
        return None

    @property
    def sent_registers(self) -> list[list[str]] | None:
        """The same of the circuits as they are sent."""
        return None

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        return {}

    @property
    def drawn(self) -> str | None:
        """Digest of what the client draws anew for each job, but for the draw itself.

        ``None`` if equal requests are equal in what the client sends for them.
        """
        return None

    @property
    def circuits(self) -> Sequence[QuantumCircuit]:
        """The circuits that have to fit the backend."""
        return ()

    def _called(self, index: int) -> str:
        """Return what a circuit is called in messages."""
        return f"circuit {index}"

    def check_faulty(self, backend: IBMBackend) -> None:
        """Check that no circuit uses a qubit or a gate that the backend now calls faulty.

        Raises:
            FaultyQubitError: A circuit does; the message names it and the qubit.
        """
        for index, why in self.faults(backend):
            raise FaultyQubitError(
                f"{self._called(index)} cannot run on {backend.name} any more: {why} "
                "Nothing was submitted. Wait for a calibration that repairs it, or continue "
                "with another layout: experiment.repin(circuit)."
            ) from why

    def faults(self, backend: IBMBackend) -> Iterator[tuple[int, ValueError]]:
        """Give the numbers of the circuits that use what the backend calls faulty, and why."""
        known: dict[int, ValueError | None] = {}
        for index, circuit in enumerate(self.circuits):
            if id(circuit) not in known:
                try:
                    known[id(circuit)] = backend.check_faulty(circuit)
                except ValueError as error:
                    known[id(circuit)] = error
            if (why := known[id(circuit)]) is not None:
                yield index, why

    def check_isa(self, target: Any) -> None:
        """Check that every circuit fits the backend's target.

        The client's own check is not enough: what is sent to the program ``executor`` is checked
        by the platform, where it fails after it was queued, and is charged.

        Raises:
            NotISAError: A circuit does not; the message names it and the instruction.
        """
        for index, why in self.misfits(target):
            raise NotISAError(
                f"{self._called(index)} does not fit the backend: {why.message} "
                "Transpile it first, for example with experiment.transpile(circuit)."
            ) from why

    def misfits(self, target: Any) -> Iterator[tuple[int, IBMInputValueError]]:
        """Give the numbers of the circuits that do not fit the backend's target, and why."""
        known: dict[int, IBMInputValueError | None] = {}  # many PUBs may be of one circuit
        for index, circuit in enumerate(self.circuits):
            if id(circuit) not in known:
                known[id(circuit)] = _refusal(validate_isa_circuits, [circuit], target)
            why = known[id(circuit)] or self._misfit_of_values(index, target)
            if why is not None:
                yield index, why

    def _misfit_of_values(self, _index: int, _target: Any) -> IBMInputValueError | None:
        """Return why a circuit does not fit with the values that its parameters take."""
        return None


@dataclass(frozen=True, kw_only=True)
class PrimitiveRequest(Request):
    """A validated request for the Sampler or the Estimator.

    Attributes:
        pubs: Coerced PUBs, with their shots or precision if these were given.
        asked: The PUBs before transpilation, which identify the request; ``None`` if ``pubs``
            identify it.
    """

    kind: PrimitiveKind
    implementation: Implementation
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub]
    asked: Sequence[SamplerPub] | Sequence[EstimatorPub] | None = None

    @property
    def _own(self) -> Sequence[SamplerPub] | Sequence[EstimatorPub]:
        """The PUBs as the user gave them."""
        return self.pubs if self.asked is None else self.asked

    @cached_property
    def parts(self) -> Sequence[PrimitiveRequest]:
        """What one job each answers: the request itself, if one job answers it all.

        The client's primitives of the family ``executor`` have one number of shots, or one
        precision, for a whole job [client source]. So PUBs with different ones take a job for each
        value, in the order in which the values first appear.
        """
        places = self._places_by_accuracy()
        if len(places) == 1:
            return (self,)
        return [
            replace(
                self,
                pubs=_Some(self.pubs, its),
                asked=None if self.asked is None else _Some(self.asked, its),
                part=Part(self, index, its),
            )
            for index, its in enumerate(places)
        ]

    def _places_by_accuracy(self) -> list[list[int]]:
        if self.implementation != "executor":
            return [list(range(len(self._own)))]
        places: dict[Any, list[int]] = {}
        for place, pub in enumerate(self._own):
            if isinstance(pub, SamplerPub):
                value = pub.shots or self.options.default_shots
            else:
                value = pub.precision
            places.setdefault(value, []).append(place)
        return list(places.values())

    @property
    def inputs(self) -> dict[str, Any]:
        """The PUBs as tuples, under ``pubs``: circuits as they were given."""
        return {"pubs": [_as_tuple(pub) for pub in self._own]}

    def identity_by(self, version: int) -> str:
        """Return the identity of its content by a version of the rule."""
        options = what_reaches_the_platform(self.options)
        return FINGERPRINTS[version](self.kind, self.implementation, self._own, options)

    @cached_property
    def registers(self) -> list[list[str]] | None:
        """The names that its registers have in a result, where an equal request may have others."""
        return numbered_names(self._own)

    @property
    def sent_registers(self) -> list[list[str]] | None:
        """The same of the circuits as they are sent."""
        return numbered_names(self.pubs)

    @property
    def drawn(self) -> str | None:
        """Digest of the circuits as they are sent, if the client draws anew what it sends."""
        if not are_drawn_in_the_client(self.options):
            return None
        return FINGERPRINTS[max(FINGERPRINTS)](self.kind, self.implementation, self.pubs, {})

    @property
    def like(self) -> Hashable:
        """Sizes of the request; requests with equal sizes are expected to take equally long."""
        return self.kind, self.implementation, tuple(_size(pub) for pub in self._own)

    @property
    def circuits(self) -> Sequence[QuantumCircuit]:
        """The PUBs' circuits as they are sent."""
        return [pub.circuit for pub in self.pubs]

    def _called(self, index: int) -> str:
        return f"The circuit of PUB {index}"

    def _misfit_of_values(self, index: int, target: Any) -> IBMInputValueError | None:
        if _RZZ not in target.operation_names:
            return None
        return _refusal(validate_rzz_pubs, [self.pubs[index]])

    def send(self, mode: Session | IBMBackend, tags: Sequence[str]) -> RuntimeJobV2:
        """Submit the request once, with these tags in addition to the user's.

        Args:
            mode: The session or batch, or in job mode the backend.
            tags: The package's tags.
        """
        own = list(self.options.environment.job_tags or [])
        primitive = primitive_class(self.kind, self.implementation)(
            mode=mode, options=with_job_tags(self.options, [*own, *tags])
        )
        return primitive.run(self.pubs)


def _refusal(check: Callable[..., None], *given: Any) -> IBMInputValueError | None:
    """Return what one of the client's checks raises."""
    try:
        check(*given)
    except IBMInputValueError as error:
        return error
    return None


def merged(parts: Iterable[tuple[Sequence[int], PrimitiveResult]]) -> PrimitiveResult:
    """Return the result of a request from those of its parts, with the PUBs in its order.

    Args:
        parts: The places of each part's PUBs in the request, and its result. The metadata of the
            whole is that of the first part.
    """
    listed = list(parts)
    by_place = {
        place: one for places, result in listed for place, one in zip(places, result, strict=True)
    }
    return PrimitiveResult(
        [by_place[place] for place in sorted(by_place)], metadata=listed[0][1].metadata
    )


class _Some(Sequence[Any]):
    """Some of a sequence's items, which are looked up when they are needed."""

    def __init__(self, items: Sequence[Any], places: Sequence[int]) -> None:
        self._items = items
        self._places = places

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        chosen = self._places[index]
        if isinstance(chosen, int):
            return self._items[chosen]
        return [self._items[place] for place in chosen]

    def __len__(self) -> int:
        return len(self._places)


def _as_tuple(pub: SamplerPub | EstimatorPub) -> tuple[Any, ...]:
    if isinstance(pub, SamplerPub):
        return pub.circuit, pub.parameter_values, pub.shots
    return pub.circuit, pub.observables, pub.parameter_values, pub.precision


def _size(pub: SamplerPub | EstimatorPub) -> Hashable:
    wanted = pub.shots if isinstance(pub, SamplerPub) else pub.precision
    return pub.circuit.num_qubits, len(pub.circuit.data), pub.shape, wanted


def sampler_request(
    pubs: Iterable[Any],
    *,
    shots: int | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    label: str | None = None,
) -> PrimitiveRequest:
    """Make a Sampler request.

    Args:
        pubs: Circuits, or tuples ``(circuit, parameter_values, shots)``, as for Qiskit's Sampler.
            The circuits must be ISA circuits with classical registers.
        shots: Shots for PUBs without their own; ``None`` for the options' default.
        options: The client's own options, as a dict or an object of its option class, with up to
            five of your own ``environment.job_tags``.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: PUBs, shots or options are wrong.
    """
    family = implementation or default_implementation()
    chosen = frozen(chosen_options("sampler", family, options), options)
    with input_errors("The Sampler request is"):
        coerced = [_plain_shots(SamplerPub.coerce(pub, shots)) for pub in _listed(pubs)]
        if family == "v2":  # the client's other family takes empty registers
            validate_classical_registers(coerced)
        check_sampler_pubs(coerced)
    return PrimitiveRequest(
        kind="sampler", implementation=family, pubs=coerced, options=chosen, label=label
    )


def estimator_request(
    pubs: Iterable[Any],
    *,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    label: str | None = None,
) -> PrimitiveRequest:
    """Make an Estimator request.

    Args:
        pubs: Tuples ``(circuit, observables, parameter_values, precision)``, as for Qiskit's
            Estimator. The circuits must be ISA circuits; the observables need the same layout.
        precision: Target standard error for PUBs without their own; ``None`` for the options'
            default.
        options: The client's own options, as a dict or an object of its option class, with up to
            five of your own ``environment.job_tags``.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: PUBs, precision or options are wrong.
    """
    family = implementation or default_implementation()
    chosen = frozen(chosen_options("estimator", family, options), options)
    with input_errors("The Estimator request is"):
        coerced = [_plain_precision(EstimatorPub.coerce(pub, precision)) for pub in _listed(pubs)]
        validate_estimator_pubs(coerced)
        check_estimator_pubs(coerced)
    return PrimitiveRequest(
        kind="estimator", implementation=family, pubs=coerced, options=chosen, label=label
    )


class _HasFamily(Protocol):
    """What requests are made of."""

    @property
    def implementation(self) -> Implementation:
        """Its family of primitives."""


def asks(
    make: Callable[P, Q],
) -> Callable[[Callable[[S, Q], T]], Callable[Concatenate[S, P], T]]:
    """Replace a method's request argument by the arguments of ``make``, types and docs included.

    Args:
        make: Makes a request, as :func:`sampler_request` does.

    Returns:
        A decorator. The decorated method passes its arguments to ``make``, with its object's family
        of primitives if none is given, and the request to the original method. It has the
        original's name and docstring, with the ``Args`` of ``make``.
    """
    parameters = inspect.signature(make, eval_str=True).parameters
    has_families = "implementation" in parameters

    def decorate(function: Callable[[S, Q], T]) -> Callable[Concatenate[S, P], T]:
        def asking(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if has_families and kwargs.get("implementation") is None:
                kwargs["implementation"] = self.implementation
            return function(self, make(*args, **kwargs))

        own = inspect.signature(function)
        first, _ = own.parameters.values()
        # Annotations are evaluated here: the function's module need not import their names.
        given = parameters.values()
        named: Any = update_wrapper(asking, function)
        named.__signature__ = own.replace(parameters=[first, *given])
        named.__annotations__ = {one.name: one.annotation for one in given}
        named.__annotations__["return"] = own.return_annotation
        named.__doc__ = _with_arguments(function.__doc__ or "", make.__doc__ or "")
        return asking

    return decorate


def _with_arguments(doc: str, of: str) -> str:
    """Return a docstring with another docstring's ``Args`` before its own sections."""
    (arguments,) = re.findall(
        r"^ *Args:\n.*?(?=\n\n)", inspect.cleandoc(of), re.DOTALL | re.MULTILINE
    )
    text, *sections = re.split(r"\n\n(?=(?:Returns|Raises):)", inspect.cleandoc(doc))
    return "\n\n".join([text, arguments, *sections])


def _plain_shots(pub: SamplerPub) -> SamplerPub:
    """Return the PUB with its shots as Python's integer; the client cannot encode NumPy's."""
    if pub.shots is None or type(pub.shots) is int:
        return pub
    return SamplerPub(pub.circuit, pub.parameter_values, int(pub.shots))


def _plain_precision(pub: EstimatorPub) -> EstimatorPub:
    if pub.precision is None or type(pub.precision) is float:
        return pub
    return EstimatorPub(pub.circuit, pub.observables, pub.parameter_values, float(pub.precision))


def _listed(pubs: Iterable[Any]) -> list[Any]:
    listed = list(pubs)
    if not listed:
        raise InvalidInputError("The request holds no PUB, so there is nothing to submit.")
    return listed
