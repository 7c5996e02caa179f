"""``max_time`` is read as the real client reads it, and checked before any network call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit_ibm_runtime.utils.converters import hms_to_seconds

from session_block.blocks.durations import (
    MIN_MAX_TIME_SECONDS,
    SYSTEM_MAX_TIME_SECONDS,
    max_time_seconds,
)
from session_block.errors import InvalidInputError

_PARTS = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from("dhms")).map(lambda part: f"{part[0]}{part[1]}"),
    min_size=1,
    max_size=4,
)


@given(_PARTS, st.sampled_from(["", " ", "  "]))
def test_text_means_what_the_client_makes_of_it(parts: list[str], space: str) -> None:
    """Every duration that is accepted has the client's number of seconds."""
    text = space.join(parts)
    expected = hms_to_seconds(text)
    if MIN_MAX_TIME_SECONDS <= expected <= SYSTEM_MAX_TIME_SECONDS:
        assert max_time_seconds(text) == expected
    else:
        with pytest.raises(InvalidInputError, match="a session lasts"):
            max_time_seconds(text)


def test_seconds_and_none_pass_through() -> None:
    """An int is seconds; ``None`` leaves the choice to the platform."""
    assert max_time_seconds(3600) == 3600
    assert max_time_seconds(None) is None


@pytest.mark.parametrize("bad", ["", "2", "2x", "2h 30x", "h", "-5m", "2.5h", "2h,30m", " "])
def test_malformed_text_is_refused(bad: str) -> None:
    """What the client would refuse or silently skip is refused, with an example."""
    with pytest.raises(InvalidInputError, match="2h 30m 40s"):
        max_time_seconds(bad)


@pytest.mark.parametrize("bad", [0, -1, 59, "59s", 28_801, "8h 1s", "1d", True, 2.5])
def test_values_outside_the_limits_are_refused(bad: object) -> None:
    """Nothing shorter than a minute, longer than eight hours, or of another type is accepted."""
    with pytest.raises(InvalidInputError, match="max_time"):
        max_time_seconds(bad)  # type: ignore[arg-type]
