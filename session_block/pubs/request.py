"""A primitive request: PUBs and options, validated before anything is sent.

:func:`sampler_request` and :func:`estimator_request` are the only places that define the arguments
of the Sampler and the Estimator. Methods and tasks take their signatures from here, through
:func:`asks`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

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
    input_errors,
    what_reaches_the_platform,
    with_job_tags,
)
from session_block.pubs.registers import numbered_names
from session_block.references import Implementation, PrimitiveKind

_RZZ = "rzz"
"""A gate whose angle is limited, so that its values count too."""

P = ParamSpec("P")
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

    of: Request
    index: int
    places: Sequence[int]


@dataclass(frozen=True)
class Request:
    """A validated primitive request.

    Attributes:
        pubs: Coerced PUBs, with their shots or precision if these were given.
        options: The client's own option object, of the class that ``implementation`` uses.
        label: The user's name for it, or ``None``.
        asked: The PUBs before transpilation, which identify the request; ``None`` if ``pubs``
            identify it.
        part: Which part of another request it is; ``None`` if it is whole.
    """

    kind: PrimitiveKind
    implementation: Implementation
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub]
    options: Any
    label: str | None = None
    asked: Sequence[SamplerPub] | Sequence[EstimatorPub] | None = None
    part: Part | None = None

    @cached_property
    def parts(self) -> Sequence[Request]:
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
        pubs = self.pubs if self.asked is None else self.asked
        if self.implementation != "executor":
            return [list(range(len(pubs)))]
        places: dict[Any, list[int]] = {}
        for place, pub in enumerate(pubs):
            if isinstance(pub, SamplerPub):
                value = pub.shots or self.options.default_shots
            else:
                value = pub.precision
            places.setdefault(value, []).append(place)
        return list(places.values())

    @property
    def fingerprint(self) -> str:
        """The request's identity by the newest version of the rule."""
        return self.fingerprint_by(max(FINGERPRINTS))

    def fingerprint_by(self, version: int) -> str:
        """Return the request's identity by a version of :mod:`session_block.pubs.fingerprint`."""
        if version not in self._fingerprints:
            self._fingerprints[version] = (
                FINGERPRINTS[version](
                    self.kind,
                    self.implementation,
                    self.pubs if self.asked is None else self.asked,
                    what_reaches_the_platform(self.options),
                )
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

    @cached_property
    def registers(self) -> list[list[str]] | None:
        """The names that its registers have in a result, where an equal request may have others."""
        return numbered_names(self.pubs if self.asked is None else self.asked)

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        return {}

    @property
    def sent_circuits(self) -> str:
        """Digest of what is sent: of circuits that fit the backend, where ``asked`` may not."""
        return FINGERPRINTS[max(FINGERPRINTS)](self.kind, self.implementation, self.pubs, {})

    @property
    def is_drawn_in_the_client(self) -> bool:
        """Whether equal requests differ in what the client sends for them."""
        return are_drawn_in_the_client(self.options)

    @property
    def like(self) -> Hashable:
        """Sizes of the request; requests with equal sizes are expected to take equally long."""
        pubs = self.pubs if self.asked is None else self.asked
        return self.kind, self.implementation, tuple(_size(pub) for pub in pubs)

    @property
    def user_tags(self) -> list[str]:
        """The tags that the user gave in ``options.environment.job_tags``."""
        return list(self.options.environment.job_tags or [])

    def check_faulty(self, backend: IBMBackend) -> None:
        """Check that no circuit uses a qubit or a gate that the backend now calls faulty.

        Raises:
            FaultyQubitError: A circuit does; the message names the PUB and the qubit.
        """
        for index, pub in enumerate(self.pubs):
            try:
                backend.check_faulty(pub.circuit)
            except ValueError as error:
                raise FaultyQubitError(
                    f"The circuit of PUB {index} cannot run on {backend.name} any more: {error} "
                    "Nothing was submitted. Wait for a calibration that repairs it, or continue "
                    "with another layout: experiment.repin(circuit)."
                ) from error

    def check_isa(self, target: Any) -> None:
        """Check that every circuit fits the backend's target, and its angles the backend's gates.

        The client's primitives of the family ``executor`` leave this to the platform, where it
        fails after it was queued, and is charged.

        Raises:
            NotISAError: A circuit does not; the message names the PUB and the instruction.
        """
        for index, pub in enumerate(self.pubs):
            try:
                validate_isa_circuits([pub.circuit], target)
                if _RZZ in target.operation_names:
                    validate_rzz_pubs([pub])
            except IBMInputValueError as error:
                raise NotISAError(
                    f"The circuit of PUB {index} does not fit the backend: {error.message} "
                    "Transpile it first, for example with experiment.transpile(circuit)."
                ) from error

    def send(self, mode: Session | IBMBackend, tags: Sequence[str]) -> RuntimeJobV2:
        """Submit the request once, with these tags in addition to the user's.

        Args:
            mode: The session or batch, or in job mode the backend.
            tags: The package's tags.
        """
        primitive = primitive_class(self.kind, self.implementation)(
            mode=mode, options=with_job_tags(self.options, [*self.user_tags, *tags])
        )
        return primitive.run(self.pubs)


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
) -> Request:
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
    chosen = _frozen(chosen_options("sampler", family, options), options)
    with input_errors("The Sampler request is"):
        coerced = [_plain_shots(SamplerPub.coerce(pub, shots)) for pub in _listed(pubs)]
        validate_classical_registers(coerced)
        check_sampler_pubs(coerced)
    return Request("sampler", family, coerced, chosen, label)


def estimator_request(
    pubs: Iterable[Any],
    *,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    label: str | None = None,
) -> Request:
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
    chosen = _frozen(chosen_options("estimator", family, options), options)
    with input_errors("The Estimator request is"):
        coerced = [_plain_precision(EstimatorPub.coerce(pub, precision)) for pub in _listed(pubs)]
        validate_estimator_pubs(coerced)
        check_estimator_pubs(coerced)
    return Request("estimator", family, coerced, chosen, label)


class _HasFamily(Protocol):
    """What requests are made of."""

    @property
    def implementation(self) -> Implementation:
        """Its family of primitives."""


def asks(
    make: Callable[P, Request],
) -> Callable[[Callable[[S, Request], T]], Callable[Concatenate[S, P], T]]:
    """Replace a method's request argument by the arguments of ``make``, types and docs included.

    Args:
        make: :func:`sampler_request` or :func:`estimator_request`.

    Returns:
        A decorator. The decorated method passes its arguments to ``make``, with its object's family
        of primitives if none is given, and the request to the original method. It has the
        original's name and docstring, with the ``Args`` of ``make``.
    """

    def decorate(function: Callable[[S, Request], T]) -> Callable[Concatenate[S, P], T]:
        def asking(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs.get("implementation") is None:
                kwargs["implementation"] = self.implementation
            return function(self, make(*args, **kwargs))

        own = inspect.signature(function)
        first, _ = own.parameters.values()
        # Annotations are evaluated here: the function's module need not import their names.
        given = inspect.signature(make, eval_str=True).parameters.values()
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


def _frozen(chosen: Any, given: Any) -> Any:
    """Return options that later changes of the user's own option object do not reach.

    The request may be sent again much later, if its session ends first.
    """
    return deepcopy(chosen) if chosen is given else chosen


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
