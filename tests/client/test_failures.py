"""What each exception of a submission says: no job for certain, or nobody knows."""

from __future__ import annotations

import inspect
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType
from typing import Any

import pytest
import qiskit_ibm_runtime.accounts.exceptions
import qiskit_ibm_runtime.api.exceptions
import qiskit_ibm_runtime.exceptions
import requests
from ibm_cloud_sdk_core import ApiException
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError, IBMRuntimeError
from urllib3.response import HTTPResponse
from urllib3.util.retry import RequestHistory, Retry

from session_block.client.failures import (
    Refusal,
    UnknownEffectError,
    UnreadableAnswerError,
    is_outage,
    refusal,
    tells_of_closed_session,
    tells_of_refused_token,
    too_many_requests,
)

MODULES: tuple[ModuleType, ...] = (
    qiskit_ibm_runtime.exceptions,
    qiskit_ibm_runtime.api.exceptions,
    qiskit_ibm_runtime.accounts.exceptions,
)
# Every exception of the client, and what it says when it comes out of the parts that talk to the
# platform without an HTTP answer: nothing, but for the one that complains of the input.
SAYS_NOTHING = {
    "AccountAlreadyExistsError",
    "AccountNotFoundError",
    "AccountsError",
    "ApiIBMProtocolError",
    "AuthenticationLicenseError",
    "CloudResourceNameResolutionError",
    "UserTimeoutExceededError",
    "ApiError",
    "IBMAccountError",
    "IBMApiError",
    "IBMBackendApiError",
    "IBMBackendApiProtocolError",
    "IBMBackendError",
    "IBMBackendValueError",
    "IBMError",
    "IBMNotAuthorizedError",
    "IBMRuntimeError",
    "InvalidAccountError",
    "RequestsApiError",
    "RuntimeInvalidStateError",
    "RuntimeJobFailureError",
    "RuntimeJobMaxTimeoutError",
    "RuntimeJobNotFound",
    "RuntimeJobTimeoutError",
    "RuntimeProgramNotFound",
}
REFUSES = {"IBMInputValueError"}


def exceptions() -> dict[str, type[Exception]]:
    """Return the client's own exceptions by name."""
    return {
        name: one
        for module in MODULES
        for name, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Exception) and one.__module__.startswith("qiskit_ibm_runtime")
    }


OWN = '{"errors":[{"code":1234,"message":"no"}],"trace":"t"}'
"""A refusal as IBM's API words it."""

PAGE = "<html><head><title>Request blocked</title></head></html>"
"""What a proxy, a firewall or a load balancer answers in IBM's place."""


def raised_while_sending(error: BaseException) -> BaseException:
    """Return an exception that came out of the client's sending part."""
    place = "/site-packages/qiskit_ibm_runtime/api/session.py"
    code = compile("def send(error):\n    raise error", place, "exec")
    scope: dict[str, Any] = {}
    exec(code, scope)  # noqa: S102 - a function in a file of this name
    with pytest.raises(type(error)) as caught:
        scope["send"](error)
    return caught.value


def answered(
    status: int, text: str = "", *, method: str = "POST", sent_before: bool = False, **headers: str
) -> BaseException:
    """Return what the client raises for an HTTP answer, which it hides in the context."""
    response = requests.Response()
    response.status_code = status
    response._content = text.encode()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    response.request = requests.Request(method, "http://platform/jobs").prepare()
    history = (RequestHistory("POST", "/jobs", None, 503, None),) if sent_before else ()
    response.raw = HTTPResponse(retries=Retry(history=history))
    error = IBMRuntimeError("Failed to run program")
    error.__context__ = requests.HTTPError(response=response)
    return raised_while_sending(error)


def test_no_exception_of_the_client_is_unknown() -> None:
    """An exception that a new version of the client brings is thought about."""
    assert set(exceptions()) == SAYS_NOTHING | REFUSES


@pytest.mark.parametrize("name", sorted(SAYS_NOTHING))
def test_without_an_answer_nobody_knows(name: str) -> None:
    """P6: whatever comes out of the client while it sends may have made a job."""
    assert refusal(raised_while_sending(exceptions()[name]("lost"))) is None


@pytest.mark.parametrize("name", sorted(SAYS_NOTHING | REFUSES))
def test_before_it_sends_nothing_was_sent(name: str) -> None:
    """What is raised before the client began to send made no job."""
    error = exceptions()[name]
    with pytest.raises(error) as caught:
        raise error("wrong")
    refused = refusal(caught.value)
    assert refused is not None
    assert (refused.cause, refused.status) == ("request", None)


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.Timeout(), OSError()])
def test_a_lost_connection_says_nothing(error: Exception) -> None:
    """P6: dropped connections and timeouts are settled by a look-up."""
    assert refusal(raised_while_sending(error)) is None


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, "request"),
        (401, "for-now"),
        (403, "for-now"),
        (404, "request"),
        (413, "request"),
        (422, "request"),
        (429, "for-now"),
    ],
)
def test_ibms_own_4xx_of_one_attempt_is_definite(status: int, cause: str) -> None:
    """P6: a 4xx of IBM's own that came of exactly one attempt made no job."""
    refused = refusal(answered(status, OWN))
    assert refused is not None
    assert (refused.cause, refused.status) == (cause, status)
    assert refusal(answered(status, '{"error": {"code": 1234, "message": "no"}}')) == Refusal(
        cause, status, f'HTTP {status}: {{"error": {{"code": 1234, "message": "no"}}}}'
    )


@pytest.mark.parametrize("status", [402, 407, 408, 409, 421, 423, 425, 451, 499])
def test_some_statuses_say_nothing_of_the_request(status: int) -> None:
    """P6: a time limit, a conflict, a lock and a proxy's word are looked up, whoever says it."""
    assert refusal(answered(status, OWN)) is None


def test_a_used_up_allocation_is_known_by_its_words() -> None:
    """IBM says 409 for it; to look three times for a job would only let the session burn."""
    used_up = OWN.replace('"no"', '"The usage limit of instance x is reached."')
    refused = refusal(answered(409, used_up))
    assert refused is not None
    assert (refused.cause, refused.status) == ("for-now", 409)
    assert refusal(answered(409, "The usage limit is reached.")) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429])
@pytest.mark.parametrize(
    "text",
    [PAGE, "", "Bad Request", "{}", "[]", '{"errors": []}', '{"errors": [{"message": "x"}]}'],
)
def test_what_is_not_ibms_own_says_nothing(status: int, text: str) -> None:
    """P6: without IBM's body and its code, nobody knows who answered, nor when."""
    assert refusal(answered(status, text)) is None


def test_an_answer_of_another_form_says_nothing() -> None:
    """P6: a success that names no job may have made one, wherever it is found out."""
    assert refusal(UnreadableAnswerError("names no session")) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 302, 200])
def test_other_answers_say_nothing(status: int) -> None:
    """P6: an error of the server may have come after the effect."""
    assert refusal(answered(status)) is None


def test_a_4xx_after_another_attempt_says_nothing() -> None:
    """P6: the client had sent the job before, and who knows what became of that."""
    assert refusal(answered(400, OWN, sent_before=True)) is None


def test_an_answer_to_another_request_says_nothing() -> None:
    """The client asks for more than the job when it submits; a GET that failed is no refusal."""
    assert refusal(answered(404, OWN, method="GET")) is None


def test_what_is_being_handled_is_no_part_of_the_story() -> None:
    """A refusal that the caller is handling is not taken for the next submission's."""
    handled = answered(429, OWN)
    lost = IBMRuntimeError("lost")
    lost.__context__ = handled
    assert refusal(raised_while_sending(lost), handled) is None


@pytest.mark.parametrize(
    "text", ['{"errors":[{"code":1217,"message":"x"}]}', "Session has been closed: d1"]
)
def test_a_closed_session_is_told_by_code_and_by_text(text: str) -> None:
    """Neither the status nor one form of it is relied on."""
    for status in (400, 404, 409):
        refused = refusal(answered(status, text))
        assert refused is not None
        assert refused.cause == "session-closed"
    assert refusal(answered(403, f"<p>{text}</p>")) is None


@pytest.mark.parametrize(
    ("value", "seconds", "pause"),
    [
        ("7", 7.0, 7.0),
        (" 7 ", 7.0, 7.0),
        ("1.5", 1.5, 1.5),
        ("86400", 86400.0, 3600.0),
        ("9" * 400, math.inf, 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", None, None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None, None),
        ("soon", None, None),
        ("-3", None, None),
        ("inf", None, None),
        ("nan", None, None),
        ("", None, None),
    ],
)
@pytest.mark.parametrize("text", [OWN, PAGE])
def test_retry_after_is_a_number_or_a_date(
    value: str, seconds: float | None, pause: float | None, text: str
) -> None:
    """What is neither is as good as nothing, and nobody is waited for longer than an hour."""
    asked = too_many_requests(answered(429, text, Retry_After=value))
    assert asked is not None
    assert (asked.retry_after_seconds, asked.pause_seconds) == (seconds, pause)
    assert asked.too_long == ((seconds or 0) > 3600)


def test_retry_after_may_be_a_time_to_come() -> None:
    """A date says how long it is until then."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    asked = too_many_requests(answered(429, Retry_After=moment))
    assert asked is not None
    assert asked.retry_after_seconds == pytest.approx(600, abs=30)
    assert too_many_requests(answered(503, Retry_After="7")) is None


def failed_request(error: requests.RequestException, method: str, path: str) -> BaseException:
    """Return what the client makes of a request that failed."""
    error.request = requests.Request(method, f"http://platform/api/v1{path}").prepare()
    outer = IBMRuntimeError("failed")
    outer.__context__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (answered(503, method="GET"), True),
        (answered(520, method="GET"), True),
        (answered(429, OWN, method="GET"), True),
        (answered(408, method="GET"), True),
        (answered(403, PAGE, method="GET"), True),
        (answered(401, OWN, method="GET"), False),
        (answered(403, OWN, method="GET"), False),
        (answered(404, OWN, method="GET"), False),
        (failed_request(requests.ConnectionError("refused"), "GET", "/jobs"), True),
        (failed_request(requests.Timeout("slow"), "GET", "/jobs"), True),
        (failed_request(requests.JSONDecodeError("no", "<html>", 0), "GET", "/jobs"), True),
        (failed_request(requests.ConnectionError("cut"), "POST", "/jobs"), False),
        (failed_request(requests.ConnectionError("cut"), "POST", "/sessions"), False),
        (failed_request(requests.exceptions.SSLError("bad"), "GET", "/jobs"), False),
        (failed_request(requests.exceptions.ProxyError("said 407"), "GET", "/jobs"), False),
        (failed_request(requests.exceptions.InvalidURL("bad"), "GET", "/jobs"), False),
        (ApiException(503), True),
        (ApiException(400), False),
        (UnreadableAnswerError("no state"), True),
        (UnknownEffectError("no session"), False),
        (IBMRuntimeError("nothing is known"), False),
    ],
)
def test_what_waiting_may_cure(error: BaseException, passes: bool) -> None:
    """An outage passes by itself; a refusal and a setting do not, and no POST is made blindly."""
    assert is_outage(error) is passes


def test_refused_tokens_are_known() -> None:
    """401 is told from everything else, in whatever the client wraps it."""
    assert tells_of_refused_token(IBMNotAuthorizedError("401"))
    assert tells_of_refused_token(answered(401))
    assert not tells_of_refused_token(answered(403))
    assert not tells_of_refused_token(IBMRuntimeError("401"))


def test_reasons_of_failed_jobs() -> None:
    """Only a session's end takes its jobs along."""
    assert tells_of_closed_session("Error code 1217; Session d1 has been closed")
    assert not tells_of_closed_session("Error code 9707; Temporary Internal Error")
