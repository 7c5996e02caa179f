"""Values as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

UNKNOWN = "unknown"

_LONGEST = 200
"""So many characters of a text are shown."""

_ITEMS = 8
"""So many numbers of a list, or outcomes of counts, are shown."""


def shown_value(value: Any) -> str:
    """Return a value as text for people; long ones are cut.

    Example:
        >>> shown_value([0.25, 1.0]), shown_value({"00": 510, "11": 514}), shown_value(None)
        ('0.25, 1', '00: 510, 11: 514', '')
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.7g}" if math.isfinite(value) else UNKNOWN
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case Mapping():
            return _listed([f"{key}: {shown_value(one)}" for key, one in value.items()])
        case list() | tuple():
            return _listed([shown_value(one) for one in value[: _ITEMS + 1]], len(value))
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _listed(texts: Sequence[str], number: int | None = None) -> str:
    left_out = (len(texts) if number is None else number) - _ITEMS
    more = f", … ({left_out} more)" if left_out > 0 else ""
    return f"{', '.join(texts[:_ITEMS])}{more}"
