"""The Prefect server that this process uses: which one answers, and what opens it.

Prefect's server has no password unless it is given one, checks no ``Host``, and lets every web page
read it. So the one that ``session-block up`` starts has an authentication string, in a file that
only its user can read.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
)
from pydantic import SecretStr

from session_block.environment.private_files import replace_file
from session_block.errors import LabError
from session_block.lab.processes import living

_PROBE_SECONDS = 2
_ANSWER_SECONDS = 5
_BYTES = 32
_FOREIGN_PAGE = "https://a-foreign-page.invalid"


def local_api_url() -> str:
    """Return the API URL that ``prefect server start`` uses with the current settings."""
    server = get_current_settings().server.api
    return f"http://{server.host}:{server.port}/api"


def find_prefect_server() -> str | None:
    """Return the API URL of a Prefect server to use: the configured one first, then the local one.

    ``None`` if neither answers. A local one that is not configured is used only if a process of
    this user is it: another user's would see what is saved there, and tell our worker what to run.

    Raises:
        LabError: The configured server does not accept the configured credentials.
    """
    configured = get_current_settings().api.url
    if configured is not None and answers(configured):
        if (admitted := _admits(configured)) is False:
            raise LabError(
                f"The Prefect server at {shown(configured)} does not accept the credentials of "
                "this process. Set PREFECT_API_AUTH_STRING to its authentication string (for a "
                "server of 'session-block up' it stands in session-block/up/server-auth below the "
                "PREFECT_HOME of the user who started it), or PREFECT_API_URL to another server."
            )
        if admitted:
            return configured
    local = local_api_url()
    is_own = answers(local) and is_of_this_user(local)
    return local if is_own and _admits(local) else None


def answers(api_url: str) -> bool:
    """Return whether a Prefect server answers at an API URL, and no other page."""
    answer = _ask("GET", f"{api_url}/health", headers=_credentials(api_url))
    return answer is not None and answer.is_success and _is_json(answer)


def shown(api_url: str) -> str:
    """Return an address as messages may show it: without a password."""
    before, at, after = api_url.rpartition("@")
    return f"{before.partition('//')[0]}//***@{after}" if at else api_url


def reaching(api_url: str) -> dict[Any, Any]:
    """Return the Prefect settings with which this process reaches a server.

    Beside the URL that is the authentication string, if the server is this user's own.

    Example:
        >>> with temporary_settings(reaching(url)):  # doctest: +SKIP
        ...     my_flow()
    """
    settings: dict[Any, Any] = {PREFECT_API_URL: api_url}
    own = OwnServer().opening(api_url)
    if own is not None:
        settings[PREFECT_API_AUTH_STRING] = own.get_secret_value()
    return settings


def who_may_read(api_url: str) -> tuple[str, ...]:
    """Return who can read a server's Blocks, keys included, besides those whom it knows.

    Asked once without credentials, as a web page of a foreign site would; no Block is read. Empty
    if nobody can, or the server does not answer.
    """
    answer = _ask(
        "POST",
        f"{api_url}/block_documents/filter",
        headers={"Origin": _FOREIGN_PAGE},
        json={"limit": 0, "include_secrets": True},
    )
    if answer is None or not answer.is_success or not _is_json(answer):
        return ()
    allowed = answer.headers.get("access-control-allow-origin")
    pages = (
        ("any web page that is open on this machine",) if allowed in {"*", _FOREIGN_PAGE} else ()
    )
    return ("whoever can reach it", *pages)


def _admits(api_url: str) -> bool | None:
    """Return whether a server answers this process more than that it lives.

    ``None`` if what it answers is nothing of Prefect's.
    """
    answer = _ask("GET", f"{api_url}/admin/version", headers=_credentials(api_url))
    if answer is None or (answer.is_success and not _is_json(answer)):
        return None
    return answer.status_code not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


def _credentials(api_url: str) -> dict[str, str]:
    """Return the header that Prefect's client would send; what is configured, only to its URL."""
    api = get_current_settings().api
    string = OwnServer().opening(api_url)
    if string is None and api.url == api_url:
        if api.key is not None:
            return {"Authorization": f"Bearer {api.key.get_secret_value()}"}
        string = api.auth_string
    if string is None:
        return {}
    known = base64.b64encode(string.get_secret_value().encode(errors="replace"))
    return {"Authorization": f"Basic {known.decode()}"}


def _ask(method: str, url: str, **request: Any) -> httpx.Response | None:
    """Return a server's answer; ``None`` if there is none in time, however it trickles in."""
    found: list[httpx.Response] = []

    def ask() -> None:
        with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
            found.append(httpx.request(method, url, timeout=_PROBE_SECONDS, **request))

    asking = threading.Thread(target=ask, name="session-block-probe", daemon=True)
    asking.start()
    asking.join(_ANSWER_SECONDS)
    return found[0] if found else None


def _is_json(answer: httpx.Response) -> bool:
    try:
        answer.json()
    except ValueError:
        return False
    return True


def is_of_this_user(api_url: str) -> bool:
    """Return whether a process of this user listens at the port of an address.

    One that is in a container of its own, or that a service runs, has to be configured.
    """
    port, me = urlsplit(api_url).port, psutil.Process().username()
    for process in psutil.process_iter(["username"]):
        if process.info["username"] != me:
            continue
        with suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                    return True
    return False


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
    It is Prefect's setting for servers, if that is set. It is given to the process that was started
    alone: once that has died, whoever listens at its address is somebody else.
    """

    def __init__(self) -> None:
        home = Path(get_current_settings().home) / "session-block" / "up"
        self.file = home / "server-auth"
        self._process = home / "server-process"

    def opening(self, api_url: str) -> SecretStr | None:
        """Return the string that opens a server; ``None`` if it is not this one."""
        try:
            url, pid, created = json.loads(self._process.read_text())
            if url != _by_number(api_url) or living(pid, created) is None:
                return None
            return SecretStr(self.file.read_text())
        except (OSError, ValueError, TypeError):  # there is none, or it is damaged
            return None

    def prepare(self) -> SecretStr:
        """Keep the string for a server that is about to start, and return it.

        Raises:
            LabError: The string that is configured, or the file, cannot be used.
        """
        configured = get_current_settings().server.api.auth_string
        string = configured or self._kept() or SecretStr(f"admin:{secrets.token_urlsafe(_BYTES)}")
        text = string.get_secret_value()
        if not text.isascii() or not text.isprintable():
            source = "PREFECT_SERVER_API_AUTH_STRING" if configured else self.file
            raise LabError(
                f"The authentication string in {source} has characters that no Prefect server "
                "takes. Use printable ASCII ones, as in admin:password; or remove it, and the next "
                "start makes one."
            )
        try:
            replace_file(self.file, text)
        except OSError as error:
            raise LabError(_in_the_way(self.file, error)) from error
        return string

    def started(self, api_url: str, pid: int) -> None:
        """Note which process the server is."""
        created = psutil.Process(pid).create_time()
        replace_file(self._process, json.dumps([_by_number(api_url), pid, created]))

    def ended(self) -> None:
        """Forget the process."""
        self._process.unlink(missing_ok=True)

    def _kept(self) -> SecretStr | None:
        try:
            return SecretStr(self.file.read_text().strip()) if self.file.exists() else None
        except (OSError, ValueError) as error:
            raise LabError(_in_the_way(self.file, error)) from error


def _in_the_way(file: Path, error: Exception) -> str:
    return (
        f"{file} cannot be used for the authentication string ({error}). Remove it; the next start "
        "makes one."
    )


def _by_number(api_url: str) -> str:
    """Return an address as ``up`` writes it, however its user writes it."""
    return api_url.rstrip("/").replace("//localhost:", "//127.0.0.1:")
