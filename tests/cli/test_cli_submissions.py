"""``session-block submissions``, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from session_support import block_for, run, submit
from typer.testing import CliRunner

from session_block import QuantumSession
from session_block.cli import app
from session_block.errors import SubmissionHeldError
from session_block.local_platform import LocalPlatform


@pytest.fixture(scope="module")
def own() -> Iterator[LocalPlatform]:
    """This module's own platform, so that requests lost on purpose disturb no other test."""
    with LocalPlatform(interactive_seconds=1) as platform:
        yield platform


@pytest.fixture
def block(own: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block whose unsettled submissions wait for an operator."""
    return block_for(own.info, ledger_url, unsettled="hold")


def _run(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["submissions", *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == code, ran.output
    return ran


def _json(*arguments: str, code: int = 0) -> Any:
    return json.loads(_run(*arguments, "--json", code=code).stdout)


def _hold(own: LocalPlatform, block: QuantumSession, name: str) -> str:
    """Lose an experiment's request before it arrives, and return the held submission."""
    experiment = block.experiment(name)
    experiment.open_session()
    own.add_fault(kind="drop", method="POST", path="/jobs", effect="before")
    with pytest.raises(SubmissionHeldError):
        run(experiment, 1)
    [row] = experiment.load(name, block.ledger()).submissions()
    return str(row["submission"])


def test_a_held_submission_waits_until_it_is_released(
    own: LocalPlatform, block: QuantumSession, ledger_url: str
) -> None:
    """Exit code 3 says that somebody has to decide; after the decision nothing waits."""
    where = ("--ledger-url", ledger_url)
    assert "No submissions wait" in _run("list", "--held", *where).stdout
    submission = _hold(own, block, "held")
    [waiting] = _json("list", "--held", *where, code=3)
    assert (waiting["submission"], waiting["state"]) == (submission, "held")
    assert submission[:8] in _run("list", "--held", *where, code=3).stdout
    assert len(_json("list", "held", *where)) == 1
    released = _json("release", "held", submission[:6], *where)
    assert released["state"] == "abandoned"
    assert _json("list", "--held", *where) == []
    keys = [key for _, key, _ in _json("show", "held", submission[:6], *where)["facts"]]
    assert f"operator/{submission}/1/release" in keys
    run(block.experiment("held"), 1)
    [settled] = _json("list", "held", *where)
    assert settled["state"] == "result"
    assert own.stats()["jobs"]["by_tag"]["qs-exp:held"] == 1


def test_a_run_that_passes_over_a_held_submission_is_not_finished(
    own: LocalPlatform,
    block: QuantumSession,
    ledger_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error may stay in its thread; the next run carries out what an operator decides."""
    where = ("--ledger-url", ledger_url)
    submission = _hold(own, block, "passed-over")
    with caplog.at_level("WARNING"), block.experiment("passed-over") as experiment:
        pass
    assert f"is not finished: a submission is held ({submission})" in caplog.text
    assert not experiment.sealed
    _run("release", "passed-over", submission, *where)
    again = _run("release", "passed-over", submission, *where, code=1)
    assert "the next run sends it again" in again.output.replace("\n", " ")
    with block.experiment("passed-over") as experiment:
        run(experiment, 1)
    assert experiment.sealed
    assert own.stats()["jobs"]["by_tag"]["qs-exp:passed-over"] == 1


def test_a_finished_experiment_has_nothing_to_decide(
    own: LocalPlatform, block: QuantumSession, ledger_url: str
) -> None:
    """A decision that nobody would carry out is refused; looking is always possible."""
    where = ("--ledger-url", ledger_url)
    submission = _hold(own, block, "sealed")
    block.experiment("sealed").seal({"given": "up"})
    for deed in (("adopt",), ("release",), ("retry",)):
        job = ("j",) if deed == ("adopt",) else ()
        refused = _run(*deed, "sealed", submission, *job, *where, code=1)
        assert "is finished" in refused.output.replace("\n", " ")
    assert _json("show", "sealed", submission, *where)["state"] == "held"


def test_a_held_submission_adopts_its_job(
    own: LocalPlatform, block: QuantumSession, ledger_url: str
) -> None:
    """Once adopted, it waits no more; a retry gives the job up for another one."""
    where = ("--ledger-url", ledger_url)
    submission = _hold(own, block, "adopting")
    [other] = submit(block.experiment("another"), 1)
    adopted = _json("adopt", "adopting", submission, other.job_id, *where)
    assert (adopted["state"], adopted["job_id"]) == ("job", other.job_id)
    assert _json("list", "adopting", "--held", *where) == []
    refused = _run("release", "adopting", submission, "--json", *where, code=1)
    assert refused.stdout == ""
    assert "is settled" in json.loads(refused.stderr)["error"]
    assert "Given up" in _run("retry", "adopting", submission, *where).stdout
    assert run(block.experiment("adopting"), 1)
    assert own.stats()["jobs"]["by_tag"]["qs-exp:adopting"] == 1


def test_an_unknown_experiment_or_ledger_is_an_error(ledger_url: str) -> None:
    """The message names it, as text or as JSON."""
    told = _run("list", "nobody", "--ledger-url", ledger_url, code=1).stderr
    assert "no experiment 'nobody'" in told
    told = _run("show", "nobody", "x", "--json", "--ledger-url", ledger_url, code=1).stderr
    assert "no experiment 'nobody'" in json.loads(told)["error"]
    told = _run("list", "--ledger-url", "nonsense", code=1).stderr
    assert "cannot be read" in told
