"""The Prefect server that this process uses: which one answers, and what opens it.

Prefect's server has no password unless it is given one, checks no ``Host``, and lets every web page
read it. So the one that ``session-block up`` starts has an authentication string, in a file that
only its user can read.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)
from pydantic import SecretStr

from session_block.environment.private_files import replace_file
from session_block.errors import LabError

_PROBE_SECONDS = 2
_BYTES = 32
_FOREIGN_PAGE = "https://a-foreign-page.invalid"


def local_api_url() -> str:
    """Return the API URL that ``prefect server start`` uses with the current settings."""
    server = get_current_settings().server.api
    return f"http://{server.host}:{server.port}/api"


def find_prefect_server() -> str | None:
    """Return the API URL of a Prefect server to use: the configured one first, then the local one.

    ``None`` if neither answers. A local server that lets this user in nowhere is somebody else's,
    as that of another user's ``session-block up``, so it is left alone.

    Raises:
        LabError: The configured server does not accept the configured credentials.
    """
    configured = get_current_settings().api.url
    if configured is not None and answers(configured):
        if not _admits(configured):
            raise LabError(
                f"The Prefect server at {configured} does not accept the credentials of this "
                "process. Set PREFECT_API_AUTH_STRING to its authentication string (for a server "
                "of 'session-block up' it stands in session-block/up/server-auth below the "
                "PREFECT_HOME of the user who started it), or PREFECT_API_URL to another server."
            )
        return configured
    local = local_api_url()
    return local if answers(local) and _admits(local) else None


def answers(api_url: str) -> bool:
    """Return whether a Prefect server answers at an API URL."""
    return _answer(api_url, "/health").is_success


def _admits(api_url: str) -> bool:
    """Return whether a server answers this process more than that it lives."""
    refusals = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
    return _answer(api_url, "/admin/version").status_code not in refusals


def _answer(api_url: str, path: str) -> httpx.Response:
    """Ask with the credentials that Prefect's client would send; 503 if nobody answers."""
    with temporary_settings(reaching(api_url)):
        api = get_current_settings().api
    headers = {}
    if api.auth_string is not None:
        known = base64.b64encode(api.auth_string.get_secret_value().encode())
        headers["Authorization"] = f"Basic {known.decode()}"
    if api.key is not None:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    try:
        return httpx.get(f"{api_url}{path}", headers=headers, timeout=_PROBE_SECONDS)
    except httpx.HTTPError:
        return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)


def reaching(api_url: str) -> dict[Any, Any]:
    """Return the Prefect settings with which this process reaches a server.

    Beside the URL that is the authentication string, if the server is this user's own and no other
    string is configured.

    Example:
        >>> with temporary_settings(reaching(url)):  # doctest: +SKIP
        ...     my_flow()
    """
    settings: dict[Any, Any] = {PREFECT_API_URL: api_url}
    own = OwnServer().opening(api_url)
    if own is not None and get_current_settings().api.auth_string is None:
        settings[PREFECT_API_AUTH_STRING] = own.get_secret_value()
    return settings


def who_may_read(api_url: str) -> tuple[str, ...]:
    """Return who can read a server's Blocks, keys included, besides those whom it knows.

    Asked once without credentials, as a web page of a foreign site would; no Block is read. Empty
    if nobody can, or the server does not answer.
    """
    asked = {"limit": 0, "include_secrets": True}
    try:
        answer = httpx.post(
            f"{api_url}/block_documents/filter",
            json=asked,
            headers={"Origin": _FOREIGN_PAGE},
            timeout=_PROBE_SECONDS,
        )
    except httpx.HTTPError:
        return ()
    if not answer.is_success:
        return ()
    allowed = answer.headers.get("access-control-allow-origin")
    pages = (
        ("any web page that is open on this machine",) if allowed in {"*", _FOREIGN_PAGE} else ()
    )
    return ("whoever can reach it", *pages)


OPEN_SERVER_ADVICE = (
    "Use the server of 'session-block up', or set PREFECT_SERVER_API_AUTH_STRING where the server "
    "runs and PREFECT_API_AUTH_STRING here, and start it anew."
)
"""What to do about a server that others may read."""


def variables() -> dict[str, str]:
    """Return the variables with which a process that is started reaches the same server."""
    api = get_current_settings().api
    opening = {}
    if api.auth_string is not None:
        opening["PREFECT_API_AUTH_STRING"] = api.auth_string.get_secret_value()
    return {"PREFECT_API_URL": str(api.url), **opening}


class OwnServer:
    """The authentication string of the server that ``session-block up`` starts for this user.

    It stays the same from one start to the next, so that programs and browsers that know it go on.
    It is Prefect's own setting, if that is set.
    """

    def __init__(self) -> None:
        home = Path(get_current_settings().home) / "session-block" / "up"
        self.file = home / "server-auth"
        self._address = home / "server-url"

    def opening(self, api_url: str) -> SecretStr | None:
        """Return the string that opens a server; ``None`` if it is not this one."""
        try:
            if self._address.read_text() != _by_number(api_url):
                return None
            return SecretStr(self.file.read_text())
        except FileNotFoundError:
            return None

    def prepare(self, api_url: str) -> SecretStr:
        """Keep the string for a server that is about to start, and return it."""
        configured = get_current_settings()
        known = configured.server.api.auth_string or configured.api.auth_string
        if known is None and self.file.exists():
            known = SecretStr(self.file.read_text())
        string = known or SecretStr(f"admin:{secrets.token_urlsafe(_BYTES)}")
        replace_file(self.file, string.get_secret_value())
        replace_file(self._address, _by_number(api_url))
        return string

    def ended(self) -> None:
        """Forget the server's address: whoever listens there next is somebody else."""
        self._address.unlink(missing_ok=True)


def _by_number(api_url: str) -> str:
    """Return an address as ``up`` writes it, however its user writes it."""
    return api_url.rstrip("/").replace("//localhost:", "//127.0.0.1:")
