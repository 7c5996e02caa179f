"""Decide from a submission's exception: either certainly no job was made, or nobody knows.

The client hides the HTTP answer in the context of its exceptions, so it is extracted here.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePath

import requests
from qiskit_ibm_runtime import IBMInputValueError, IBMRuntimeError
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError

SESSION_CLOSED_CODE = 1217
"""IBM's error code for a job that comes too late for its session."""

NO_SESSIONS_CODE = 1352
"""IBM's error code for a session on the open plan."""

_SESSION_CLOSED_TEXTS = ("Session has been closed", "The session is closed")
UNAUTHORIZED = 401
_TOO_MANY = 429
_FOR_NOW = frozenset({UNAUTHORIZED, 403, _TOO_MANY})
_CODE = re.compile(r'"code": ?(\d+)|Error code (\d+);')
_SENDING = {"qiskit_runtime_service.py", "api"}


@dataclass(frozen=True)
class Refusal:
    """A submission that was certainly refused: by the platform, or by the client before sending.

    Attributes:
        cause: ``session-closed``, ``for-now`` (credentials or rate limit) or ``request``.
        status: The HTTP status; ``None`` if the client refused.
        message: The reason, for people.
        retry_after_seconds: How long the platform asks to wait, if it says so.
    """

    cause: str
    status: int | None
    message: str
    retry_after_seconds: float | None = None

    @property
    def too_many(self) -> bool:
        """Whether there were too many submissions, so that waiting is enough."""
        return self.status == _TOO_MANY


def refusal(error: BaseException, handled: BaseException | None = None) -> Refusal | None:
    """Return the refusal if a submission's exception proves that no job was made, else ``None``.

    There are two proofs: a 4xx answer to the only POST, and an exception raised before the client
    began to send. Anything else may have made a job: dropped connections, timeouts, 5xx, and a 4xx
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
    if isinstance(error, IBMInputValueError) or not any(map(_began_to_send, chain)):
        return Refusal("request", None, str(error))
    answers = (one.response for one in chain if isinstance(one, requests.HTTPError))
    response = next((answer for answer in answers if answer is not None), None)
    if response is None or response.request.method != "POST" or _was_sent_before(response):
        return None
    status = response.status_code
    if not 400 <= status < 500:  # noqa: PLR2004
        return None
    message = f"HTTP {status}: {response.text}"
    if tells_of_closed_session(message):
        return Refusal("session-closed", status, message)
    cause = "for-now" if status in _FOR_NOW else "request"
    return Refusal(cause, status, message, _retry_after(response))


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
    value = response.headers.get("Retry-After", "")
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _chain(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None and seen is not handled:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _began_to_send(error: BaseException) -> bool:
    """Whether an exception passed through the client's code that talks to the platform."""
    places = (
        PurePath(frame.f_code.co_filename).parts
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
    return any("qiskit_ibm_runtime" in parts and _SENDING & set(parts) for parts in places)


def _was_sent_before(response: requests.Response) -> bool:
    """Whether the HTTP layer sent the request more than once: the first may have made a job."""
    retries = getattr(response.raw, "retries", None)
    return bool(retries is not None and retries.history)
