"""Calls of the unmodified client that cases may name; each returns JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qiskit_ibm_runtime import QiskitRuntimeService

Call = Callable[["QiskitRuntimeService", Mapping[str, Any]], Any]


def _backend(service: QiskitRuntimeService, given: Mapping[str, Any]) -> Any:
    backend = service.backend(given["name"])
    return {
        "name": backend.name,
        "num_qubits": backend.num_qubits,
        "operations": sorted(backend.operation_names),
        "simulator": backend.configuration().simulator,
        "online_date": str(backend.online_date),
    }


def _job(service: QiskitRuntimeService, given: Mapping[str, Any]) -> Any:
    job = service.job(given["job"])
    return {
        "id": job.job_id(),
        "status": str(job.status()),
        "tags": list(job.tags),
        "program": job.primitive_id,
        "session": job.session_id,
        "created": job.creation_date.isoformat(),
        "private": job.private,
    }


def _session(service: QiskitRuntimeService, given: Mapping[str, Any]) -> Any:
    from qiskit_ibm_runtime import Batch, Session

    found = (Batch if given["mode"] == "batch" else Session).from_id(given["session"], service)
    return {"status": found.status(), "usage": found.usage(), "details": found.details()}


def _result(service: QiskitRuntimeService, given: Mapping[str, Any]) -> Any:
    result = service.job(given["job"]).result()
    return {"type": type(result).__name__, "pubs": len(result)}


CALLS: Mapping[str, Call] = {
    "backends": lambda service, _: [one.name for one in service.backends()],
    "least_busy": lambda service, _: service.least_busy().name,
    "backend": _backend,
    "backend.status": lambda service, given: service.backend(given["name"]).status().to_dict(),
    "backend.properties": lambda service, given: {
        "qubits": len(service.backend(given["name"]).properties().qubits),
        "updated": str(service.backend(given["name"]).properties().last_update_date),
    },
    "instances": lambda service, _: service.instances(),
    "active_instance": lambda service, _: service.active_instance(),
    "usage": lambda service, _: service.usage(),
    "job": _job,
    "jobs": lambda service, given: [one.job_id() for one in service.jobs(**given)],
    "job.result": _result,
    "job.cancel": lambda service, given: service.job(given["job"]).cancel(),
    "job.logs": lambda service, given: service.job(given["job"]).logs(),
    "job.metrics": lambda service, given: service.job(given["job"]).metrics(),
    "job.usage": lambda service, given: service.job(given["job"]).usage(),
    "job.inputs": lambda service, given: sorted(service.job(given["job"]).inputs),
    "job.error_message": lambda service, given: service.job(given["job"]).error_message(),
    "job.update_tags": lambda service, given: service.job(given["job"]).update_tags(given["tags"]),
    "delete_job": lambda service, given: service.delete_job(given["job"]),
    "session": _session,
}
"""By name. None of them submits a job or opens a session."""
