"""Encode results and circuits for the ledger, and results as plain JSON values for people."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError
from qiskit import QuantumCircuit, qpy
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers import BitArray, PrimitiveResult
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.results.quantum_program import Metadata

from session_block.errors import LedgerError

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult


def plain_values(result: Any) -> list[dict[str, Any]]:
    """Return a result's data as one dict per PUB, with the names of its data as keys.

    The results of other programs than primitives have no plain values: the list is empty.

    A classical register has its ``num_shots`` and ``counts``. ``counts`` is a dict or, if the PUB
    has several parameter sets, a list of dicts, with their ``shape``; the last index runs fastest.
    Expectation values (``evs``) and standard errors (``stds``) are numbers or nested lists. NaN and
    infinite values become ``None``.
    """
    if not isinstance(result, PrimitiveResult):
        return []
    return [{name: _plain(value) for name, value in one.data.items()} for one in result]


def runtime_json(result: PrimitiveResult) -> Any:
    """Return a complete result as IBM's runtime JSON, in JSON values.

    The client's ``RuntimeDecoder`` turns it back into the result.
    """
    return json.loads(zlib.decompress(encode_result(result)))


def _plain(value: Any) -> Any:
    if not isinstance(value, BitArray):
        return _without_nan(np.asarray(value).tolist())
    if value.shape == ():
        return {"num_shots": value.num_shots, "counts": _sorted(value.get_counts())}
    counts = [_sorted(value.get_counts(place)) for place in np.ndindex(value.shape)]
    return {"num_shots": value.num_shots, "shape": list(value.shape), "counts": counts}


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class _Encoder(RuntimeEncoder):  # type: ignore[misc]  # the client is untyped
    """The client's encoder, extended to the metadata objects of its own executor primitives."""

    def default(self, obj: Any) -> Any:
        if is_dataclass(obj) and not isinstance(obj, type):
            return asdict(obj)
        if isinstance(obj, BaseModel):
            return obj.model_dump()
        return super().default(obj)


def encode_result(result: PrimitiveResult) -> bytes:
    """Return a primitive's result as bytes; dataclasses and models in metadata become dicts.

    :func:`decode_result` makes the executor's own metadata an object again.
    """
    return zlib.compress(json.dumps(result, cls=_Encoder).encode())


def decode_result(payload: bytes) -> PrimitiveResult:
    """Return the result from the bytes of :func:`encode_result`.

    Raises:
        LedgerError: The bytes are damaged.
    """
    try:
        result = json.loads(zlib.decompress(payload), cls=RuntimeDecoder)
    except (zlib.error, ValueError) as error:
        raise LedgerError(
            f"A recorded result is damaged ({error}). Restore the ledger from its backup, or set "
            "it aside. The job's result can be fetched again while the platform keeps it."
        ) from error
    if not isinstance(result, PrimitiveResult):
        raise LedgerError(f"A recorded result holds a {type(result).__qualname__} instead.")
    if "executor" in result.metadata:
        result.metadata["executor"] = _executor_metadata(result.metadata["executor"])
    return result


def _executor_metadata(recorded: Any) -> Any:
    """Return what the client's executor primitives have there, also from its recorded dict."""
    try:
        return _metadata_adapter().validate_python(recorded)
    except ValidationError:
        return recorded  # another version of the client has other fields


@cache
def _metadata_adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Metadata)


def encode_circuit(circuit: QuantumCircuit) -> bytes:
    """Return a circuit, with its layout, as QPY bytes."""
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return buffer.getvalue()


def decode_circuit(payload: bytes) -> QuantumCircuit:
    """Return the circuit from the bytes of :func:`encode_circuit`.

    Raises:
        LedgerError: The bytes are damaged.
    """
    try:
        circuit: QuantumCircuit = qpy.load(io.BytesIO(payload))[0]
    except (QiskitError, struct.error, LookupError, ValueError, EOFError) as error:
        raise LedgerError(
            f"A pinned circuit is damaged ({error}). Restore the ledger from its backup, or set it "
            "aside and start a new experiment with fresh=True."
        ) from error
    return circuit
