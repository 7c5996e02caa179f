"""What the instance's plan allows is read; what it refuses is refused before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from session_support import block_for, sessions_at, submit

from session_block import QuantumSession
from session_block.client import Connection, PlanCaps
from session_block.client.plans import account_id
from session_block.doctor.check import Verdict
from session_block.doctor.platform import check_platform
from session_block.errors import InvalidInputError
from session_block.local_platform import LocalPlatform

pytestmark = pytest.mark.rest

OPEN_PLAN_SECONDS = 600


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of its own."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture(autouse=True)
def _no_rules(platform: LocalPlatform) -> Iterator[None]:
    yield
    platform.clear_faults()


def _block(platform: LocalPlatform, ledger_url: str, **fields: object) -> QuantumSession:
    plan = next(one for one in platform.accounts[0].instances if one.plan == "open")
    fields = {"mode": "batch", "backend_name": "ibm_fez", "max_time": None, **fields}
    return block_for(platform.info, ledger_url, instance=plan.crn, **fields)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"max_time": OPEN_PLAN_SECONDS + 1}, f"max_time to {OPEN_PLAN_SECONDS} or less"),
        ({"min_time_left": OPEN_PLAN_SECONDS}, "min_time_left shorter"),
    ],
)
def test_what_the_plan_cannot_give_is_refused_before_it_is_asked_for(
    platform: LocalPlatform, ledger_url: str, fields: dict[str, object], advice: str
) -> None:
    """Neither the ledger nor the platform has heard of a session; the doctor says the same."""
    before = len(platform.sessions())
    block = _block(platform, ledger_url, **fields)
    experiment = block.experiment("asks too much")
    with pytest.raises(InvalidInputError, match=advice) as caught:
        experiment.open_session()
    assert caught.value.experiment == experiment.uid
    assert experiment.sessions == []
    assert len(platform.sessions()) == before
    (plan,) = (one for one in check_platform(block) if one.what == "plan")
    assert plan.verdict == Verdict.FAILED
    assert advice in plan.advice


def test_what_the_plan_gives_is_opened(platform: LocalPlatform, ledger_url: str) -> None:
    """To the second; the plan is asked for once."""
    block = _block(platform, ledger_url, max_time=OPEN_PLAN_SECONDS, min_time_left=30)
    with block.experiment("asks for what there is") as experiment:
        before = platform.stats()["requests"]
        submit(experiment, 0, 1)
        assert sessions_at(platform.info, experiment)[0]["max_ttl"] == OPEN_PLAN_SECONDS
    route = "GET /accounts/{account_id}"
    assert platform.stats()["requests"][route] == before.get(route, 0) + 1
    (plan,) = (one for one in check_platform(block) if one.what == "plan")
    assert plan.verdict == Verdict.OK
    assert f"{OPEN_PLAN_SECONDS} s" in plan.found


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, None), (404, None), (200, "{}"), (200, "null"), (200, '{"plans":{}}')],
)
def test_a_platform_that_does_not_say_stands_in_nobodys_way(
    platform: LocalPlatform, ledger_url: str, status: int, body: str | None
) -> None:
    """A key may not read its account: sessions open as ever."""
    platform.add_fault(
        kind="status", path="/accounts/{account_id}", status=status, body=body, times=None
    )
    block = _block(platform, ledger_url, max_time=300)
    with block.experiment(f"is not told {status} {body}") as experiment:
        submit(experiment, 0)
        assert sessions_at(platform.info, experiment)[0]["max_ttl"] == 300
    (plan,) = (one for one in check_platform(block) if one.what == "plan")
    assert plan.verdict == Verdict.OK
    assert "does not say" in plan.found


def test_the_entry_of_the_instances_own_plan_counts(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """The account has three plans, and the instance tells which is its own."""
    caps = Connection(_block(platform, ledger_url).credentials).plan_caps()
    assert caps.max_time == OPEN_PLAN_SECONDS
    first = Connection(block_for(platform.info, ledger_url).credentials).plan_caps()
    assert first.max_time == 8 * 3600


def test_figures_that_are_none_are_unknown() -> None:
    """An unknown cap is never zero."""
    assert PlanCaps.of({"max_ttl": 0, "active_ttl": "60", "interactive_ttl": True}) == PlanCaps()
    assert PlanCaps.of({"usage_allocation_seconds": 600}) == PlanCaps(usage=600)
    assert account_id("crn:v1:bluemix:public:quantum-computing:us-east:a/0a1b:2c::") == "0a1b"
    assert account_id("not a CRN") is None
