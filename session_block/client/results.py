"""Read a job's result as the platform gives it, and decode it as the client does."""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from qiskit.primitives import PrimitiveResult
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS
from qiskit_ibm_runtime.decoders.result_decoder import ResultDecoder

EXECUTOR = "executor"
"""The platform's name of the program whose bits the client itself makes into results."""

_POST_PROCESSED_BY = ("qiskit-ibm-runtime", "qiskit-mitigation", "samplomatic")


class _AsItCame(ResultDecoder):  # type: ignore[misc]  # untyped
    """Decodes nothing."""

    @classmethod
    def decode(cls, data: Any) -> Any:
        """Return the platform's text."""
        return data


def raw_result(job: RuntimeJobV2) -> str | None:
    """Return the result of a finished job as the platform's own text; ``None`` if it is empty.

    Raises:
        RuntimeJobFailureError: The job failed.
        RequestsApiError: The platform did not answer.
    """
    raw = job.result(decoder=_AsItCame)
    return None if raw is None else str(raw)


def decoded(program: str, raw: str) -> Any:
    """Return a result from the platform's text, as the client's job returns it.

    Each PUB of an executor's estimator gets the ``target_precision`` that Qiskit's own estimators
    and IBM's deprecated one name, and that qiskit-algorithms reads.

    Args:
        program: The platform's name of the program.
        raw: The text.

    Raises:
        ValueError: The installed client cannot decode it.
    """
    result: Any = raw
    found = DEFAULT_DECODERS.get(program, ResultDecoder)
    for decoder in found if isinstance(found, list) else [found]:  # clients before 0.51 have one
        if not hasattr(decoder, "is_applicable") or decoder.is_applicable(result):
            result = decoder.decode(result)
    if program == EXECUTOR and isinstance(result, PrimitiveResult):
        _name_precision(result)
    return result


def _name_precision(result: PrimitiveResult) -> None:
    """Copy the precision from the metadata of the whole job into that of each PUB."""
    told = result.metadata
    if "target_precision" not in told:
        return  # a sampler's, which has none
    precision = told["target_precision"]
    if precision is None and told.get("shots"):
        # The shots were given, or follow from a default; this is how the client relates the two.
        precision = 1 / math.sqrt(told["shots"])
    for one in result:
        one.metadata.setdefault("target_precision", precision)


def post_processors(program: str) -> dict[str, str] | None:
    """Return the versions of what makes a program's result out of bits in this process.

    ``None`` if the platform makes it.
    """
    if program != EXECUTOR:
        return None
    found = {}
    for name in _POST_PROCESSED_BY:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an older client does without it
    return found
