"""Fields that a Block does not have: the client's own words are near ours."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from session_block import LocalPlatformCredentials, QuantumSession


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"backend": "ibm_fez"}, "'backend'. Did you mean 'backend_name'? ["),
        ({"maxtime": "1h", "backend": "x"}, "Did you mean 'max_time' and 'backend_name'? ["),
        ({"shots": 100}, "QuantumSession has no field 'shots'. ["),
    ],
)
def test_a_field_that_was_probably_meant_is_named(fields: dict[str, Any], told: str) -> None:
    """And nothing is guessed where nothing is alike."""
    with pytest.raises(ValidationError) as raised:
        QuantumSession(credentials=LocalPlatformCredentials(), **fields)
    assert told in str(raised.value)
