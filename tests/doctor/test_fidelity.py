"""The fidelity suite's data: what it asks for, what that costs, and what it lets pass."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from session_block.doctor.fidelity.calls import CALLS
from session_block.doctor.fidelity.case import (
    Case,
    ExpectedReply,
    RawRequest,
    Step,
    filled,
    read_book,
)
from session_block.doctor.fidelity.record import record_of, tally
from session_block.doctor.fidelity.reply import Reply, differences
from session_block.doctor.fidelity.suite import CaseOutcome, Finding, planned

BOOK = read_book()
ALL_SECONDS = 60
FACTS = 200


def _counted(cases: tuple[Case, ...] = BOOK.cases) -> set[str]:
    """Return the cases that are no guesses, a family once."""
    return {one.family or one.id for one in cases if not one.is_guess}


def _submissions() -> Iterator[tuple[str, RawRequest]]:
    """Give all requests that could make a job, with the set-up that they belong to."""
    for name, set_up in BOOK.set_ups.items():
        yield from ((name, step.request) for step in set_up.steps)
    yield from ((one.set_up, one.request) for one in BOOK.cases if one.request is not None)


def test_there_are_enough_cases_that_are_no_guesses() -> None:
    """Families count once, and guesses do not count."""
    assert len(_counted()) >= FACTS


def test_no_two_cases_are_alike() -> None:
    """Endpoint, kind of input and expectation together are each case's own, and so is its name."""
    assert [key for key, times in Counter(one.key for one in BOOK.cases).items() if times > 1] == []
    assert [key for key, times in Counter(one.id for one in BOOK.cases).items() if times > 1] == []


def test_each_source_has_a_case_or_a_reason() -> None:
    """What a request can show is shown, and what none can show has no case."""
    facts = {one.source for one in BOOK.cases if not one.is_guess}
    guesses = {one.source for one in BOOK.cases}
    for name, source in BOOK.sources.items():
        shown = guesses if source.marks == ("guess",) else facts
        assert (name in shown) is not bool(source.not_seen), name


def test_each_set_up_and_value_is_there() -> None:
    """Nothing is asked with a value that no run has, and no set-up is left over."""
    assert {one.set_up for one in BOOK.cases} == set(BOOK.set_ups)
    for case in BOOK.cases:
        assert case.call is None or case.call in CALLS
        kept = {name for step in BOOK.set_ups[case.set_up].steps for name in step.keep}
        named = set(re.findall(r"\$(\w*job|session)\b", case.model_dump_json()))
        assert named - {"unknown_job"} <= kept, case.id


def test_all_of_it_costs_a_minute_at_most() -> None:
    """What is declared, summed up, is within the bound that is promised."""
    assert BOOK.seconds() <= ALL_SECONDS
    everything = planned(BOOK, ["paid", "open"], ALL_SECONDS)
    assert everything.left_out == {}
    assert everything.seconds == BOOK.seconds()


@pytest.mark.parametrize("bound", [0, 1, 2, 5, 10, 30])
def test_what_is_planned_stays_within_the_bound(bound: float) -> None:
    """Cases that do not fit are left out before anything is sent, with the reason."""
    plans = planned(BOOK, ["paid", "open"], bound)
    chosen = [one for cases in plans.by_set_up.values() for one in cases]
    assert plans.seconds <= bound
    assert len(chosen) + len(plans.left_out) == len(BOOK.cases)
    assert all("costs up to" in why for why in plans.left_out.values())
    assert plans.seconds == sum(
        BOOK.set_ups[name].planned_seconds for name in plans.by_set_up
    ) + sum(one.seconds for one in chosen)


def test_the_open_plan_gets_much_for_nothing() -> None:
    """Closing a batch with a queued job included; what needs sessions is left out."""
    plans = planned(BOOK, ["open"], 0)
    chosen = {one.id for cases in plans.by_set_up.values() for one in cases}
    assert plans.seconds == 0
    assert "batch-fails-its-queued-job" in chosen
    assert len({one for one in chosen if one in _counted()}) >= FACTS
    assert "paid plan" in plans.left_out["open-a-session"]


def test_each_job_is_limited_and_found_by_its_tag() -> None:
    """A job that runs against all expectation costs what is declared, and can be cancelled."""
    limits: Counter[str] = Counter()
    for name, request in _submissions():
        if request.endpoint != "runtime POST /jobs" or not isinstance(request.body, dict):
            continue
        is_broken = "cost" not in request.body or not isinstance(request.body["cost"], int)
        limit = 2 if is_broken or request.body["cost"] < 0 else request.body["cost"]
        assert is_broken is (request.body.get("cost") == "two"), request
        assert "$tag" in str(request.body["tags"])
        if not _is_refused_for_sure(request.body):
            limits[name] += limit
    for name, seconds in limits.items():
        used = sum(one.seconds for one in BOOK.cases if one.set_up == name)
        assert seconds <= BOOK.set_ups[name].seconds + used, name


def _is_refused_for_sure(body: dict[str, Any]) -> bool:
    """Whether a job cannot run: nothing to run, nowhere to run, or nobody's."""
    return (
        "program_id" not in body
        or body["program_id"] in ("", 7, "no-such-program")
        or body.get("backend") in (None, "ibm_nowhere")
        or body["params"] == {"pubs": []}
        or body.get("session_id") in ("$unknown_session", "$text_100")
        or body.get("calibration_id") == "$unknown_session"
        # A closed batch or session, which accepts nothing [docs].
        or (body.get("session_id") == "$session" and body["cost"] == 1)
    )


def test_nothing_is_sent_to_what_the_suite_did_not_make() -> None:
    """Requests that change something name only what the run's own set-up has made, or nothing."""
    for _, request in _submissions():
        if request.method in ("PUT", "PATCH", "DELETE") or request.path.endswith("/cancel"):
            assert re.fullmatch(r"\$(\w+_)?(job|session)", request.path.split("/")[2]), request


def test_an_empty_answer_agrees_with_nearly_nothing() -> None:
    """Each raw case, asked for what it makes of 200 and ``{}``, differs: all but 5 % at most."""
    empty = Reply(200, {"content-type": "application/json"}, "{}")
    values = _Anything()
    raw = [one for one in BOOK.cases if one.request is not None]
    passing = [one.id for one in raw if not differences(empty, one.expect, values)]
    assert len(passing) <= len(raw) * 0.05, passing


class _Anything(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"a {key}"


ERROR = '{"errors":[{"code":1217,"message":"closed"}],"trace":"t"}'


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ({"status": 200}, Reply(200), Reply(201)),
        ({"status": "5xx"}, Reply(503), Reply(404)),
        ({"status": [200, 204]}, Reply(204), Reply(404)),
        ({"kind": "empty"}, Reply(204), Reply(204, text="{}")),
        ({"kind": "bare"}, Reply(404, text="no backend"), Reply(404, text=ERROR)),
        ({"kind": "bare"}, Reply(404, text='"no backend"'), Reply(404, text="{}")),
        ({"kind": "error"}, Reply(400, text=ERROR), Reply(400, text='{"errors":[]}')),
        ({"code": 1217}, Reply(400, text=ERROR), Reply(400, text=ERROR.replace("7", "8"))),
        ({"code": 1217}, Reply(400, text=ERROR.replace("1217", '"1217"')), Reply(400, text="{}")),
        ({"text": "a.c"}, Reply(500, text="abc"), Reply(500, text="abcd")),
        ({"lacks": ["$name"]}, Reply(404, text="nothing"), Reply(404, text="no ibm_x here")),
        (
            {"headers": {"Content-Type": "text"}},
            Reply(200, {"content-type": "text/x"}),
            Reply(200),
        ),
        ({"raises": "OSError"}, Reply(None, raised=("IOError", "OSError")), Reply(None)),
        ({"fields": {"a.b": "text"}}, {"a": {"b": "c"}}, {"a": {"b": ""}}),
        ({"fields": {"a.b": "text"}}, {"a": {"b": "c"}}, {"a": None}),
        ({"fields": {"a": "integer"}}, {"a": 1}, {"a": True}),
        ({"fields": {"a": "integer|null"}}, {"a": None}, {"a": 1.5}),
        ({"fields": {"a": "number"}}, {"a": 1.5}, {"a": "1.5"}),
        ({"fields": {"a": "time"}}, {"a": "2026-01-01T00:00:00Z"}, {"a": "2026-01-01"}),
        ({"fields": {"a": "date"}}, {"a": "2026-01-01"}, {"a": "2026-1-1"}),
        ({"fields": {"a": "xid"}}, {"a": "d" * 20}, {"a": "z" * 20}),
        ({"fields": {"a": "uuid"}}, {"a": f"{'0' * 8}-0000-0000-0000-{'0' * 12}"}, {"a": "d" * 20}),
        ({"fields": {"[].a": "text"}}, [{"a": "b"}], []),
        ({"fields": {"[*].a": "text"}}, [], [{"a": 1}]),
        ({"fields": {"[1].a": "text"}}, [{}, {"a": "b"}], [{"a": "b"}]),
        ({"fields": {"a": {"equals": True}}}, {"a": True}, {"a": 1}),
        ({"fields": {"a": {"equals": "$name"}}}, {"a": "ibm_x"}, {"a": "$name"}),
        ({"fields": {"a": {"one_of": [1, 2]}}}, {"a": 2}, {"a": 3}),
        ({"fields": {"a": {"least": 1, "most": 2}}}, {"a": 1}, {"a": 2.5}),
        ({"fields": {"a": {"count": 1}}}, {"a": [1]}, {"a": []}),
        ({"fields": {"a": {"at_most_items": 1}}}, {"a": []}, {"a": [1, 2]}),
        ({"fields": {"a": {"matches": "b+"}}}, {"a": "bb"}, {"a": "bc"}),
        ({"fields": {"a": {"has": ["$name"]}}}, {"a": ["b", "ibm_x"]}, {"a": ["b"]}),
        ({"fields": {"a": {"type": "text", "optional": True}}}, {"a": None}, {"a": 3}),
        ({"fields": {"a": {"type": "text", "optional": True}}}, {}, {"a": ""}),
        ({"fields": {"a": {"absent": True}}}, {"a": None}, {"a": 0}),
        ({"fields": {"": {"type": "null"}}}, Reply(200, text="null"), Reply(200, text="{}")),
    ],
)
def test_an_answer_is_compared_with_what_is_expected(
    expected: dict[str, Any], good: Any, bad: Any
) -> None:
    """Each kind of condition lets the one pass and not the other."""

    def differ(answer: Any) -> bool:
        given = answer if isinstance(answer, Reply) else Reply(200, text=json.dumps(answer))
        return bool(differences(given, ExpectedReply.model_validate(expected), {"name": "ibm_x"}))

    assert not differ(good)
    assert differ(bad)


def test_an_exception_of_the_client_is_no_agreement() -> None:
    """Where a value is expected, any exception differs, and says which one."""
    expected = ExpectedReply.model_validate({"fields": {"": {"type": "object"}}})
    [difference] = differences(Reply(None, text="{}", raised=("OSError",)), expected, {})
    assert "OSError" in str(difference)


def test_values_are_filled_in_at_any_depth() -> None:
    """A text that is only a name becomes the value itself; an unknown name is an error."""
    values = {"a": {"b": 1}, "c": "d"}
    assert filled({"x": ["$a", "$c and ${c}s", 3]}, values) == {"x": [{"b": 1}, "d and ds", 3]}
    with pytest.raises(KeyError):
        filled("$nobody", values)


def _finding(case: Case, outcome: CaseOutcome, answer: Reply | None = None) -> Finding:
    return Finding(case, outcome, answer)


def test_families_count_once_and_guesses_apart() -> None:
    """A family agrees if all of it does; what was not run counts towards nothing."""
    charges = [one for one in BOOK.cases if one.family == "charges"][:2]
    facts = [one for one in BOOK.cases if not one.is_guess and one.family is None][:3]
    guess = next(one for one in BOOK.cases if one.is_guess)
    found = [
        _finding(charges[0], CaseOutcome.AGREES),
        _finding(charges[1], CaseOutcome.DIFFERS),
        _finding(facts[0], CaseOutcome.AGREES),
        _finding(facts[1], CaseOutcome.AGREES),
        _finding(facts[2], CaseOutcome.NOT_RUN),
        _finding(guess, CaseOutcome.DIFFERS),
    ]
    assert str(tally(found)) == "3 cases: 2 agree, 1 differ, 1 are guesses"


def test_a_record_does_not_tell_whose_it_is() -> None:
    """Known secrets and all that looks like one are gone; what the platform says stays."""
    case = Case.model_validate(
        {
            "id": "a-guess",
            "source": "status-of-1217",
            "class": "guess",
            "input": "any",
            "send": "GET /sessions/$session",
            "expect": {
                "fields": {
                    "state": "text",
                    "id": "text",
                    "user_id": "text",
                    "devices[].name": "text",
                }
            },
        }
    )
    told = {
        "id": "0f0e0d0c-1111-2222-3333-444455556666",
        "user_id": "IBMid-550000ABCD",
        "state": "closed",
        "devices": [{"name": "ibm_hidden"}],
    }
    error = {
        "code": 1217,
        "message": "Job d3abcdefghij0123klmn of crn:v1:bluemix:public:q:eu:a/0123456789abcdef:x "
        "by someone@example.org at ibm_hidden, key my-api-key, session "
        "0f0e0d0c-1111-2222-3333-444455556666, eyJhbGciOi.eyJpYW1.c2ln, account "
        f"{'0123456789abcdef' * 2}, https://example.org/x",
        "solution": "Open another.",
    }
    answers = [
        Reply(200, text=json.dumps(told)),
        Reply(400, text=json.dumps({"errors": [error]})),
    ]
    record = record_of(
        [Finding(case, CaseOutcome.DIFFERS, one) for one in answers],
        secrets=["my-api-key", "ibm_hidden"],
        about={"bound_seconds": 0, "backend": "ibm_hidden"},
    )
    text = json.dumps(record)
    for hidden in (
        "0f0e0d0c",
        "550000ABCD",
        "ibm_hidden",
        "d3abc",
        "crn:",
        "0123456789abcdef",
        "someone@",
        "my-api-key",
        "eyJ",
        "example.org",
    ):
        assert hidden not in text, hidden
    first, second = record["cases"]
    assert first["seen"]["values"] == {"state": "closed"}
    assert first["seen"]["form"]["user_id"] == "str"
    assert second["seen"]["error"]["code"] == 1217
    assert second["seen"]["error"]["message"].startswith("Job <id> of <crn>")


def test_a_step_waits_for_something_that_it_can_see() -> None:
    """Every wait looks at a field, and has an end."""
    steps: list[Step] = [step for one in BOOK.set_ups.values() for step in one.steps]
    waits = [step for step in steps if step.until]
    assert waits
    assert all(step.request.method == "GET" for step in waits)
    assert all(wanted for step in waits for wanted in step.until.values())
