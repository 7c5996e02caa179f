"""``session-block usage``, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from session_support import block_for, run
from typer.testing import CliRunner

from session_block import QuantumSession
from session_block.cli import app
from session_block.local_platform import LocalPlatform
from session_block.records.overviews import overviews

pytestmark = pytest.mark.rest

JOB_SECONDS = 10


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose jobs take ten seconds each, with a fast clock."""
    with LocalPlatform(
        tmp_path / "platform",
        charges="simulated",
        job_seconds=JOB_SECONDS,
        time_scale=100,
        interactive_seconds=30,
    ) as platform:
        yield platform


@pytest.fixture
def block(own: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block for that platform, whose jobs run in batches."""
    return block_for(own.info, ledger_url, mode="batch")


def _run(*arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["usage", *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == code, ran.output
    return ran


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments, "--json").stdout)


def _last_activity(block: QuantumSession) -> object:
    listed = {one.identity.name: one.last_activity_at for one in overviews(block.ledger())}
    return listed["one"]


def test_usage_is_shown_by_instance_and_experiment(
    own: LocalPlatform, saved_block: str, block: QuantumSession, ledger_url: str
) -> None:
    """The figures equal the platform's own, and are recorded, so they can be shown without it."""
    with block.experiment("one") as one:
        run(one, 1)
        run(one, 2)
    elsewhere = next(
        instance["crn"]
        for instance in block.credentials.get_client().instances()
        if instance["plan"] == "premium"
    )
    other_block = block_for(
        own.info, ledger_url, instance=elsewhere, mode="job", backend_name="ibm_brussels"
    )
    other = other_block.experiment("other")  # not ended, so nobody has asked for its charge
    run(other, 1)
    other.release()
    block.experiment("no session yet")
    active_at = _last_activity(block)
    recorded = _json("--ledger-url", ledger_url)
    assert {place["allocation"] for place in recorded} == {None}
    told = {place["instance"]: place for place in _json("--block", saved_block)}
    here = told[own.info.instance]
    assert here["seconds"] == 2 * JOB_SECONDS
    assert here["allocation"]["usage_consumed_seconds"] == 2 * JOB_SECONDS
    assert [(row["experiment"], row["source"], row["final"]) for row in here["experiments"]] == [
        ("one", "platform", True)
    ]
    [foreign] = told[elsewhere]["experiments"]
    assert (foreign["uid"], foreign["source"], foreign["final"]) == (other.uid, "ledger", False)
    [unopened] = told[None]["experiments"]
    assert (unopened["experiment"], unopened["seconds"]) == ("no session yet", 0)

    assert _last_activity(block) == active_at  # asking is no activity
    before = own.stats()["requests"]
    again = {place["instance"]: place for place in _json("one", "--ledger-url", ledger_url)}
    asked = {*own.stats()["requests"].items()} - {*before.items()}
    assert [route for route, _ in asked] == ["GET /_local/stats"]
    assert again[own.info.instance]["seconds"] == 2 * JOB_SECONDS
    assert again[own.info.instance]["experiments"][0]["source"] == "ledger"
    alone = _run("--ledger-url", ledger_url).stdout
    assert f"unknown at {elsewhere}" in alone
    rows = {line.split()[0]: line.split()[1:] for line in alone.splitlines() if line}
    assert rows["other"] == ["unknown", "ledger"]
    assert rows["no"] == ["session", "yet", "0", "s", "ledger"]  # it has bought nothing
    shown = _run("--block", saved_block).stdout
    assert f"{2 * JOB_SECONDS} s at {own.info.instance}" in shown
    assert "usage_consumed_seconds" in shown


def test_an_unknown_experiment_has_no_usage(ledger_url: str) -> None:
    """The error names it."""
    assert "no experiment 'nobody'" in _run("nobody", "--ledger-url", ledger_url, code=1).stderr
