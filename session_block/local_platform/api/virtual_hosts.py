"""IBM Cloud's host names, for clients that use the platform as their HTTP proxy.

With ``http_proxy`` set to the platform, the client's own URLs work unchanged, for example
``http://eu-de.quantum.cloud.platform.local/api/v1`` or ``http://iam.cloud.platform.local``. The
name in front of the domain selects IBM's service; the domain itself does not matter. A proxied
request has a whole URL in place of the path, and this URL takes precedence over the Host header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from session_block.local_platform.api.answers import refusal
from session_block.local_platform.api.local_access import is_loopback
from session_block.local_platform.errors import ApiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_QUANTUM = re.compile(r"(?:private\.)?(?:([a-z0-9-]+)\.)?quantum\..+")
# The name without a region is that of this one (client source).
_UNNAMED_REGION = "us-east"
_SERVICES = (
    (_QUANTUM, ""),
    (re.compile(r"iam\..+"), "/iam"),
    (re.compile(r"api\.global-search-tagging\..+"), "/search"),
    (re.compile(r"globalcatalog\..+"), "/catalog"),
    (re.compile(r"resource-controller\..+"), "/resource-controller"),
)
_ABSOLUTE = re.compile(r"https?://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)


def region_of(authority: str) -> str | None:
    """Return the region of a host such as ``eu-de.quantum.cloud.ibm.com``; None for another host.

    An instance is found only in its own region (real).
    """
    found = _QUANTUM.fullmatch(_host(authority))
    return None if found is None else found[1] or _UNNAMED_REGION


def virtual_hosts(app: ASGIApp) -> ASGIApp:
    """Return the application, extended to serve IBM Cloud's services under their host names."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        authority = _authority(scope)
        absolute = _ABSOLUTE.fullmatch(scope["path"])
        if absolute is not None:
            authority = absolute[1]
        host = _host(authority)
        prefix = _prefix(host)
        if absolute is not None:
            if prefix is None and not _is_here(host, scope):
                error = ApiError(502, 1000, f"The local platform is not a proxy for {host}.")
                await refusal(error)(scope, receive, send)
                return
            scope = _with_path(scope, absolute[2] or "/", authority)
        if prefix:
            scope = {**scope, "path": prefix + scope["path"]}
        await app(scope, receive, send)

    return routed


def _authority(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"host":
            return str(value.decode("latin-1"))
    return ""


def _host(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def _prefix(host: str) -> str | None:
    """Return the path prefix for one of IBM's hosts, or None for any other host."""
    return next((prefix for service, prefix in _SERVICES if service.fullmatch(host)), None)


def _is_here(host: str, scope: Scope) -> bool:
    """Say whether a host is this machine or the address at which the request arrived."""
    server = scope.get("server") or ("",)
    return host in ("localhost", server[0]) or is_loopback(host)


def _with_path(scope: Scope, path: str, authority: str) -> Scope:
    # Replace the Host header too, so that all later code sees the host of the URL.
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    headers = [(b"host", authority.encode("latin-1", "replace")), *others]
    return {**scope, "path": path, "headers": headers}
