"""Job operations: submit, get, list, results, cancel, metrics, logs, tags, delete."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import PlainTextResponse, Response

from session_block.local_platform.api.http import (
    Call,
    Operation,
    optional_text,
    text_field,
    whole_number,
)
from session_block.local_platform.api.routes_backends import owned
from session_block.local_platform.clock import iso
from session_block.local_platform.errors import (
    bad_request,
    not_found,
    short_search,
    usage_limit_reached,
)
from session_block.local_platform.workloads.job_records import (
    MAX_EXECUTION_SECONDS,
    PENDING,
    PROGRAMS,
    JobFilter,
    NewJob,
)

# A noise learner is sent boxed instructions (version 3 of the program) or circuits (version 2).
_NEEDED_PARAMS = {
    "sampler": ("pubs",),
    "estimator": ("pubs",),
    "executor": ("quantum_program",),
    "noise-learner": ("instructions", "circuits"),
}
_RUNS_OUTSIDE = "Sessions are not available on the open plan. The job runs in job mode."
# Real: characters, not UTF-16 units.
MAX_TAGS = 8
MAX_TAG_LENGTH = 86
# Spec, and real for the shortest.
_SEARCH_LENGTHS = range(3, 101)
MAX_PAGE = 200
MAX_OFFSET = 2_147_483_647
# Spec; the client sends them in capitals.
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


def _submit(call: Call) -> dict[str, Any]:
    content = call.json_object()
    program = text_field(content.get("program_id"), "program_id")
    if program not in PROGRAMS:
        raise not_found("Program", program)
    backend = owned(call, text_field(content.get("backend"), "backend")).name
    calibration = _calibration(call, content, backend)
    params = content.get("params")
    if not isinstance(params, dict):
        raise bad_request("params must be an object")
    needed = _NEEDED_PARAMS[program]
    if not any(name in params for name in needed):
        raise bad_request(f"params of program {program} must have {' or '.join(needed)}")
    cost = content.get("cost")
    log_level = optional_text(content, "log_level")
    if log_level is not None and log_level.lower() not in LOG_LEVELS:
        raise bad_request(f"log_level must be one of {', '.join(LOG_LEVELS)}")
    private = content.get("private", False)
    if not isinstance(private, bool):
        raise bad_request("private must be true or false")
    _refuse_beyond_limit(call)
    wanted_session = optional_text(content, "session_id")
    session_id = None if _is_ignored(call, wanted_session) else wanted_session
    new = NewJob(
        instance=call.instance.crn,
        account=call.account.id,
        program=program,
        backend=backend,
        params=json.dumps(params),
        session_id=session_id,
        tags=_tags(content.get("tags")),
        cost=None if cost is None else whole_number(cost, "cost", 0, MAX_EXECUTION_SECONDS),
        private=private,
        runtime=optional_text(content, "runtime"),
        log_level=log_level,
        calibration_id=calibration,
        ending=call.faults.ending(),
        caller=call.client,
    )
    job_id = call.platform.jobs.submit(new)
    call.platform.engine.wake()
    answer: dict[str, Any] = {"id": job_id, "backend": backend}
    if new.session_id is not None:
        answer["session_id"] = new.session_id
    elif wanted_session is not None:
        answer["messages"] = [_RUNS_OUTSIDE]
    if new.calibration_id is not None:
        answer["calibration_id"] = new.calibration_id
    if new.private:
        answer["private"] = True
    return answer


def _calibration(call: Call, content: dict[str, Any], backend: str) -> str | None:
    calibration = optional_text(content, "calibration_id")
    if calibration is None:
        return None
    if not call.instance.allows_sessions:
        # Real: the open plan refuses it. The status and the code are a guess.
        raise bad_request("calibration_id is not available on the open plan")
    call.platform.backends.configuration(backend, calibration)
    return calibration


def _is_ignored(call: Call, session_id: str | None) -> bool:
    """Say whether the plan ignores the session, so that the job runs outside it."""
    if session_id is None or call.instance.allows_sessions:
        return False
    session, _ = call.platform.sessions.get(session_id, call.instance.crn)
    return session.mode == "dedicated"


def _list(call: Call) -> dict[str, Any]:
    sort = call.text_query("sort") or "DESC"
    if sort not in ("ASC", "DESC"):
        raise bad_request("sort must be ASC or DESC")
    lag = call.faults.listing_lag()
    wanted = JobFilter(
        instance=call.instance.crn,
        visible_before=call.platform.clock.now() - lag if lag else None,
        backend=call.text_query("backend"),
        program=call.text_query("program"),
        session_id=call.text_query("session_id"),
        pending=call.flag_query("pending"),
        tags=tuple(call.query.getlist("tags")),
        created_after=call.time_query("created_after"),
        created_before=call.time_query("created_before"),
        with_mocks=call.flag_query("include_mocks") is True,
        oldest_first=sort == "ASC",
        limit=call.number_query("limit", 1, MAX_PAGE, MAX_PAGE),
        offset=call.number_query("offset", 0, MAX_OFFSET, 0),
    )
    with_params = call.flag_query("exclude_params") is False
    return call.platform.jobs.list(wanted, with_params=with_params)


def _get(call: Call) -> dict[str, Any]:
    with_params = call.flag_query("exclude_params") is not True
    return call.platform.jobs.get(call.path["job_id"], call.instance.crn, with_params=with_params)


def _results(call: Call) -> Response:
    text = call.platform.jobs.result(call.path["job_id"], call.instance.crn)
    return Response(status_code=204) if text is None else PlainTextResponse(text)


def _interim_results(call: Call) -> Response:
    path = call.path["job_id"]
    return PlainTextResponse(call.platform.jobs.interim_results(path, call.instance.crn))


def _cancel(call: Call) -> None:
    call.platform.jobs.cancel(call.path["job_id"], call.instance.crn)
    call.platform.engine.abandon(call.path["job_id"])


def _delete(call: Call) -> None:
    call.platform.jobs.delete(call.path["job_id"], call.instance.crn)
    call.platform.engine.abandon(call.path["job_id"])


def _metrics(call: Call) -> dict[str, Any]:
    row = call.platform.jobs.state(call.path["job_id"], call.instance.crn)
    pending = row["state"] in PENDING
    return {
        "timestamps": {
            "created": iso(row["created_at"]),
            "running": iso(row["running_at"]),
            "finished": iso(row["finished_at"]),
        },
        "usage": {
            "qpu_charge_time_seconds": row["usage_seconds"],
            "seconds": row["usage_seconds"],
            "quantum_seconds": row["usage_seconds"],
            "status": "pending" if pending else "complete",
        },
        "position_in_queue": call.platform.jobs.position(row),
        "executions": None,
        "num_circuits": None,
        "num_qubits": None,
        "circuit_depths": None,
        "qiskit_version": None,
        "caller": row["caller"],
    }


def _logs(call: Call) -> Response:
    job_id = call.path["job_id"]
    row = call.platform.jobs.state(job_id, call.instance.crn)
    if row["state"] in PENDING:
        raise not_found("Log", job_id)
    failed = row["state"] == "failed"
    text = call.platform.jobs.result(job_id, call.instance.crn) if failed else None
    return PlainTextResponse(text or "")


def _replace_tags(call: Call) -> None:
    tags = _tags(call.json_object().get("tags"))
    call.platform.jobs.replace_tags(call.path["job_id"], call.instance.crn, tags)


def _search_tags(call: Call) -> dict[str, Any]:
    if call.query.get("type", "job") != "job":
        raise bad_request("type must be job")
    search = call.query.get("search", "")
    if len(search) not in _SEARCH_LENGTHS:
        raise short_search()
    return {"tags": list(call.platform.jobs.tags(call.instance.crn, search))}


def _refuse_beyond_limit(call: Call) -> None:
    if call.platform.usage_of(call.instance)["usage_limit_reached"]:
        raise usage_limit_reached(call.instance.name)


def _tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise bad_request(f"tags must be a list of at most {MAX_TAGS}")
    return tuple(text_field(tag, "a tag", MAX_TAG_LENGTH) for tag in value)


OPERATIONS = (
    Operation("POST", "/jobs", _submit),
    Operation("GET", "/jobs", _list),
    Operation("GET", "/jobs/{job_id}", _get),
    Operation("DELETE", "/jobs/{job_id}", _delete),
    Operation("GET", "/jobs/{job_id}/results", _results),
    Operation("GET", "/jobs/{job_id}/interim_results", _interim_results),
    Operation("POST", "/jobs/{job_id}/cancel", _cancel),
    Operation("GET", "/jobs/{job_id}/metrics", _metrics),
    Operation("GET", "/jobs/{job_id}/logs", _logs),
    Operation("PUT", "/jobs/{job_id}/tags", _replace_tags),
    Operation("GET", "/tags", _search_tags),
)
