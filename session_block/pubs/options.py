"""The client's options of a request: chosen, validated and compared with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any, cast, get_args

import numpy as np
from pydantic import BaseModel
from qiskit.circuit import CircuitInstruction
from qiskit_ibm_runtime.exceptions import IBMInputValueError

from session_block.errors import InvalidInputError
from session_block.pubs.checks import check_options
from session_block.pubs.families import is_unset, options_class
from session_block.pubs.program_fingerprint import fingerprint_inputs
from session_block.references import Implementation, PrimitiveKind
from session_block.tags import MAX_TAG_LENGTH

MAX_USER_TAGS = 5
_RANDOM_FOLDING = "gate_folding"
_LAYER = "layer of a noise model"
_LAYERS_TOLD_BY = 2
"""The version of the rule for layers in options, whatever the request's: no older one knew them."""
_LEARN = (
    "Learn the noise before, with the client's NoiseLearnerV3, and give the models as "
    "options.resilience.layer_noise_model"
)
_SIMULATE = "The local platform simulates with a device's noise: set its noise to 'device'"
ONLY_V2 = {
    "seed_estimator": "The platform chooses the seed; the local platform's follows its own",
    "resilience.layer_noise_learning": _LEARN,
    "resilience.measure_noise_learning.shots_per_randomization": (
        "The readout is learned with the request's own shots; "
        "options.resilience.measure_noise_learning.num_randomizations says how often"
    ),
    "simulator.noise_model": _SIMULATE,
    "simulator.basis_gates": _SIMULATE,
    "simulator.coupling_map": _SIMULATE,
}
"""Options of the family ``v2`` that the other family lacks, and what takes their place."""


@contextmanager
def input_errors(subject: str) -> Iterator[None]:
    """Turn the errors of Qiskit and the client for bad input into this package's error.

    Args:
        subject: The message begins with it; it ends with a verb, as in "The request is".
    """
    try:
        yield
    except InvalidInputError:
        raise
    except (ValueError, TypeError, IBMInputValueError) as error:
        raise InvalidInputError(f"{subject} wrong: {error}. Nothing was submitted.") from error


def chosen_options(kind: PrimitiveKind, implementation: Implementation, options: Any) -> Any:
    """Return the options as an object of the client's class for a primitive.

    Raises:
        InvalidInputError: They have the wrong class, one is not valid, or there are too many tags
            or too long ones.
    """
    wanted = options_class(kind, implementation)
    if implementation == "executor" and isinstance(options, Mapping):
        _check_family(options)
    if options is not None and not isinstance(options, Mapping | wanted):
        _check_class(kind, implementation, options)
    return options_of(wanted, f"a {kind} of implementation {implementation!r}", kind, options)


def _check_class(kind: PrimitiveKind, implementation: Implementation, options: Any) -> None:
    """Refuse the options of the other family, and say which one takes them."""
    other = next(one for one in get_args(Implementation) if one != implementation)
    try:
        theirs = options_class(kind, other)
    except InvalidInputError:  # the client has no such family
        return
    if isinstance(options, theirs):
        raise InvalidInputError(
            f"options are {_name(theirs)}, which belong to implementation {other!r}, and this "
            f"request is of {implementation!r}. Give a dict or "
            f"{_name(options_class(kind, implementation))}, or ask with implementation={other!r}. "
            "Nothing was submitted."
        )


def options_of(wanted: type[Any], of: str, kind: str, options: Any) -> Any:
    """Return the options as an object of one of the client's classes.

    Args:
        wanted: The class.
        of: What they are options of, for messages, with its article.
        kind: The same in short.
        options: An object of the class, a dict of its fields, or ``None`` for the defaults.

    Raises:
        InvalidInputError: They have the wrong class, one is not valid, or there are too many tags
            or too long ones.
    """
    if options is not None and not isinstance(options, Mapping | wanted):
        raise InvalidInputError(
            f"options must be a dict or {_name(wanted)} for {of}, not {_name(type(options))}. "
            "Nothing was submitted."
        )
    with input_errors(f"The {kind} options are"):
        chosen = wanted(**_plain(options or {})) if not isinstance(options, wanted) else options
    check_tags(chosen.environment.job_tags)
    _check_numbers(chosen)
    return chosen


def _name(of: type[Any]) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _check_family(options: Mapping[str, Any]) -> None:
    """Refuse by name what only the family ``v2`` has, and say what takes its place."""
    for path, instead in ONLY_V2.items():
        value: Any = options
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None and not is_unset(value):
            raise InvalidInputError(
                f"options.{path} belongs to implementation 'v2' alone, and this request is of "
                f"'executor'. {instead}, or ask with implementation='v2'. Nothing was submitted."
            )


def _plain(value: Any) -> Any:
    """Return a dict's values with Python's numbers for NumPy's."""
    match value:
        case np.generic():
            return value.item()
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_plain(item) for item in value)
        case _:
            return value


def _check_numbers(options: Any) -> None:
    """Check the numbers that the client's own classes let pass."""
    check_options({} if options == _default(cast(Hashable, type(options))) else _as_dict(options))
    for name in ("default_shots", "default_precision"):
        value = getattr(options, name, None)
        if isinstance(value, int | float) and value <= 0:
            raise InvalidInputError(
                f"options.{name} is {value}. Nothing was submitted. Give a positive number, or "
                "leave it out for the client's default."
            )


def check_tags(tags: Any, name: str = "options.environment.job_tags") -> None:
    """Check the user's own job tags.

    Raises:
        InvalidInputError: They are no texts, too many or too long. The message names the option.
    """
    if tags is None or is_unset(tags):
        return
    texts = isinstance(tags, list | tuple) and all(isinstance(tag, str) and tag for tag in tags)
    if not texts:
        raise InvalidInputError(
            f"{name} must be a list of texts, not {tags!r}. Nothing was submitted."
        )
    if len(tags) > MAX_USER_TAGS:
        raise InvalidInputError(
            f"{name} holds {len(tags)} tags. Give up to {MAX_USER_TAGS}: IBM "
            "allows eight, and this package needs three to find each job again."
        )
    if long := [tag for tag in tags if len(tag) > MAX_TAG_LENGTH]:
        raise InvalidInputError(
            f"The job tag {long[0]!r} is longer than the {MAX_TAG_LENGTH} characters that IBM "
            "allows. Shorten it."
        )


def frozen(chosen: Any, given: Any) -> Any:
    """Return options that later changes of the user's own option object do not reach.

    The request may be sent again much later, if its session ends first.
    """
    return deepcopy(chosen) if chosen is given else chosen


def what_reaches_the_platform(options: Any) -> dict[str, Any]:
    """Return the options that differ from the defaults, without tags and log level.

    Defaults are left out so that a new default in a later client does not change the identity of
    a request that never mentioned it.
    """
    default = _default(cast(Hashable, type(options)))
    if options == default:
        return {"environment": {}}
    chosen = _differences(_as_dict(options), _as_dict(default))
    environment = chosen.get("environment", {})
    kept = {
        key: value for key, value in environment.items() if key not in {"job_tags", "log_level"}
    }
    others = {key: _described(chosen[key]) for key in chosen if key != "environment"}
    return {**others, "environment": kept}


def are_drawn_in_the_client(options: Any) -> bool:
    """Whether the client draws at random what it sends for requests with these options.

    So its Estimator of the family ``executor`` does for ZNE that folds gates at random, unless each
    noise factor is odd: then all gates are folded equally often [client source].
    """
    resilience = getattr(options, "resilience", None)
    if resilience is None or not isinstance(options, BaseModel):
        return False
    zne = resilience.zne
    if resilience.zne_mitigation is False or zne.amplifier != _RANDOM_FOLDING:
        return False
    return zne.noise_factors != "auto" and any(one % 2 != 1 for one in zne.noise_factors)


def _described(option: Any) -> Any:
    """Return an option with the client's noise models as plain values: their repr shows nothing."""
    # By name, so that the client's classes are not needed.
    match type(option).__name__:
        case "NoiseLearnerResult":
            return _described(option.data)
        case "LayerError":
            return [option.circuit, option.qubits, _described(option.error)]
        case "PauliLindbladError":
            return [option.generators.to_labels(), option.rates]
    match option:
        case tuple() if any(isinstance(one, CircuitInstruction) for one in option):
            told = {"layer": list(option)}
            return fingerprint_inputs(_LAYER, told, {}, version=_LAYERS_TOLD_BY)
        case Mapping():
            return {key: _described(value) for key, value in option.items()}
        case list() | tuple():
            return [_described(value) for value in option]
        case _:
            return option


@cache
def _default(options_class: Any) -> Any:
    return options_class()


def _differences(chosen: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for key, value in chosen.items():
        usual = default.get(key)
        if isinstance(value, Mapping) and isinstance(usual, Mapping):
            if nested := _differences(value, usual):
                differences[key] = nested
        elif not is_unset(value) and (type(value) is not type(usual) or value != usual):
            differences[key] = value
    return differences


def _as_dict(options: Any) -> dict[str, Any]:
    if isinstance(options, BaseModel):
        return options.model_dump()
    return dataclasses.asdict(options)


def max_execution_time(options: Any) -> int | None:
    """Return a job's maximum execution time in seconds; ``None`` if the options do not say.

    The options' own comes before that of their environment [client source].
    """
    environment = getattr(options, "environment", None)
    for given in (options, environment):
        limit = getattr(given, "max_execution_time", None)
        if isinstance(limit, int):
            return limit
    return None


def with_job_tags(options: Any, tags: Sequence[str]) -> Any:
    """Return the options with these job tags instead of their own."""
    return _replace(options, environment=_replace(options.environment, job_tags=list(tags)))


def _replace(options: Any, **changes: Any) -> Any:
    if isinstance(options, BaseModel):
        return options.model_copy(update=changes)
    return dataclasses.replace(options, **changes)
