"""Results as plain JSON values: counts of bitstrings, expectation values."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.primitives.containers import BitArray

from session_block.results import encode_result

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult


def plain_values(result: PrimitiveResult) -> list[dict[str, Any]]:
    """Return what a result holds, a dict for each PUB, by the names of its data.

    A classical register has its ``num_shots`` and ``counts``: a dict, or where the PUB has several
    parameter sets a list of them beside their ``shape``, the last index running fastest.
    Expectation values (``evs``) and standard errors (``stds``) are numbers, or nested lists. What
    was not measured to a number (NaN) is ``None``.
    """
    return [{name: _plain(value) for name, value in one.data.items()} for one in result]


def runtime_json(result: PrimitiveResult) -> Any:
    """Return the whole of a result as IBM's runtime JSON, in JSON values.

    The client's ``RuntimeDecoder`` makes the result of it again.
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
