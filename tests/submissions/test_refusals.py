"""What is refused, and by whom: nothing is sent twice for it, and nothing is bricked by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    SubmissionNotSentError,
    SubmissionRejectedError,
)
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import Ledger
from session_block.local_platform import LocalPlatform
from session_block.operations.submissions import Operator

PAGE = "<html><head><title>Request blocked</title></head></html>"
POST = {"method": "POST", "path": "/jobs", "kind": "status"}


def block_of(platform: LocalPlatform, ledger: Path, **more: Any) -> QuantumSession:
    """Return a Block with a ledger of the test's own."""
    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=f"sqlite:///{ledger}",
        **more,
    )


def ask(experiment: Experiment, number: int = 0, tags: list[str] | None = None) -> None:
    """Run one circuit in an experiment."""
    circuit = QuantumCircuit(1, 1)
    circuit.rz(0.1 * number, 0)
    circuit.measure(0, 0)
    options = None if tags is None else {"environment": {"job_tags": tags}}
    experiment.run_sampler([circuit], shots=8, options=options)


def jobs_of(platform: LocalPlatform, experiment: Experiment) -> int:
    """Return how many jobs the server counted for an experiment."""
    return int(platform.stats()["jobs"]["by_tag"].get(f"qs-uid:{experiment.uid}", 0))


@pytest.mark.parametrize("again", ["in the same opening", "in the next one"])
def test_corrected_tags_go_on(own: LocalPlatform, tmp_path: Path, again: str) -> None:
    """Tags are not what a request is recognised by, so correcting them must suffice."""
    block = block_of(own, tmp_path / "ledger.db")
    experiment = block.experiment(tmp_path.name)
    own.add_fault(**POST, status=400, code=1234, message="a bad tag", times=1)
    with pytest.raises(SubmissionRejectedError, match="a bad tag") as caught:
        ask(experiment, tags=["bad"])
    assert f"session-block submissions show {experiment.uid} {caught.value.submission}" in str(
        caught.value
    )
    [waiting] = [one for one in Operator(block.ledger()).submissions() if one.waits]
    assert "a bad tag" in str(waiting.described()["refused_because"])
    if again == "in the next one":
        experiment = block.experiment(tmp_path.name)
    ask(experiment, tags=["good"])
    assert jobs_of(own, experiment) == 1
    assert not any(one.waits for one in Operator(block.ledger()).submissions())


def test_a_refusal_is_asked_once_for_each_call(own: LocalPlatform, tmp_path: Path) -> None:
    """A wrong request stays refused: each call asks once, raises, and makes no job."""
    experiment = block_of(own, tmp_path / "ledger.db").experiment(tmp_path.name)
    fault = own.add_fault(**POST, status=400, code=1234, times=3)
    for asked in (1, 2, 3):
        with pytest.raises(SubmissionRejectedError) as caught:
            ask(experiment)
        assert caught.value.code == 1234
        assert [one["used"] for one in own.faults() if one["id"] == fault] == [asked]
    assert jobs_of(own, experiment) == 0
    ask(experiment)
    assert jobs_of(own, experiment) == 1


def test_a_new_allocation_and_a_raised_limit_go_on(own: LocalPlatform, tmp_path: Path) -> None:
    """What was refused for want of allocation, or by the Block's limit, goes on by itself."""
    ledger = tmp_path / "ledger.db"
    own.add_fault(**POST, status=409, code=1296, message="The usage limit of x is reached.")
    first = block_of(own, ledger, max_jobs=1).experiment(tmp_path.name)
    with pytest.raises(SubmissionRejectedError, match="usage limit"):
        ask(first)
    second = block_of(own, ledger, max_jobs=1).experiment(tmp_path.name)
    ask(second)
    with pytest.raises(BudgetExceededError):
        ask(second, 1)
    third = block_of(own, ledger, max_jobs=2).experiment(tmp_path.name)
    ask(third)
    ask(third, 1)
    assert jobs_of(own, third) == 2


IN_BETWEEN = [
    {"status": 408},
    {"status": 403, "body": PAGE},
    {"status": 429, "body": PAGE, "retry_after": 1},
    {"status": 407, "body": PAGE},
    {"status": 409},
    {"status": 423},
    {"status": 499},
    {"status": 404, "body": "not found"},
]


@pytest.mark.rest
@pytest.mark.parametrize(
    "faults", [IN_BETWEEN[:2], pytest.param(IN_BETWEEN[2:], marks=pytest.mark.rest)]
)
@pytest.mark.parametrize("effect", ["before", "after"])
def test_what_is_no_refusal_of_ibms_own_is_looked_up(
    own: LocalPlatform, tmp_path: Path, faults: list[dict[str, Any]], effect: str
) -> None:
    """P1, P6: nobody knows whether it came before or after the job, so it is found or sent."""
    experiment = block_of(own, tmp_path / "ledger.db").experiment(tmp_path.name)
    for number, fault in enumerate(faults):
        own.add_fault(**POST, **fault, effect=effect)
        ask(experiment, number)
    assert all(rule["used"] for rule in own.faults())
    assert jobs_of(own, experiment) == len(faults)


@pytest.mark.rest
def test_tries_without_an_answer_are_bounded_and_told(own: LocalPlatform, tmp_path: Path) -> None:
    """After three pages of a firewall the error quotes them; the next run goes on."""
    experiment = block_of(own, tmp_path / "ledger.db").experiment(tmp_path.name)
    own.add_fault(**POST, status=403, body=PAGE, times=3)
    with pytest.raises(SubmissionNotSentError, match=r"3 times.*session-block doctor.*403"):
        ask(experiment)
    ask(experiment)
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
@pytest.mark.parametrize("made", [True, False])
def test_what_an_older_version_took_for_a_refusal_goes_on(
    own: LocalPlatform, tmp_path: Path, *, made: bool
) -> None:
    """Ledgers are read for ever: a recorded 408 is looked up before it is asked again."""
    before, older = tmp_path / "before.db", tmp_path / "older.db"
    experiment = block_of(own, before).experiment(tmp_path.name)
    if made:
        ask(experiment)
    else:
        own.add_fault(**POST, status=400)
        with pytest.raises(SubmissionRejectedError):
            ask(experiment)
    uid = experiment.uid
    ledger, copy = Ledger(f"sqlite:///{before}"), Ledger(f"sqlite:///{older}")
    for fact in [*ledger.facts("@names", ""), *ledger.facts(uid, "")]:
        if not fact.key.startswith(("outcome/", "result/")):
            copy.create(fact.experiment, fact.key, fact.body, fact.payload)
        if fact.key.startswith("intent/"):
            outcome = {"kind": "rejected", "cause": "request", "status": 408, "message": "HTTP 408"}
            copy.create(uid, fact.key.replace("intent/", "outcome/", 1), outcome)
    again = block_of(own, older).experiment(tmp_path.name)
    ask(again)
    assert again.uid == uid
    assert jobs_of(own, again) == 1


@pytest.mark.rest
def test_a_session_that_is_refused_in_passing_is_opened(own: LocalPlatform, tmp_path: Path) -> None:
    """An expired token and too many requests only delay the opening; there is one session."""
    where = {"method": "POST", "path": "/sessions"}
    before = own.stats()["sessions"]["total"]
    experiment = block_of(own, tmp_path / "ledger.db").experiment(tmp_path.name)
    own.add_fault(**where, kind="expire_tokens")
    own.add_fault(**where, kind="status", status=429, retry_after=1, nth=2)
    ask(experiment)
    assert own.stats()["sessions"]["total"] == before + 1
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_session_whose_opening_is_unknown_is_not_opened_blindly(
    own: LocalPlatform, tmp_path: Path
) -> None:
    """A time limit of a load balancer proves nothing, so it is recorded as lost, not refused."""
    block = block_of(own, tmp_path / "ledger.db")
    experiment = block.experiment(tmp_path.name)
    before = own.stats()["sessions"]["total"]
    own.add_fault(method="POST", path="/sessions", kind="status", status=408, effect="after")
    with pytest.raises(ConnectionFailedError, match="open a session"):
        ask(experiment)
    [lost] = experiment.load(tmp_path.name, block.ledger()).sessions
    assert lost.state == "lost"
    ask(experiment)
    assert own.stats()["sessions"]["total"] == before + 2
    assert jobs_of(own, experiment) == 1
