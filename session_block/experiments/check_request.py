"""What ``Experiment.check`` is asked: a request that may be wrong already while it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Pauli, PauliList, SparseObservable, SparsePauliOp
from samplomatic.quantum_program import QuantumProgram as AnyQuantumProgram

from session_block.errors import InvalidInputError
from session_block.experiments.program_request import executor_request, learning_request
from session_block.prechecks.findings import CheckFinding
from session_block.prechecks.rules import CLIENT, EXCLUSIVE, WIDTH, why_exclusive
from session_block.pubs.families import default_implementation
from session_block.pubs.options import chosen_options
from session_block.pubs.request import Request, estimator_request, sampler_request
from session_block.references import Implementation

CheckedKind = Literal["sampler", "estimator", "executor", "noise-learner"]
_OBSERVABLES = (str, Pauli, PauliList, SparsePauliOp, SparseObservable, ObservablesArray)
_OBSERVED_PUB = 2
_LETTERS = frozenset("IXYZ01+-rl")


@dataclass(frozen=True)
class Draft:
    """A request to be checked.

    Attributes:
        request: The request, as far as it could be made; ``None`` if nothing of it could.
        findings: Why the rest could not.
        places: The numbers that the request's PUBs have in what was asked.
    """

    request: Request | None
    findings: Sequence[CheckFinding] = ()
    places: Sequence[int] = ()

    def renumbered(self, found: Iterable[CheckFinding]) -> list[CheckFinding]:
        """Return findings with the numbers that the PUBs have in what was asked."""
        if not self.places:
            return list(found)
        return [
            one if one.pub is None else one.model_copy(update={"pub": self.places[one.pub]})
            for one in found
        ]


def check_request(
    pubs: Any,
    *,
    kind: CheckedKind | None = None,
    shots: int | None = None,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
) -> Draft:
    """Make what is to be checked.

    Args:
        pubs: PUBs, as ``run_sampler`` and ``run_estimator`` take them; or a ``QuantumProgram`` for
            the Executor; or layers for a noise learner.
        kind: What would run them: ``sampler``, ``estimator``, ``executor`` or ``noise-learner``;
            ``None`` to tell it by what is given.
        shots: Shots for PUBs without their own, for the Sampler.
        precision: Target standard error for PUBs without their own, for the Estimator.
        options: The options of the request, as the method that runs it takes them.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.

    Raises:
        InvalidInputError: It cannot be told what would run them, or nothing is given.
    """
    if isinstance(pubs, AnyQuantumProgram):
        if kind not in {None, "executor"}:
            raise InvalidInputError(f"A quantum program is for the executor, not for a {kind}.")
        return _of_program(lambda: executor_request(pubs, options=options))
    listed = _all_of(pubs)
    if kind == "noise-learner":
        return _of_program(
            lambda: learning_request(listed, options=options, implementation=implementation)
        )
    if kind == "executor":
        raise InvalidInputError("The executor runs a QuantumProgram, so give one in place of PUBs.")
    wanted = kind or _kind_of(listed, precision)

    def make(some: Sequence[Any]) -> Request:
        if wanted == "estimator":
            return estimator_request(
                some, precision=precision, options=options, implementation=implementation
            )
        return sampler_request(some, shots=shots, options=options, implementation=implementation)

    try:
        return Draft(make(listed))
    except InvalidInputError as error:
        if not listed:
            raise
        said = _why_options_are_wrong(wanted, options, implementation)
        if said is not None:
            return Draft(None, [said])
        return _of_some(listed, make, error, guessed=implementation != "v2")


def _all_of(pubs: Any) -> list[Any]:
    if isinstance(pubs, QuantumCircuit) or not isinstance(pubs, Iterable):
        raise InvalidInputError(
            f"PUBs or a QuantumProgram are needed, not a {type(pubs).__qualname__}. Wrap a single "
            "circuit or PUB in a list."
        )
    return list(pubs)


def _of_program(make: Callable[[], Request]) -> Draft:
    try:
        return Draft(make())
    except InvalidInputError as error:
        return Draft(None, [CLIENT.finding(None, str(error), guessed=False)])


def _of_some(
    listed: Sequence[Any],
    make: Callable[[Sequence[Any]], Request],
    whole: InvalidInputError,
    *,
    guessed: bool,
) -> Draft:
    """Return a draft of the PUBs that are right alone, with findings for the others."""
    places, findings = [], []
    for place, pub in enumerate(listed):
        try:
            make([pub])
        except InvalidInputError as error:
            findings.append(_finding(place, pub, error, guessed=guessed))
        else:
            places.append(place)
    if not findings:  # only together are they wrong
        return Draft(None, [CLIENT.finding(None, str(whole), guessed=False)])
    return Draft(make([listed[place] for place in places]) if places else None, findings, places)


def _finding(place: int, pub: Any, error: InvalidInputError, *, guessed: bool) -> CheckFinding:
    widths = _widths(pub)
    if widths is not None and widths[0] != widths[1]:
        said = f"The observables are on {widths[1]} qubits, the circuit is on {widths[0]}."
        return WIDTH.finding(place, said, guessed=guessed)
    return CLIENT.finding(place, str(error), guessed=False)


def _widths(pub: Any) -> tuple[int, int] | None:
    """Return the widths of a PUB's circuit and of its observables, if it has both."""
    if not isinstance(pub, tuple | list) or len(pub) < _OBSERVED_PUB:
        return None
    if not isinstance(pub[0], QuantumCircuit):
        return None
    try:
        observables = ObservablesArray.coerce(pub[1])
    except (TypeError, ValueError):
        return None
    found = observables.num_qubits
    return None if found is None else (pub[0].num_qubits, found)


def _why_options_are_wrong(
    kind: Literal["sampler", "estimator"], options: Any, implementation: Implementation | None
) -> CheckFinding | None:
    """Return what is wrong with the options alone; ``None`` if nothing is."""
    said = why_exclusive(options) if kind == "estimator" else None
    if said is not None:
        return EXCLUSIVE.finding(None, said, guessed=implementation != "v2")
    try:
        chosen_options(kind, implementation or default_implementation(), options)
    except InvalidInputError as error:
        return CLIENT.finding(None, str(error), guessed=False)
    return None


def _kind_of(listed: Sequence[Any], precision: float | None) -> Literal["sampler", "estimator"]:
    """Return which primitive PUBs are for: those with observables are the Estimator's."""
    if precision is not None:
        return "estimator"
    for pub in listed:
        if isinstance(pub, EstimatorPub):
            return "estimator"
        if isinstance(pub, SamplerPub | QuantumCircuit):
            return "sampler"
        if isinstance(pub, tuple | list) and len(pub) >= _OBSERVED_PUB:
            return "estimator" if _observes(pub[1]) else "sampler"
    return "sampler"


def _observes(given: Any) -> bool:
    """Whether the second part of a PUB is observables, and not values of parameters."""
    if isinstance(given, _OBSERVABLES):
        return True
    if isinstance(given, Mapping):  # labels with coefficients, or parameters with values
        return bool(given) and all(
            isinstance(one, str) and not set(one) - _LETTERS for one in given
        )
    if isinstance(given, BindingsArray) or not isinstance(given, list | tuple):
        return getattr(getattr(given, "dtype", None), "kind", "") == "O"
    return any(_observes(one) for one in given)
