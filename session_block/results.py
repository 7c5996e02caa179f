"""Results to and from bytes: compressed runtime JSON, never a pickle."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import asdict, is_dataclass
from typing import Any

from pydantic import BaseModel
from qiskit import QuantumCircuit, qpy
from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder

from session_block.errors import LedgerError


class _Encoder(RuntimeEncoder):  # type: ignore[misc]  # the client is untyped
    """The client's encoder, and what its own executor primitives put into metadata."""

    def default(self, obj: Any) -> Any:
        if is_dataclass(obj) and not isinstance(obj, type):
            return asdict(obj)
        if isinstance(obj, BaseModel):
            return obj.model_dump()
        return super().default(obj)


def encode_result(result: PrimitiveResult) -> bytes:
    """Return a primitive's result as bytes; metadata that are records become dicts."""
    return zlib.compress(json.dumps(result, cls=_Encoder).encode())


def decode_result(payload: bytes) -> PrimitiveResult:
    """Return the result that :func:`encode_result` made bytes of.

    Raises:
        LedgerError: The bytes are damaged.
    """
    try:
        result = json.loads(zlib.decompress(payload), cls=RuntimeDecoder)
    except (zlib.error, ValueError) as error:
        raise LedgerError(
            f"A recorded result is damaged ({error}). Restore the ledger from its backup, or set "
            "it aside; the job's result can be fetched again while the platform keeps it."
        ) from error
    if not isinstance(result, PrimitiveResult):
        raise LedgerError(f"A recorded result holds a {type(result).__qualname__} instead.")
    return result


def encode_circuit(circuit: QuantumCircuit) -> bytes:
    """Return a circuit, with its layout, as QPY bytes."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return buffer.getvalue()


def decode_circuit(payload: bytes) -> QuantumCircuit:
    """Return the circuit that :func:`encode_circuit` made bytes of."""
    return qpy.load(io.BytesIO(payload))[0]
