"""Seeds from the content of a job: not from its time, place, ID or session.

Equal requests of one experiment are repetitions, and give other samples, as on hardware. Which one
it is stands in the tag of an experiment's job. So the same request gives the same sample whatever
was killed before it, and however often it was sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_REPETITION = re.compile(r"qs-sub:[0-9a-f]+\.[0-9a-f]+\.\d+\.\d+(?:-[a-z][0-9a-z]*)*?-o(\d+)\b.*")


def repetition(tags: Sequence[str]) -> int:
    """Return which of an experiment's equal requests a job is; 1 if its tags do not say."""
    for tag in tags:
        if match := _REPETITION.fullmatch(tag):
            return int(match[1])
    return 1


def content_seed(*content: Any) -> int:
    """Return a seed below 2**31, equal for equal content in any process.

    Content may be text, numbers, arrays, None, and sequences and mappings of these. Of anything
    else, ``str()`` is used.
    """
    digest = hashlib.sha256()
    _feed(digest, content)
    return int.from_bytes(digest.digest()[:8], "big") % (2**31)


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            _feed(digest, value.tolist())
        else:
            digest.update(f"array {value.dtype.str} {value.shape} ".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key in sorted(value, key=str):
            _feed(digest, str(key))
            _feed(digest, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"sequence {len(value)} ".encode())
        for part in value:
            _feed(digest, part)
    else:
        text = str(value)
        digest.update(f"{type(value).__name__} {len(text)} {text} ".encode())
