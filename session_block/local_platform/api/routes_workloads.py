"""The list of workloads."""

from __future__ import annotations

from typing import Any

from session_block.local_platform.api.http import Call, Operation
from session_block.local_platform.api.workloads import (
    MODES,
    STATUSES,
    WorkloadFilter,
    list_workloads,
)
from session_block.local_platform.errors import bad_request

MAX_PAGE = 50
DEFAULT_PAGE = 10


def _list(call: Call) -> dict[str, Any]:
    mode = call.text_query("mode")
    if mode is not None and mode not in MODES:
        raise bad_request(f"mode must be one of {', '.join(MODES)}")
    sort = call.text_query("sort") or "createdAt"
    if sort not in ("createdAt", "-createdAt"):
        raise bad_request("sort must be createdAt or -createdAt")
    statuses = tuple(call.query.getlist("status"))
    if not set(statuses) <= set(STATUSES):
        raise bad_request(f"status must be one of {', '.join(STATUSES)}")
    wanted = WorkloadFilter(
        instance=call.instance.crn,
        mode=mode,
        backend=call.text_query("backend"),
        search=call.text_query("search"),
        statuses=statuses,
        tags=tuple(call.query.getlist("tags")),
        created_after=call.time_query("created_after"),
        created_before=call.time_query("created_before"),
        oldest_first=sort == "createdAt",
        limit=call.number_query("limit", 1, MAX_PAGE, DEFAULT_PAGE),
        next=call.text_query("next"),
        previous=call.text_query("previous"),
    )
    return list_workloads(call.platform, wanted, "/workloads")


OPERATIONS = (Operation("GET", "/workloads", _list),)
