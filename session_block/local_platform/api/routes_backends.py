"""Backends, their calibrations, and the usage of the instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from session_block.local_platform.api.http import Call, Operation, text_field, whole_number
from session_block.local_platform.clock import iso
from session_block.local_platform.devices.backends import Device
from session_block.local_platform.devices.calibrations import Gate
from session_block.local_platform.errors import bad_request, not_found, unknown_backend

if TYPE_CHECKING:
    from session_block.local_platform.config.tenancy import Instance

_MOST_QUBITS = 10_000
_LONGEST_LIMIT = 1_000_000_000


def owned(call: Call, name: str) -> Device:
    """Return a backend that the request's instance owns, or its mock.

    Raises:
        ApiError: 404 for any other.
    """
    device = call.platform.backends.find(name)
    if device.owner not in call.instance.backends:
        raise unknown_backend(name)
    return device


def _list(call: Call) -> dict[str, Any]:
    with_mocks = call.flag_query("include_mocks") is True
    fields = (call.text_query("fields") or "").split(",")
    wait = _wait(call) if "wait_time_seconds" in fields else {}
    return {
        "devices": [
            {
                **call.platform.backends.listing(device.name),
                "status": _availability(call, device),
                "queue_length": call.platform.jobs.queue_length(device.name),
                **wait,
            }
            for device in call.platform.backends.all()
            if device.owner in call.instance.backends and (with_mocks or not device.is_mock)
        ]
    }


def _wait(call: Call) -> dict[str, Any]:
    """Return how long a job waits for those of other users; nothing if they take no time.

    IBM leaves it out often (real); when is a guess. So are the names of the three figures.
    """
    settings = call.platform.identity.settings
    seconds = round(settings.other_jobs * settings.other_job_seconds)  # whole, by IBM's API
    if not seconds:
        return {}
    return {"wait_time_seconds": dict.fromkeys(("average", "p50", "p95"), seconds)}


def _configuration(call: Call) -> dict[str, Any]:
    device = owned(call, call.path["name"])
    calibration = call.text_query("calibration_id")
    return call.platform.backends.configuration(device.name, calibration)


def _properties(call: Call) -> dict[str, Any]:
    device = owned(call, call.path["name"])
    return call.platform.backends.properties(
        device.name, call.text_query("calibration_id"), call.time_query("updated_before")
    )


def _defaults(call: Call) -> Response:
    owned(call, call.path["name"])
    # Real: no backend has pulse defaults any more, and the answer is this literal.
    return Response("null", media_type="application/json")


def _status(call: Call) -> dict[str, Any]:
    device = owned(call, call.path["name"])
    maintained = call.platform.is_in_maintenance(device.name)
    version = call.platform.backends.configuration(device.name)["backend_version"]
    return {
        "state": not maintained,
        "status": "maintenance" if maintained else "active",
        "message": "maintenance" if maintained else "available",
        "length_queue": call.platform.jobs.queue_length(device.name),
        "backend_version": version,
    }


def _availability(call: Call, device: Device) -> dict[str, str]:
    # Spec: online, paused or offline. That a paused backend accepts jobs is a guess.
    if call.platform.is_in_maintenance(device.name):
        return {"name": "paused", "reason": "maintenance"}
    return {"name": "online", "reason": "available"}


def _usage(call: Call) -> dict[str, Any]:
    return call.platform.usage_of(call.instance)


def _set_usage_limit(call: Call) -> dict[str, Any]:
    content = call.json_object()
    name = text_field(content.get("instance"), "instance")
    instance = _instance(call, name)
    if "seconds" not in content:
        raise bad_request("seconds must be a number, or null for no limit")
    seconds = content["seconds"]
    if seconds is not None:
        seconds = whole_number(seconds, "seconds", 0, _LONGEST_LIMIT)
    call.platform.set_usage_limit(instance.crn, seconds)
    return call.platform.usage_of(instance)


def _instance(call: Call, wanted: str) -> Instance:
    accounts = call.platform.identity.accounts
    found = {
        instance.crn: instance
        for account in accounts
        for instance in account.instances
        if wanted in (instance.crn, instance.name)
    }
    if not found:
        raise not_found("Instance", wanted)
    if len(found) > 1:
        raise bad_request(f"several accounts have an instance {wanted}: give its CRN")
    return found.popitem()[1]


def _calibrate(call: Call) -> dict[str, Any]:
    content = call.json_object() if call.body else {}
    qubits = _list_field(content, "faulty_qubits")
    gates = _list_field(content, "faulty_gates")
    calibration = call.platform.backends.calibrate(
        call.path["name"],
        [whole_number(qubit, "a faulty qubit", 0, _MOST_QUBITS) for qubit in qubits],
        [_gate(gate) for gate in gates],
    )
    return {
        "calibration_id": calibration.id,
        "backend": call.path["name"],
        "number": calibration.number,
        "created": iso(calibration.created_at),
    }


def _list_field(content: dict[str, Any], name: str) -> list[Any]:
    value = content.get(name, [])
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value


def _gate(value: Any) -> Gate:
    if not isinstance(value, list) or not value:
        raise bad_request("a faulty gate must be a list of its name and its qubits")
    name, *qubits = value
    return (
        text_field(name, "the name of a faulty gate"),
        tuple(whole_number(qubit, "a gate's qubit", 0, _MOST_QUBITS) for qubit in qubits),
    )


OPERATIONS = (
    Operation("GET", "/backends", _list),
    Operation("GET", "/backends/{name}/configuration", _configuration),
    Operation("GET", "/backends/{name}/properties", _properties),
    Operation("GET", "/backends/{name}/defaults", _defaults),
    Operation("GET", "/backends/{name}/status", _status),
    Operation("GET", "/instances/usage", _usage),
)
LOCAL = (
    Operation(
        "POST",
        "/_local/backends/{name}/calibration",
        _calibrate,
        needs_token=False,
        needs_instance=False,
    ),
    Operation(
        "POST",
        "/_local/usage_limit",
        _set_usage_limit,
        needs_token=False,
        needs_instance=False,
    ),
)
