"""Requests for the client's other programs: the Executor, noise learners, and any by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit_ibm_runtime import IBMBackend, QuantumProgram, RuntimeEncoder, RuntimeJobV2, Session
from samplomatic.quantum_program import QuantumProgram as AnyQuantumProgram

from session_block.client import EXECUTOR, send_program
from session_block.errors import InvalidInputError
from session_block.pubs.families import client_class
from session_block.pubs.options import (
    check_tags,
    frozen,
    input_errors,
    options_of,
    what_reaches_the_platform,
    with_job_tags,
)
from session_block.pubs.program_fingerprint import (
    fingerprint_inputs,
    fingerprint_instructions,
    fingerprint_quantum_program,
)
from session_block.pubs.request import Request
from session_block.references import Implementation, PrimitiveKind

NOISE_LEARNER = "noise-learner"
"""The platform's name of the program that learns noise."""

_PROGRAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RUNTIME_OPTIONS = frozenset({"image", "job_tags", "log_level", "max_execution_time", "private"})


@dataclass(frozen=True, kw_only=True)
class ProgramRequest(Request):
    """A validated request for a program other than the Sampler and the Estimator.

    Attributes:
        given: What the user gave, by name.
        identify: Returns the identity of its content by a version of the rule.
        run: Sends it once, in a mode and with options.
        fitting: The circuits that have to fit the backend.
    """

    given: Mapping[str, Any]
    identify: Callable[[int], str]
    run: Callable[[Session | IBMBackend, Any], RuntimeJobV2]
    fitting: Sequence[QuantumCircuit] = ()

    @property
    def inputs(self) -> dict[str, Any]:
        """What the user gave, by name."""
        return dict(self.given)

    @property
    def like(self) -> Hashable:
        """Only equal requests are expected to take equally long."""
        return self.kind, self.fingerprint

    def identity_by(self, version: int) -> str:
        """Return the identity of its content by a version of the rule."""
        return self.identify(version)

    @property
    def circuits(self) -> Sequence[QuantumCircuit]:
        """The circuits that have to fit the backend."""
        return self.fitting

    def _called(self, index: int) -> str:
        return f"The circuit of item {index}"

    def send(self, mode: Session | IBMBackend, tags: Sequence[str]) -> RuntimeJobV2:
        """Submit the request once, with these tags in addition to the user's.

        Args:
            mode: The session or batch, or in job mode the backend.
            tags: The package's tags.
        """
        return self.run(mode, _tagged(self.options, tags))


def executor_request(
    program: QuantumProgram, *, options: Any = None, label: str | None = None
) -> ProgramRequest:
    """Make a request for the client's Executor.

    Args:
        program: The client's ``QuantumProgram``, or samplomatic's. Its circuits must be ISA
            circuits. It is recognised by its content: circuits, samplexes, arguments, noise maps.
        options: The client's ``ExecutorOptions``, or a dict of its fields, with up to five of your
            own ``environment.job_tags``.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: The program or the options are wrong.
    """
    if not isinstance(program, AnyQuantumProgram):
        raise InvalidInputError(
            f"A quantum program is needed, not a {type(program).__qualname__}. Nothing was "
            "submitted. For PUBs there are run_sampler and run_estimator."
        )
    if not program.items:
        raise InvalidInputError("The quantum program has no item, so there is nothing to run.")
    wanted = client_class("ExecutorOptions")
    chosen = frozen(options_of(wanted, "an executor", EXECUTOR, options), options)
    relevant = what_reaches_the_platform(chosen)
    return ProgramRequest(
        kind=EXECUTOR,
        implementation="executor",
        options=chosen,
        label=label,
        given={"program": program},
        identify=lambda version: fingerprint_quantum_program(program, relevant, version=version),
        run=lambda mode, its: client_class("Executor")(mode=mode, options=its).run(program),
        fitting=[item.circuit for item in program.items],
    )


def learning_request(
    layers: Iterable[CircuitInstruction] | Iterable[QuantumCircuit],
    *,
    options: Any = None,
    implementation: Implementation | None = None,
    label: str | None = None,
) -> ProgramRequest:
    """Make a request for the client's noise learner.

    Args:
        layers: Whose noise to learn. For the ``executor`` family, boxed layers with a ``Twirl``
            annotation, as an Estimator's ``find_unique_layers`` returns them; ``NoiseLearnerV3``
            learns them. For ``v2``, circuits or Estimator PUBs, for the older ``NoiseLearner``.
        options: The options of the client's learner, or a dict of their fields, with up to five of
            your own ``environment.job_tags``.
        implementation: ``v2`` or ``executor``, the client's two families; ``None`` for the
            experiment's own.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: There is no layer, something else is given, or the options are wrong.
    """
    given: list[Any] = list(layers)
    if not given:
        raise InvalidInputError("There is no layer, so there is no noise to learn.")
    older = implementation == "v2"
    others = [one for one in given if not isinstance(one, CircuitInstruction)]
    if others and not older:
        raise InvalidInputError(
            f"The executor family's noise learner takes boxed layers, not "
            f"{type(others[0]).__qualname__} objects. Nothing was submitted. An Estimator's "
            "find_unique_layers returns them; or give circuits or PUBs with implementation='v2'."
        )
    name = "NoiseLearner" if older else "NoiseLearnerV3"
    wanted = client_class(f"{name}Options")
    chosen = frozen(options_of(wanted, "a noise learner", NOISE_LEARNER, options), options)
    relevant = what_reaches_the_platform(chosen)

    def identify(version: int) -> str:
        if older:
            told = {"circuits": given}
            return fingerprint_inputs(NOISE_LEARNER, told, relevant, version=version)
        return fingerprint_instructions(given, relevant, version=version)

    return ProgramRequest(
        kind=NOISE_LEARNER,
        implementation=implementation or "executor",
        options=chosen,
        label=label,
        given={"layers": given},
        identify=identify,
        run=lambda mode, its: client_class(name)(mode, its).run(given),
    )


def program_request(
    program_id: str,
    inputs: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> ProgramRequest:
    """Make a request for any program of the platform.

    Args:
        program_id: The platform's name of the program.
        inputs: Its inputs by name, of what the client can encode: JSON values, NumPy arrays,
            circuits, PUBs, observables. They are the request's identity, by content.
        options: The client's runtime options: ``job_tags`` (up to five), ``log_level``,
            ``max_execution_time``, ``private``, ``image``.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: The name, the inputs or the options are wrong.
    """
    if not isinstance(program_id, str) or not _PROGRAM_NAME.fullmatch(program_id):
        raise InvalidInputError(f"{program_id!r} cannot be the name of a program.")
    if program_id in get_args(PrimitiveKind):
        raise InvalidInputError(
            f"For the {program_id} there are run_{program_id} and submit_{program_id}, which check "
            "what they are given. Nothing was submitted."
        )
    chosen = dict(options or {})
    if unknown := sorted(set(chosen) - _RUNTIME_OPTIONS):
        raise InvalidInputError(
            f"There is no runtime option {unknown[0]!r}. Nothing was submitted. The options are: "
            f"{', '.join(sorted(_RUNTIME_OPTIONS))}."
        )
    check_tags(chosen.get("job_tags"), "options.job_tags")
    given = deepcopy(dict(inputs))
    with input_errors(f"The inputs of program {program_id!r} are"):
        json.dumps(given, cls=RuntimeEncoder)
    told = {name: one for name, one in chosen.items() if name not in {"job_tags", "log_level"}}
    return ProgramRequest(
        kind=program_id,
        implementation=None,
        options=chosen,
        label=label,
        given=given,
        identify=lambda version: fingerprint_inputs(program_id, given, told, version=version),
        run=partial(_run, program_id, given),
    )


def _run(
    program_id: str,
    inputs: Mapping[str, Any],
    mode: Session | IBMBackend,
    options: Mapping[str, Any],
) -> RuntimeJobV2:
    return send_program(mode, program_id, inputs, options)


def _tagged(options: Any, tags: Sequence[str]) -> Any:
    if isinstance(options, Mapping):
        return {**options, "job_tags": [*options.get("job_tags", ()), *tags]}
    return with_job_tags(options, [*(options.environment.job_tags or ()), *tags])
