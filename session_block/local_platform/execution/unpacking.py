"""Refuse parameters that would unpack to more than a machine holds.

The client compresses circuits and arrays, and zlib unpacks to as much as a thousand times the size.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from session_block.local_platform.execution.refusals import ProgramFailedError

MAX_UNPACKED_BYTES = 512 * 1024 * 1024
"""How much all of a job's parameters may unpack to. A guess: nobody has seen IBM's limit."""

_CHUNK = 1024 * 1024
_BEGINNINGS = ("eA", "eF", "eJ", "eN")
"""How a zlib stream begins in base 64."""


def check_unpacked(params: str, limit: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack everything that is compressed, a piece at a time, and keep nothing.

    Raises:
        ProgramFailedError: It is more than the limit. IBM's code for a job that ran out of memory
            is 1336 (real); that it would be given here is a guess.
        ValueError: The parameters are no JSON.
    """
    left = limit
    for packed in _packed(json.loads(params)):
        left -= _size(packed, left)
        if left < 0:
            raise ProgramFailedError(
                1336,
                f"The parameters unpack to more than {limit} bytes: the job ran out of memory.",
                "Split the job into several ones.",
                is_free=True,
            )


def _packed(content: Any) -> Iterator[str]:
    waiting = [content]
    while waiting:
        match waiting.pop():
            case str(text) if text.startswith(_BEGINNINGS):
                yield text
            case list(items):
                waiting += items
            case dict(fields):
                waiting += fields.values()


def _size(packed: str, limit: int) -> int:
    """Return how much a text unpacks to, or something over the limit; 0 if it is no such stream."""
    stream, size = zlib.decompressobj(), 0
    try:
        rest = b64decode(packed)
        while rest and not stream.eof and size <= limit:
            size += len(stream.decompress(rest, _CHUNK))
            rest = stream.unconsumed_tail
    except (ValueError, zlib.error):
        return 0  # whoever decodes it says so
    return size
