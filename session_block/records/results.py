"""Read what is recorded of a job's result."""

from __future__ import annotations

import zlib
from typing import Any

from qiskit.primitives.containers import BitArray, PrimitiveResult, SamplerPubResult

from session_block.client import decoded
from session_block.errors import LedgerError
from session_block.pubs.encoding import decode_result
from session_block.records.keys import RawResult, Result


def result_of(found: Result | None) -> Any | None:
    """Return the result that a fact holds; ``None`` without a fact, or if it is without content.

    It is not post-processed anew: a primitive's result is recorded as it was first returned.

    Raises:
        LedgerError: It is damaged, or the installed client cannot read it.
    """
    if found is None or found.payload is None:
        return None
    if found.program is None:
        return decode_result(found.payload)
    return _of_text(found.program, found.payload, found.job_id)


def expectation_values(result: Any | None) -> list[tuple[float, float]]:
    """Return the expectation values of a result's first PUB with their standard errors, in order.

    Args:
        result: What :func:`result_of` returns. What is no Estimator's result has none.
    """
    data = result[0].data if isinstance(result, PrimitiveResult) and result else None
    if data is None or not hasattr(data, "evs"):
        return []
    pairs = zip(data.evs.ravel(), data.stds.ravel(), strict=True)
    return [(float(value), float(error)) for value, error in pairs]


def counts_measured(result: Any | None) -> dict[str, int] | None:
    """Return shots by outcome of a Sampler's result, most frequent first.

    Several registers are joined, the first one rightmost.

    Args:
        result: What :func:`result_of` returns. ``None`` is returned unless it has one PUB with one
            parameter set and classical registers.
    """
    only = result[0] if isinstance(result, PrimitiveResult) and len(result) == 1 else None
    if not isinstance(only, SamplerPubResult):
        return None
    registers = list(only.data.values())
    if not registers or not all(isinstance(one, BitArray) and not one.shape for one in registers):
        return None
    counts = only.join_data().get_counts()
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def reprocessed(found: RawResult) -> Any:
    """Return what the installed client makes of a raw result.

    Raises:
        LedgerError: It is damaged, or the installed client cannot read it.
    """
    return _of_text(found.program, found.payload or b"", found.job_id)


def text_of(payload: bytes) -> str:
    """Return the platform's text from the bytes of :func:`as_payload`."""
    return zlib.decompress(payload).decode()


def as_payload(raw: str) -> bytes:
    """Return the platform's text as bytes for the ledger."""
    return zlib.compress(raw.encode())


def _of_text(program: str, payload: bytes, job_id: str) -> Any:
    try:
        return decoded(program, text_of(payload))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"The recorded result of job {job_id} cannot be read ({error}). Install the version of "
            "qiskit-ibm-runtime that it was recorded with, or restore the ledger from its backup.",
            job_id=job_id,
        ) from error
