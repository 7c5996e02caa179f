"""What an optimiser or an algorithm returns, as JSON values for an experiment's report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel
from scipy.optimize import OptimizeResult

from session_block.errors import InvalidInputError


def plain(outcome: Any) -> dict[str, Any]:
    """Return an outcome as a JSON object.

    Of SciPy's ``OptimizeResult`` what is no JSON value, such as an approximate Hessian, is left
    out. A number, a text or a list comes under the key ``outcome``.

    Raises:
        InvalidInputError: The outcome is, or holds, something that has no JSON value.
    """
    if isinstance(outcome, OptimizeResult):
        return {key: _plain(value) for key, value in outcome.items() if _has_json(value)}
    value = _plain(outcome)
    return value if isinstance(value, dict) else {"outcome": value}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case BaseModel():
            return _plain(value.model_dump(mode="json"))
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            raise InvalidInputError(
                f"A report cannot hold {value!r} ({type(value).__qualname__}): it is kept as JSON. "
                "Give numbers, text, lists, dicts, NumPy arrays or pydantic models."
            )


def _has_json(value: Any) -> bool:
    try:
        json.dumps(_plain(value))
    except InvalidInputError:
        return False
    return True
