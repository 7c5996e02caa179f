"""A platform that the tests of a module share, for faults that other modules must not meet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_block.local_platform import LocalPlatform


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalPlatform]:
    """One platform for this module."""
    with LocalPlatform(interactive_seconds=1) as platform:
        yield platform


@pytest.fixture
def own(shared: LocalPlatform) -> LocalPlatform:
    """The platform without the faults of earlier tests."""
    shared.clear_faults()
    return shared
