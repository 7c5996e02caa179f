"""Sends the suite's raw requests to one instance, and knows what sessions and jobs they made."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
import jwt

from session_block.account import Account
from session_block.client.addresses import API_VERSION, addresses_of
from session_block.doctor.fidelity import payloads
from session_block.doctor.fidelity.case import RawRequest, filled
from session_block.doctor.fidelity.reply import Reply
from session_block.errors import ConnectionFailedError

_TIMEOUT_SECONDS = 90.0
"""IBM's edge itself gives up after about 50."""

_TOKEN_SECONDS = 1800.0
_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_OUTSIDE = (429, 520)
"""What a request may meet that has nothing to do with it: a limit of the rate, and IBM's edge."""

_PAUSE_SECONDS = 10.0
_OF_SOMEBODY = frozenset(
    {
        "account_id",
        "backend",
        "backend_name",
        "crn",
        "email",
        "id",
        "instance",
        "instance_id",
        "session_id",
        "subscription_id",
        "subscription_name",
        "trace",
        "user_id",
    }
)
"""The names of fields that tell whose something is, or can lead there."""

_SHORTEST_SECRET = 6
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_SUCCESS = range(200, 300)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """A session or job that a request has made, and the request that ends it."""

    id: str
    end: str


class Target:
    """One instance of a platform, for raw requests.

    Whatever a request makes is noted at once, so that :meth:`clean_up` ends it; nothing else is
    ever touched. If a request is interrupted between its effect and its answer, its job is found by
    the tag of this run. Sessions bear no tags: one that is opened so stays without a job, costs
    nothing, and the platform closes it by itself.

    Args:
        account: The account, with its API key.
        crn: The instance.
        plan: Whether the instance is on the open plan.
        backend: The backend to use; by default the one with the longest queue that is online.
    """

    def __init__(
        self,
        account: Account,
        crn: str,
        plan: Literal["open", "paid"],
        backend: str | None = None,
    ) -> None:
        self.account = account
        self.crn = crn
        self.plan = plan
        self.tag = f"fidelity-{secrets.token_hex(6)}"
        self.made: list[Made] = []
        self._secrets = {account.token or "", crn, *_parts_of(crn)[1:], self.tag}
        self._addresses = addresses_of(account, crn)
        self._http = _client(account)
        self._token = ""
        self._token_until = 0.0
        self._backend = backend

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def values(self) -> ChainMap[str, Any]:
        """Return the values that requests may name, before any set-up."""
        region, account_id, instance_id = _parts_of(self.crn)
        named = {
            "api_key": self.account.token or "",
            "token": self._access_token(),
            "crn": self.crn,
            "crn_of_another_account": self.crn.replace(account_id, "0" * 32).replace(
                instance_id, _NO_UUID
            ),
            "crn_of_another_region": self.crn.replace(
                f":{region}:", ":eu-de:" if region != "eu-de" else ":us-east:"
            ),
            "account": account_id,
            "plan_id": self._plan_id(),
            "backend": self.backend(),
            "tag": self.tag,
            "unknown_job": "d0000000000000000000",
            "unknown_session": _NO_UUID,
            "text_86": "t" * 86,
            "text_87": "t" * 87,
            "text_100": "x" * 100,
            "text_1001": "x" * 1001,
            "emoji_86": "\N{ATOM SYMBOL}" * 85 + "\N{GRINNING FACE}",
            "api_version": API_VERSION,
        }
        return ChainMap(named, payloads.ALL)  # type: ignore[arg-type]  # payloads are only read

    def backend(self) -> str:
        """Return the backend to use; ``none`` if the platform lists none."""
        if self._backend is None:
            online = [
                one
                for one in self._devices()
                if isinstance(one.get("status"), dict) and one["status"].get("name") == "online"
            ]
            online.sort(key=lambda one: int(one.get("queue_length") or 0))
            self._backend = str(online[-1].get("name")) if online else "none"
        return self._backend

    def processor(self) -> dict[str, Any]:
        """Return family and revision of the backend's processor, which name nobody's backend."""
        request = RawRequest(send=f"GET /backends/{self.backend()}/configuration")
        body = self._send(request, {}).body
        kind = body.get("processor_type") if isinstance(body, dict) else None
        return {name: (kind or {}).get(name) for name in ("family", "revision")}

    def queue_length(self) -> int:
        """Return how many jobs are queued at the backend."""
        return sum(
            int(one.get("queue_length") or 0)
            for one in self._devices()
            if one.get("name") == self.backend()
        )

    def secrets(self) -> set[str]:
        """Return the texts that tell whose instance this is: keys, CRN and IDs."""
        return {*self._secrets, self._token, _user_of(self._token)} - {""}

    def send(self, request: RawRequest, values: Mapping[str, Any]) -> Reply:
        """Send a request, and note what it makes.

        A GET that meets a rate limit or a failure of the platform's edge is sent once more.
        """
        answer = self._send(request, values)
        if request.method == "GET" and answer.status in _OUTSIDE:
            time.sleep(_wait_of(answer))
            answer = self._send(request, values)
        self._note(request, answer)
        self._secrets |= set(_names_in(answer.body, request.service == "search"))
        return answer

    def check_reachable(self) -> None:
        """Check that the platform answers anything at all.

        Raises:
            ConnectionFailedError: It does not.
        """
        if self._send(RawRequest(send="GET /backends"), {}).status == 0:
            raise ConnectionFailedError(
                "The platform has stopped answering, so the suite ends here, without a record. "
                "Sessions and jobs that it could not end are closed by the platform. Run it again."
            )

    def clean_up(self, since: int = 0) -> None:
        """End what requests have made, the newest first.

        Args:
            since: How many things to leave alone, from the oldest on.
        """
        while len(self.made) > since:
            self._end(self.made.pop().end)

    def cancel_lost_jobs(self) -> None:
        """Cancel the pending jobs that bear this run's tag: those whose answer was lost."""
        listed = self._send(
            RawRequest(send="GET /jobs", query={"tags": self.tag, "pending": "true"}), {}
        ).body
        jobs = listed.get("jobs") if isinstance(listed, dict) else None
        for job in jobs if isinstance(jobs, list) else []:
            if isinstance(job, dict) and self.tag in (job.get("tags") or []):
                self._end(f"POST /jobs/{job.get('id')}/cancel")

    def _end(self, send: str) -> None:
        answer = self._send(RawRequest(send=send), {})
        gone = (404, 409)  # deleted, or ended by itself
        if answer.status not in (*_SUCCESS, *gone):
            _logger.warning("%s was answered with %s: it may go on.", send, answer.status)

    def _send(self, request: RawRequest, values: Mapping[str, Any]) -> Reply:
        headers: dict[str, str | None] = {"Accept": "application/json"}
        if request.service == "runtime":
            headers |= {"Service-CRN": self.crn, "IBM-API-Version": API_VERSION}
        if request.service != "iam":
            headers["Authorization"] = self._authorization()
        content: dict[str, Any] = {}
        if request.text is not None:
            content["content"] = str(filled(request.text, values))
            headers["Content-Type"] = "application/json"
        elif request.form is not None:
            content["data"] = filled(request.form, values)
        elif request.body is not None:
            content["json"] = filled(request.body, values)
        headers |= filled(request.headers, values)
        query = httpx.QueryParams(
            {
                name: [
                    str(filled(one, values))
                    for one in ([given] if isinstance(given, str) else given)
                ]
                for name, given in request.query.items()
            }
        )
        path = "/".join(quote(str(filled(one, values)), safe="") for one in request.path.split("/"))
        try:
            response = self._http.request(
                request.method,
                f"{getattr(self._addresses, request.service)}{path}",
                params=query,
                headers={name: one for name, one in headers.items() if one is not None},
                **content,
            )
        except httpx.HTTPError as error:
            return Reply(status=0, text="", headers={"x-failure": type(error).__name__})
        return Reply(response.status_code, dict(response.headers), response.text)

    def _note(self, request: RawRequest, answer: Reply) -> None:
        body = answer.body
        if answer.status not in _SUCCESS or not isinstance(body, dict):
            return
        made = str(body.get("id", ""))
        end = {
            "runtime POST /sessions": f"DELETE /sessions/{made}/close",
            "runtime POST /jobs": f"POST /jobs/{made}/cancel",
        }.get(request.endpoint)
        if made and end is not None:
            self.made.append(Made(made, end))
            self._secrets.add(made)

    def _devices(self) -> list[dict[str, Any]]:
        body = self._send(RawRequest(send="GET /backends"), {}).body
        devices = body.get("devices") if isinstance(body, dict) else None
        found = [one for one in devices or [] if isinstance(one, dict)]
        self._secrets |= {str(one.get("name", "")) for one in found}
        return found

    def _plan_id(self) -> str:
        """Return the ID of the instance's plan in IBM's catalogue; ``none`` if it is not told."""
        usage = self._send(RawRequest(send="GET /instances/usage"), {}).body
        return str(usage.get("plan_id", "none")) if isinstance(usage, dict) else "none"

    def _authorization(self) -> str:
        """Return what the client sends: the access token, or the API key if there is none."""
        token = self._access_token()
        return f"Bearer {token}" if token else f"apikey {self.account.token}"

    def _access_token(self) -> str:
        if time.monotonic() >= self._token_until:
            form = {"grant_type": _GRANT, "apikey": self.account.token or ""}
            request = RawRequest(send="POST /identity/token", service="iam", form=form)
            body = self._send(request, {}).body
            token = body.get("access_token") if isinstance(body, dict) else None
            self._token = token if isinstance(token, str) else ""
            self._token_until = time.monotonic() + _TOKEN_SECONDS
        return self._token


def _client(account: Account) -> httpx.Client:
    """Return an HTTP client with the account's certificates and proxies."""
    verify: Any = account.verify
    if account.verify and account.ca_bundle is not None:
        import ssl

        verify = ssl.create_default_context(cafile=str(account.ca_bundle))
    urls = dict((account.proxies or {}).get("urls") or {})
    return httpx.Client(
        verify=verify,
        timeout=_TIMEOUT_SECONDS,
        trust_env=account.proxies is None,
        mounts={
            f"{scheme}://": httpx.HTTPTransport(verify=verify, proxy=url)
            for scheme, url in urls.items()
        },
    )


def _names_in(body: Any, with_names: bool) -> Iterator[str]:
    """Give the texts of a body that tell whose something is."""
    if isinstance(body, list):
        for one in body:
            yield from _names_in(one, with_names)
    if isinstance(body, dict):
        for name, value in body.items():
            yield from _names_in(value, with_names)
            wanted = name in _OF_SOMEBODY or (with_names and name == "name")
            if wanted and isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
                yield value


def _user_of(token: str) -> str:
    """Return the ID of the user of an access token."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("iam_id", ""))


def _parts_of(crn: str) -> tuple[str, str, str]:
    """Return region, account ID and instance ID of a CRN."""
    region, account, instance = 5, 6, 7
    parts = [*crn.split(":"), *[""] * (instance + 1)]
    return parts[region], parts[account].removeprefix("a/"), parts[instance]


def _wait_of(answer: Reply) -> float:
    asked = answer.headers.get("retry-after", "")
    return float(asked) if re.fullmatch(r"\d{1,2}", asked) else _PAUSE_SECONDS
