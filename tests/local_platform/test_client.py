from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError

from session_block import local_platform
from session_block.local_platform.backends import DEVICES

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
    assert run.stdout.split() == [platform.instance, *sorted(DEVICES)]


def test_finds_the_instance_by_itself(
    platform: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """Without a CRN the client finds the one instance and its plan."""
    (instance,) = connect(platform, instance="auto").instances()
    assert instance["crn"] == platform.instance
    assert instance["pricing_type"] == "paygo"


def test_refuses_a_wrong_api_key(
    platform: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """A wrong API key does not get in."""
    with pytest.raises(InvalidAccountError):
        connect(platform, token="wrong")


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_backends(service: QiskitRuntimeService, device: object) -> None:
    """Every backend decodes in the client as a real device of its size, with properties."""
    backend = service.backend(device.name)  # type: ignore[attr-defined]
    assert backend.num_qubits == device.qubits  # type: ignore[attr-defined]
    assert not backend.configuration().simulator
    assert backend.target.num_qubits == device.qubits  # type: ignore[attr-defined]
    assert isinstance(backend.online_date, datetime)
    assert len(backend.properties().qubits) == device.qubits  # type: ignore[attr-defined]
    assert backend.status().status_msg == "active"


def test_least_busy(service: QiskitRuntimeService) -> None:
    """The least busy backend of a size can be asked for."""
    assert service.least_busy(min_num_qubits=150).name == "ibm_fez"


def test_instance_usage(service: QiskitRuntimeService) -> None:
    """The instance reports what it has used and no limit."""
    usage = service.usage()
    assert usage["usage_consumed_seconds"] >= 0
    assert not usage["usage_limit_reached"]
