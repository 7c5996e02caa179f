"""All operations of IBM's API, by path prefix."""

from __future__ import annotations

from session_block.local_platform.api import (
    routes_account,
    routes_backends,
    routes_jobs,
    routes_sessions,
    workloads,
)

RUNTIME = (
    *routes_backends.OPERATIONS,
    *routes_sessions.OPERATIONS,
    *routes_jobs.OPERATIONS,
    *workloads.OPERATIONS,
    *routes_account.OPERATIONS,
)
# The client uses a URL with "experimental" in it unchanged; `url_resolver` may return the other.
API = {
    "/experimental/api/v1": RUNTIME,
    "/api/v1": RUNTIME,
    "/iam": routes_account.IAM,
    "/search": routes_account.SEARCH,
    "/catalog/api/v1": routes_account.CATALOG,
    "/resource-controller": routes_account.RESOURCES,
}
