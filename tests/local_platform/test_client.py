from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError

from session_block import local_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform import PlatformInfo


def test_connects_by_environment_alone(platform: PlatformInfo) -> None:
    """With the platform's environment a plain QiskitRuntimeService() lists its backends."""
    code = (
        "from qiskit_ibm_runtime import QiskitRuntimeService as Q\n"
        "s = Q()\n"
        "print(s.active_instance(), *sorted(b.name for b in s.backends()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **local_platform.environment(platform)},
        capture_output=True,
        text=True,
        check=True,
    )
    of_the_region = {"ibm_manila", "ibm_nairobi", "ibm_hanoi", "ibm_sherbrooke", "ibm_fez"}
    assert run.stdout.split() == [platform.instance, *sorted(of_the_region)]


def test_refuses_a_wrong_api_key(
    platform: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """A wrong API key does not get in."""
    with pytest.raises(InvalidAccountError):
        connect(platform, token="wrong")


def test_instance_usage(service: QiskitRuntimeService) -> None:
    """The instance reports what it has used and no limit."""
    usage = service.usage()
    assert usage["usage_consumed_seconds"] >= 0
    assert not usage["usage_limit_reached"]
