"""Decide from an exception of the client: was the request certainly refused, and may waiting help?

The client hides the HTTP answer in the context of its exceptions, so it is extracted here.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import requests
from ibm_cloud_sdk_core import ApiException
from qiskit_ibm_runtime import IBMInputValueError, IBMRuntimeError
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError

SESSION_CLOSED_CODE = 1217
"""IBM's error code for a job that comes too late for its session."""

NO_SESSIONS_CODE = 1352
"""IBM's error code for a session on the open plan."""

LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""A longer ``Retry-After`` is not waited out; the request is then tried again."""

_SESSION_CLOSED_TEXTS = ("Session has been closed", "The session is closed")
UNAUTHORIZED = 401
_TOO_MANY = 429
_FOR_NOW = frozenset({UNAUTHORIZED, 403, _TOO_MANY})
"""Statuses of IBM's own refusals that say nothing against the request itself."""

_INCONCLUSIVE = frozenset({402, 407, 408, 409, 421, 423, 425, 451, 499})
"""Statuses that say nothing about what became of the request, whoever sends them.

They tell of time limits, of conflicts, of locks, and of what stands between here and IBM.
"""

_CONFLICT = 409
_LIMIT = re.compile(r"\blimit\b", re.IGNORECASE)
"""IBM refuses work for an instance that has used up its time as a conflict [client source]."""

_PASSING = frozenset({408, 423, 425, _TOO_MANY, 499})
"""Statuses below 500 after which the same question may be answered a little later."""

_EFFECTS = ("/jobs", "/sessions")
"""The ends of the paths whose POST has an effect, so that it is not simply made again."""

_CUT_OFF = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.exceptions.JSONDecodeError,
)
"""What is raised if no answer came, or only a part of one, or a page in its place."""

_CODE = re.compile(r'"code": ?(\d+)|Error code (\d+);')
_SECONDS = re.compile(r"\d+(\.\d*)?")
_SENDING = {"qiskit_runtime_service.py", "api"}
_ENCODING = ("json", "encoder.py")


class UnreadableAnswerError(IBMRuntimeError):  # type: ignore[misc]  # untyped
    """The platform's answer was a success, but not of the form that is expected."""


class UnknownEffectError(UnreadableAnswerError):
    """Such an answer to a request that has an effect, so that the request is not made again."""


@dataclass(frozen=True)
class Refusal:
    """A submission that was certainly refused: by the platform, or by the client before sending.

    Attributes:
        cause: ``session-closed``, ``for-now`` (credentials or rate limit) or ``request``.
        status: The HTTP status; ``None`` if the client refused.
        message: The reason, for people.
    """

    cause: str
    status: int | None
    message: str


@dataclass(frozen=True)
class TooManyRequests:
    """The answer that there are too many requests, so that waiting is enough.

    Attributes:
        retry_after_seconds: How long it asks to wait, which may be infinite; ``None`` if it does
            not say, or says nothing that can be understood.
    """

    retry_after_seconds: float | None = None

    @property
    def too_long(self) -> bool:
        """Whether it asks for more than :data:`LONGEST_RETRY_AFTER_SECONDS`."""
        return (self.retry_after_seconds or 0.0) > LONGEST_RETRY_AFTER_SECONDS

    @property
    def pause_seconds(self) -> float | None:
        """How long to wait: what it asks for, but at most an hour; ``None`` if it does not say."""
        asked = self.retry_after_seconds
        return None if asked is None else min(asked, LONGEST_RETRY_AFTER_SECONDS)


def refusal(error: BaseException, handled: BaseException | None = None) -> Refusal | None:
    """Return the refusal if a submission's exception proves that no job was made, else ``None``.

    There are two proofs. One is a 4xx answer to the only POST that is IBM's own, which is JSON with
    an error code, and whose status speaks of the request or of the credentials. The other is an
    exception raised before the client began to send. Anything else may have made a job: dropped
    connections, timeouts, 5xx, what a middlebox answers, a time limit or a conflict, and a 4xx
    after the client had already sent the job once.

    Args:
        error: The exception of the submission.
        handled: The exception that was being handled when the submission began. Python puts it
            into the context of ``error``, although it has nothing to do with this submission.
    """
    chain = list(_chain(error, handled))
    closed_here = isinstance(error, IBMRuntimeError) and "The session is closed" in str(error)
    if closed_here:
        return Refusal("session-closed", None, str(error))
    if any(isinstance(one, UnreadableAnswerError) for one in chain):
        return None
    if isinstance(error, IBMInputValueError) or not any(map(_began_to_send, chain)):
        return Refusal("request", None, str(error))
    response = _answer(chain)
    if response is None or response.request.method != "POST" or _was_sent_before(response):
        return None
    status = response.status_code
    if not 400 <= status < 500:  # noqa: PLR2004
        return None
    message = f"HTTP {status}: {response.text}"
    if tells_of_closed_session(message) and not _is_markup(response):
        return Refusal("session-closed", status, message)
    if not _is_ibms_own(response):
        return None
    if status == _CONFLICT and _LIMIT.search(response.text):
        return Refusal("for-now", status, message)
    if status in _INCONCLUSIVE:
        return None
    cause = "for-now" if status in _FOR_NOW else "request"
    return Refusal(cause, status, message)


def too_many_requests(
    error: BaseException, handled: BaseException | None = None
) -> TooManyRequests | None:
    """Return what a 429 asks for, whoever answers it; ``None`` if the answer was another one.

    A middlebox's 429 is no proof that no job was made, but it is a reason to wait.

    Args:
        error: The exception of the request.
        handled: As for :func:`refusal`.
    """
    response = _answer(list(_chain(error, handled)))
    if response is None or response.status_code != _TOO_MANY:
        return None
    return TooManyRequests(_retry_after(response))


def is_outage(error: BaseException) -> bool:
    """Whether waiting may cure an error, and the request can simply be made again.

    So it is if nothing answers, if something answers 5xx, or one of the few other statuses that
    pass, or if what answers is not IBM. A certificate that does not verify is a setting, and a POST
    that may have made a job or a session is not made again without a look.
    """
    chain = list(_chain(error, None))
    if any(isinstance(one, UnknownEffectError) or _has_an_effect(one) for one in chain):
        return False
    for one in chain:
        if isinstance(one, requests.exceptions.SSLError):
            return False
        if isinstance(one, UnreadableAnswerError):
            return True
        if isinstance(one, ApiException):  # the service of tokens or of instances
            return _passes(one.status_code)
        if isinstance(one, requests.RequestException):
            if one.response is None or isinstance(one, requests.exceptions.JSONDecodeError):
                return isinstance(one, _CUT_OFF) and "407" not in str(one)
            return _passes(one.response.status_code) or _is_markup(one.response)
    return False


def code_in(message: str) -> int | None:
    """Return the platform's code in an answer or a failed job's reason; ``None`` without one."""
    found = _CODE.search(message)
    return None if found is None else int(found[1] or found[2])


def tells_of_closed_session(message: str) -> bool:
    """Whether a message from the platform says that a job came too late for its session.

    IBM does not document this refusal's HTTP status, nor the reason of a job that ends with its
    session, so both the code and the text are matched.
    """
    codes = (f'"code":{SESSION_CLOSED_CODE}', f"Error code {SESSION_CLOSED_CODE};")
    return any(sign in message for sign in (*_SESSION_CLOSED_TEXTS, *codes))


def tells_of_no_sessions(message: str) -> bool:
    """Whether a message from the platform says that the instance's plan has no sessions."""
    return f'"code":{NO_SESSIONS_CODE}' in message


def tells_of_refused_token(error: BaseException) -> bool:
    """Whether the platform answered 401: the token has expired or was revoked."""
    return isinstance(error, IBMNotAuthorizedError) or any(
        isinstance(one, requests.HTTPError)
        and one.response is not None
        and one.response.status_code == UNAUTHORIZED
        for one in _chain(error, None)
    )


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds of a ``Retry-After`` header, which may be a number or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _answer(chain: list[BaseException]) -> requests.Response | None:
    """Return the HTTP answer behind an exception; ``None`` if there was none."""
    answers = (one.response for one in chain if isinstance(one, requests.HTTPError))
    return next((answer for answer in answers if answer is not None), None)


def _is_ibms_own(response: requests.Response) -> bool:
    """Whether IBM's API refused the request: its refusals are JSON with an error code."""
    try:
        content: Any = json.loads(response.text)
    except ValueError:
        return False
    if not isinstance(content, dict):
        return False
    told = content.get("errors", content.get("error"))
    first = told[0] if isinstance(told, list) and told else told
    return isinstance(first, dict) and str(first.get("code", "")).isdecimal()


def _is_markup(response: requests.Response) -> bool:
    """Whether an answer is a page for people: IBM's API sends none, but what is in between does."""
    return response.text.lstrip().startswith("<")


def _passes(status: int | None) -> bool:
    return status is not None and (status >= 500 or status in _PASSING)  # noqa: PLR2004


def _has_an_effect(error: BaseException) -> bool:
    """Whether an exception is that of a POST that may have made a job or a session."""
    request = getattr(error, "request", None)
    path = urlsplit(str(getattr(request, "url", None) or "")).path
    return getattr(request, "method", None) == "POST" and path.endswith(_EFFECTS)


def _chain(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None and seen is not handled:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _began_to_send(error: BaseException) -> bool:
    """Whether an exception passed through the client's code that talks to the platform.

    What cannot be encoded, such as an unknown kind of number, fails there, before it is sent.
    """
    places = [
        PurePath(frame.f_code.co_filename).parts
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    if any(parts[-2:] == _ENCODING for parts in places):
        return False
    return any("qiskit_ibm_runtime" in parts and _SENDING & set(parts) for parts in places)


def _was_sent_before(response: requests.Response) -> bool:
    """Whether the HTTP layer sent the request more than once: the first may have made a job."""
    retries = getattr(response.raw, "retries", None)
    return bool(retries is not None and retries.history)
