"""Read what is recorded of a job's result."""

from __future__ import annotations

import zlib
from typing import Any

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
