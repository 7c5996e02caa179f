"""The client's two families of primitives, each imported when it is first used, and alone.

IBM has deprecated ``SamplerV2`` and ``EstimatorV2`` and will remove them [client source]; clients
before 0.50 do not have the other family in full. A client that lacks one runs the other.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any, get_args

from session_block.errors import InvalidInputError
from session_block.references import DEFAULT_IMPLEMENTATION, Implementation, PrimitiveKind

_CLIENT = "qiskit_ibm_runtime"
_PRIMITIVES = {
    ("sampler", "v2"): (_CLIENT, "SamplerV2"),
    ("estimator", "v2"): (_CLIENT, "EstimatorV2"),
    ("sampler", "executor"): (f"{_CLIENT}.executor_sampler", "Sampler"),
    ("estimator", "executor"): (f"{_CLIENT}.executor_estimator", "Estimator"),
}
_OPTIONS = {
    ("sampler", "v2"): (f"{_CLIENT}.options", "SamplerOptions"),
    ("estimator", "v2"): (f"{_CLIENT}.options", "EstimatorOptions"),
    ("sampler", "executor"): (f"{_CLIENT}.options_models", "SamplerOptions"),
    ("estimator", "executor"): (f"{_CLIENT}.options_models", "EstimatorOptions"),
}
_OTHERS = {
    "Executor": _CLIENT,
    "ExecutorOptions": f"{_CLIENT}.options_models",
    "NoiseLearner": _CLIENT,
    "NoiseLearnerOptions": f"{_CLIENT}.options",
    "NoiseLearnerV3": _CLIENT,
    "NoiseLearnerV3Options": f"{_CLIENT}.options_models",
}
"""Other classes of the client that run a program, and their options."""


def primitive_class(kind: PrimitiveKind, implementation: Implementation) -> type[Any]:
    """Return the client's class of a primitive.

    Raises:
        InvalidInputError: There is no such family, or the installed client does not have it.
    """
    return _imported(_PRIMITIVES, kind, implementation)


def options_class(kind: PrimitiveKind, implementation: Implementation) -> type[Any]:
    """Return the client's class of a primitive's options.

    Raises:
        InvalidInputError: There is no such family, or the installed client does not have it.
    """
    primitive_class(kind, implementation)  # options alone are of no use
    return _imported(_OPTIONS, kind, implementation)


def client_class(name: str) -> type[Any]:
    """Return another class of the client that runs a program, or its options' class.

    Raises:
        InvalidInputError: The installed client does not have it.
    """
    try:
        found: type[Any] = getattr(import_module(_OTHERS[name]), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"The installed qiskit-ibm-runtime {version('qiskit-ibm-runtime')} has no {name}. "
            "Nothing was submitted. Install a version that has it."
        ) from error
    return found


def default_implementation() -> Implementation:
    """Return the family of new Blocks: the default one, or the other if the client lacks it."""
    known: tuple[Implementation, ...] = get_args(Implementation)
    for one in sorted(known, key=lambda one: one != DEFAULT_IMPLEMENTATION):
        try:
            primitive_class("sampler", one)
        except InvalidInputError:
            continue
        return one
    return DEFAULT_IMPLEMENTATION


def is_unset(value: Any) -> bool:
    """Whether a value is the mark by which options of the ``v2`` family stand for a default."""
    return type(value).__name__ == "UnsetType"


def _imported(
    names: dict[tuple[str, str], tuple[str, str]],
    kind: PrimitiveKind,
    implementation: Implementation,
) -> type[Any]:
    if (kind, implementation) not in names:
        known = " or ".join(map(repr, get_args(Implementation)))
        raise InvalidInputError(f"implementation must be {known}, not {implementation!r}.")
    module, name = names[kind, implementation]
    try:
        found: type[Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        other = next(one for one in get_args(Implementation) if one != implementation)
        raise InvalidInputError(
            f"The installed qiskit-ibm-runtime {version('qiskit-ibm-runtime')} has no primitives "
            f"of implementation {implementation!r}. Nothing was submitted. Set {other!r} on the "
            "Block for new experiments; one that began with "
            f"{implementation!r} needs a client that has it: pip install "
            "'qiskit-ibm-runtime<0.53' for 'v2', a newer one for 'executor'."
        ) from error
    return found
