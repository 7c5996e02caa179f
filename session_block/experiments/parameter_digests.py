"""Digests of a flow's parameters, which tell one call of it from another.

A digest is the same in another process and on another machine. References count as what they name,
Blocks by their names, and secrets not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
from prefect.blocks.core import Block
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from session_block.records.views import ExperimentRecords
from session_block.references import JobRef, SessionRef

_SESSION_FIELDS = {"experiment", "uid", "opening"}
_JOB_FIELDS = {"session", "submission", "job_id"}


def digests_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each parameter, by its name."""
    return {str(name): digest_of(value) for name, value in parameters.items()}


def digest_of(value: Any) -> str:
    """Return the digest of a value.

    Limit: objects without a stable content, such as open connections, count by their class alone.
    """
    text = json.dumps(_reduced(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _reduced(value: Any) -> Any:
    """Return JSON values that stand for a value."""
    if value is None or isinstance(value, bool | int | str):
        return value
    for kind, reduce in _REDUCERS:
        if isinstance(value, kind):
            return reduce(value)
    return _other(value)


def _mapping(value: Mapping[Any, Any]) -> Any:
    # A reference that came as JSON, as the parameters of a deployment do.
    if value.keys() >= _SESSION_FIELDS:
        return ["experiment", value["uid"]]
    if value.keys() >= _JOB_FIELDS and isinstance(value["session"], Mapping):
        return ["job", value["session"].get("uid"), value["submission"]]
    return {str(name): _reduced(one) for name, one in value.items()}


def _block(block: Block) -> Any:
    name = block._block_document_name  # noqa: SLF001 - Prefect's own attribute of a saved Block
    if name is not None:
        return ["block", block.get_block_type_slug(), name]
    return ["block", block.get_block_type_slug(), {key: _reduced(one) for key, one in block}]


def _other(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _reduced(getattr(value, one.name)) for one in fields(value)}
    if callable(value) and hasattr(value, "__qualname__"):
        return ["code", value.__qualname__]
    if type(value).__module__.partition(".")[0] == "qiskit":
        return _of_qiskit(value)
    try:
        return _reduced(to_jsonable_python(value))
    except PydanticSerializationError:
        return ["object", type(value).__qualname__]


def _of_qiskit(value: Any) -> Any:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp

    from session_block.pubs.fingerprint import CIRCUIT_FINGERPRINTS

    if isinstance(value, QuantumCircuit):
        return ["circuit", CIRCUIT_FINGERPRINTS[2](value)]
    if isinstance(value, SparsePauliOp):
        terms = [[label, repr(complex(weight))] for label, weight in value.to_list()]
        return ["operator", value.num_qubits, terms]
    return ["object", type(value).__qualname__]


_REDUCERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: _reduced(value.value)),
    (np.generic, lambda value: _reduced(value.item())),
    (float, repr),
    ((SecretStr, SecretBytes), lambda _: ["secret"]),
    ((SessionRef, ExperimentRecords), lambda value: ["experiment", value.uid]),
    (JobRef, lambda value: ["job", value.session.uid, value.submission]),
    (Block, _block),
    (PurePath, str),
    (np.ndarray, lambda value: ["array", _reduced(value.tolist())]),
    (Mapping, _mapping),
    (AbstractSet, lambda value: ["set", sorted(map(digest_of, value))]),
    ((list, tuple), lambda value: [_reduced(one) for one in value]),
    (partial, lambda value: ["partial", *map(_reduced, (value.func, value.args, value.keywords))]),
    (BaseModel, lambda value: {name: _reduced(one) for name, one in value}),
)
"""How values of each kind are reduced; the first kind that fits counts."""
