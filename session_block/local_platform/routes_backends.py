"""Backends and the usage of the instance."""

from __future__ import annotations

from typing import Any

from session_block.local_platform.backends import DEVICES, find
from session_block.local_platform.http import Call, Operation


def _list(call: Call) -> dict[str, Any]:
    return {
        "devices": [
            {
                "name": device.name,
                "status": {"name": "online", "reason": "available"},
                "is_simulator": False,
                "qubits": device.qubits,
                "physical_qubits": device.qubits,
                "processor_type": {"family": device.family},
                "queue_length": call.platform.jobs.queue_length(device.name),
            }
            for device in DEVICES.values()
        ]
    }


def _configuration(call: Call) -> dict[str, Any]:
    calibration = call.text_query("calibration_id")
    return call.platform.backends.configuration(call.path["name"], calibration)


def _properties(call: Call) -> dict[str, Any]:
    # There is one recording per device, which answers for every `updated_before`.
    call.time_query("updated_before")
    calibration = call.text_query("calibration_id")
    return call.platform.backends.properties(call.path["name"], calibration)


def _status(call: Call) -> dict[str, Any]:
    device = find(call.path["name"])
    return {
        "state": True,
        "status": "active",
        "message": "available",
        "length_queue": call.platform.jobs.queue_length(device.name),
        "backend_version": "1.0.0",
    }


def _usage(call: Call) -> dict[str, Any]:
    return {
        "instance_id": call.platform.accounts.instance,
        "plan_id": "local-platform-plan",
        "usage_consumed_seconds": call.platform.jobs.usage_seconds(),
        "usage_limit_reached": False,
    }


OPERATIONS = (
    Operation("GET", "/backends", _list),
    Operation("GET", "/backends/{name}/configuration", _configuration),
    Operation("GET", "/backends/{name}/properties", _properties),
    Operation("GET", "/backends/{name}/status", _status),
    Operation("GET", "/instances/usage", _usage),
)
