"""The platform as the second ledger: what was lost comes back, what is one too many is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.errors import (
    ExperimentDivergedError,
    InvalidInputError,
    JobEndedInPassingError,
    JobFailedError,
    SubmissionHeldError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.operations.submissions import Operator
from session_block.pubs.request import sampler_request
from session_block.records.journal import Journal
from session_block.records.keys import Intent, Outcome
from session_block.references import Implementation


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An experiment's name that no other test uses."""
    return str(request.node.name)


def block_of(platform: LocalPlatform, ledger: Path, **more: object) -> QuantumSession:
    """Return a Block with a ledger in a file, which may not exist."""
    fields = {
        "credentials": LocalPlatformCredentials(state_dir=platform.info.state_dir),
        "backend_name": BACKEND,
        "ledger_url": f"sqlite:///{ledger}",
        **more,
    }
    return QuantumSession.model_validate(fields)


def circuit(number: int) -> QuantumCircuit:
    """Return an ISA circuit that differs from those of other numbers."""
    turned = QuantumCircuit(1, 1)
    turned.rz(0.1 * number, 0)
    turned.sx(0)
    turned.measure(0, 0)
    return turned


def ask(experiment: Experiment, number: int) -> dict[str, int]:
    """Run one circuit and return its counts."""
    counts: dict[str, int] = experiment.run_sampler([circuit(number)], shots=16)[
        0
    ].data.c.get_counts()
    return counts


def jobs_of(platform: LocalPlatform, experiment: Experiment) -> int:
    """Return how many jobs of an experiment the platform has seen."""
    return int(platform.stats()["jobs"]["by_tag"].get(f"qs-uid:{experiment.uid}", 0))


def facts(experiment: Experiment, block: QuantumSession, kind: str) -> list[str]:
    """Return the keys of an experiment's facts of a kind."""
    return [fact.key for fact in block.ledger().facts(experiment.uid, f"{kind}/")]


def test_a_wiped_disk_loses_no_job(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """P2: with its ledger gone an experiment finds its jobs and session, and submits no more."""
    before = block_of(own, tmp_path / "first.db").experiment(name)
    counts = [ask(before, number) for number in range(3)]
    after_wipe = block_of(own, tmp_path / "second.db")
    again = after_wipe.experiment(name)
    assert again.uid == before.uid
    assert [ask(again, number) for number in range(3)] == counts
    assert again.session_id == before.session_id
    assert jobs_of(own, again) == 3
    ask(again, 3)
    assert jobs_of(own, again) == 4
    assert again.session_id == before.session_id
    assert len(again.sessions) == 1
    assert again.close_session()


@pytest.mark.parametrize("family", get_args(Implementation))
def test_a_wiped_disk_loses_no_family(
    own: LocalPlatform, tmp_path: Path, name: str, family: Implementation
) -> None:
    """P2: the jobs tell their family, though the Block has another by now, and what was asked."""
    other: Implementation = "executor" if family == "v2" else "v2"
    before = block_of(own, tmp_path / "first.db", implementation=family).experiment(name)
    counts = [ask(before, number) for number in range(2)]
    after_wipe = block_of(own, tmp_path / "second.db", implementation=other)
    with after_wipe.experiment(name) as again:
        assert again.implementation == family
        assert [ask(again, number) for number in range(2)] == counts
        seen = Experiment.load(name, after_wipe.ledger())
        assert {row["kind"] for row in seen.submissions()} == {"sampler"}
    assert jobs_of(own, again) == 2
    anew = block_of(own, tmp_path / "second.db", implementation=other).experiment(name, fresh=True)
    assert anew.implementation == other


def test_what_tags_do_not_bring_back_stops_the_run(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """P8: a run whose recorded draws were lost stops before it buys anything twice."""
    first = block_of(own, tmp_path / "first.db").experiment(name)
    ask(first, 1)
    again = block_of(own, tmp_path / "second.db").experiment(name)
    with pytest.raises(ExperimentDivergedError, match="Its ledger was lost"):
        ask(again, 2)
    assert jobs_of(own, first) == 1


def test_a_diverging_run_may_be_let_go_on(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """With the policy 'warn' a run that diverges submits what it asks for."""
    first = block_of(own, tmp_path / "first.db").experiment(name)
    ask(first, 1)
    again = block_of(own, tmp_path / "first.db", on_divergence="warn").experiment(name)
    ask(again, 2)
    assert jobs_of(own, first) == 2


def test_several_of_one_name_are_not_guessed_at(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """An empty ledger that finds two experiments of its name lists them, and takes the one said."""
    uids = []
    for number in (1, 2):
        experiment = block_of(own, tmp_path / "first.db").experiment(name, fresh=number > 1)
        ask(experiment, number)
        uids.append(experiment.uid)
    empty = block_of(own, tmp_path / "second.db")
    with pytest.raises(InvalidInputError, match="2 experiments") as caught:
        empty.experiment(name)
    assert all(uid in str(caught.value) for uid in uids)
    chosen = empty.experiment(name, uid=uids[1])
    assert chosen.uid == uids[1]
    ask(chosen, 2)
    assert jobs_of(own, chosen) == 1
    fresh = block_of(own, tmp_path / "third.db").experiment(name, fresh=True)
    assert fresh.uid not in uids


def test_a_ledger_in_use_does_not_take_over_foreign_experiments(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """Two people who choose one name, each with a ledger, never meet."""
    first = block_of(own, tmp_path / "first.db").experiment(name)
    ask(first, 1)
    other_block = block_of(own, tmp_path / "second.db")
    other_block.experiment(name, fresh=True)
    other = other_block.experiment(f"{name} too")
    same_name = other_block.experiment(name)
    for experiment in (other, same_name):
        assert experiment.uid != first.uid
    ask(same_name, 1)
    same_name.cancel_session()
    assert jobs_of(own, first) == jobs_of(own, same_name) == 1


def test_the_clients_own_twin_is_found(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """P1: a job that the client sent twice is found at the close, and recorded as a twin."""
    block = block_of(own, tmp_path / "l.db")
    experiment = block.experiment(name)
    own.add_fault(kind="status", method="POST", path="/jobs", status=503, effect="after")
    with experiment:
        ask(experiment, 1)
        assert jobs_of(own, experiment) == 2
        assert facts(experiment, block, "twin") == []
    assert len(facts(experiment, block, "twin")) == 1
    assert experiment.recorded_results == 1


def test_a_pending_twin_is_cancelled(tmp_path: Path, name: str) -> None:
    """A twin that waits in the queue is cancelled while its like is waited for."""
    with LocalPlatform(job_seconds=2.0) as platform:
        block = block_of(platform, tmp_path / "l.db")
        experiment = block.experiment(name)
        platform.add_fault(kind="status", method="POST", path="/jobs", status=503, effect="after")
        job = experiment.submit_sampler([circuit(1)], shots=16)
        experiment._parts.reconciler.check_twins(now=True)
        states = platform.stats()["jobs"]["by_state"]
        assert states["cancelled"] == 1
        assert len(facts(experiment, block, "twin")) == 1
        assert experiment.fetch_result(job)[0].data.c.num_shots == 16


def test_the_twin_of_a_job_that_died_with_its_session_gives_the_result(
    tmp_path: Path, name: str
) -> None:
    """P1: what the client sent twice is not bought a third time."""
    with LocalPlatform(time_scale=0, job_seconds=30.0) as platform:
        block = block_of(platform, tmp_path / "l.db", max_time=300)
        experiment = block.experiment(name)
        experiment.open_session()
        platform.add_fault(kind="status", method="POST", path="/jobs", status=503, effect="after")
        job = experiment.submit_sampler([circuit(1)], shots=16)
        platform.advance(1)  # the first of the two runs, and the recorded one waits
        platform.end_session(str(experiment.session_id), "max_time")
        platform.advance(60)
        with pytest.raises(JobEndedInPassingError):
            experiment.fetch_result(job)
        adopted = block.experiment(name).submit_sampler([circuit(1)], shots=16)
        assert jobs_of(platform, experiment) == 2
        assert adopted.job_id != job.job_id
        assert experiment.fetch_result(adopted)[0].data.c.num_shots == 16


def test_an_older_copy_that_knows_a_dead_job_alone_finds_the_one_after_it(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """P1: before another job is bought in a dead one's place, the platform is asked."""
    block = block_of(own, tmp_path / "first.db")
    own.add_fault(
        kind="end_job",
        state="failed",
        reason="Error code 9707; x",
        reason_code=9707,
    )
    experiment = block.experiment(name)
    ask(experiment, 1)
    assert jobs_of(own, experiment) == 2
    older = block_of(own, tmp_path / "older.db")
    ledger = older.ledger()
    ledger.require_schema(block.ledger().schema_version())
    known = ("@", "experiment", "backend", "session", "attempt", "mode")
    for fact in block.ledger().everything():
        first = fact.key.startswith(("intent/", "outcome/")) and fact.key.endswith("/1")
        if fact.experiment.startswith("@") or first or fact.key.startswith(known):
            ledger.take(fact)
    ask(older.experiment(name), 1)
    assert jobs_of(own, experiment) == 2


def test_a_job_that_appears_after_all_is_adopted(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """An abandoned submission whose job the listing hid becomes the next generation's."""
    block = block_of(own, tmp_path / "l.db")
    experiment = block.experiment(name)
    experiment.open_session()
    own.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
    own.add_fault(kind="listing_lag", seconds=4)
    own.add_fault(kind="drop", method="POST", path="/jobs", nth=2, times=None)
    with pytest.raises(Exception, match=r"tried|reached"):
        ask(experiment, 1)
    assert jobs_of(own, experiment) == 1
    own.clear_faults()
    again = block.experiment(name)
    ask(again, 1)
    ask(again, 2)
    assert jobs_of(own, experiment) == 2
    adopted = [
        fact.body
        for fact in block.ledger().facts(experiment.uid, "outcome/")
        if fact.body.get("adopted")
    ]
    assert len(adopted) == 1


def test_held_until_an_operator_decides(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """Under 'hold' a lost submission waits, is seen, and goes on as it is told to."""
    block = block_of(own, tmp_path / "l.db", unsettled="hold")
    experiment = block.experiment(name)
    experiment.open_session()
    own.add_fault(kind="drop", method="POST", path="/jobs", effect="before")
    with pytest.raises(SubmissionHeldError, match="session-block submissions release"):
        ask(experiment, 1)
    with pytest.raises(SubmissionHeldError):
        ask(block.experiment(name), 1)
    operator = Operator(block.ledger())
    (state,) = operator.submissions(name)
    assert state.state == "held"
    with pytest.raises(InvalidInputError, match="not settled"):
        operator.retry(name, state.submission)
    operator.release(name, state.submission[:6])
    ask(block.experiment(name), 1)
    assert jobs_of(own, experiment) == 1
    assert operator.show(name, state.submission).state == "result"
    with pytest.raises(InvalidInputError, match="is settled"):
        operator.release(name, state.submission)


def test_an_operator_names_the_job(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """A job that bears no tag any more can be adopted by its ID."""
    block = block_of(own, tmp_path / "l.db", unsettled="hold")
    experiment = block.experiment(name)
    own.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
    own.add_fault(kind="listing_lag", seconds=3600)
    with pytest.raises(SubmissionHeldError):
        ask(experiment, 1)
    job_id = own.jobs(limit=1)[0]["id"]
    (state,) = Operator(block.ledger()).submissions(name)
    Operator(block.ledger()).adopt(name, state.submission, job_id)
    ask(block.experiment(name), 1)
    assert jobs_of(own, experiment) == 1


def test_a_failed_job_is_run_again_when_told(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """A job that failed for good stays failed until an operator retries it."""
    block = block_of(own, tmp_path / "l.db")
    experiment = block.experiment(name)
    own.add_fault(
        kind="end_job",
        state="failed",
        reason="out of tune",
        reason_code=9999,
        reason_solution="Wait for the next calibration.",
    )
    for _ in range(2):
        with pytest.raises(JobFailedError, match=r"of tune.* Wait for the.*submissions retry"):
            ask(block.experiment(name), 1)
    assert jobs_of(own, experiment) == 1
    (state,) = Operator(block.ledger()).submissions(name)
    Operator(block.ledger()).retry(name, state.submission)
    ask(block.experiment(name), 1)
    assert jobs_of(own, experiment) == 2


@pytest.mark.parametrize(("failures", "jobs"), [(2, 3), (4, 4)])
def test_a_passing_failure_is_retried_so_often(
    own: LocalPlatform, tmp_path: Path, name: str, failures: int, jobs: int
) -> None:
    """A job that fails for a reason that passes is run again, but not for ever."""
    experiment = block_of(own, tmp_path / "l.db").experiment(name)
    own.add_fault(
        kind="end_job",
        state="failed",
        reason="Error code 9707; x",
        reason_code=9707,
        times=failures,
    )
    if failures < jobs:
        ask(experiment, 1)
    else:
        with pytest.raises(JobFailedError, match="9707"):
            ask(experiment, 1)
    assert jobs_of(own, experiment) == jobs


def test_a_twin_that_a_killed_attempt_had_not_recorded_is_found_at_the_end(
    own: LocalPlatform, tmp_path: Path, name: str
) -> None:
    """In job mode nothing else connects when all is recorded; a finished one asks nobody."""
    block = block_of(own, tmp_path / "ledger.db", mode="job")
    first = block.experiment(name)
    counts = ask(first, 1)
    (job,) = [job for job in own.jobs() if f"qs-uid:{first.uid}" in job["tags"]]
    sampler_request([circuit(1)], shots=16).send(first.backend, job["tags"])
    first.release()
    with block.experiment(name) as again:
        assert ask(again, 1) == counts
    assert len(facts(again, block, "twin")) == 1
    before = own.stats()["requests"]
    with block.experiment(name) as finished:
        assert ask(finished, 1) == counts
    after = own.stats()["requests"]
    assert {one for one in after if after[one] != before.get(one)} <= {"GET /_local/stats"}


@pytest.mark.parametrize("restored", [True, False])
def test_the_job_of_an_intent_that_nobody_asks_for_is_recorded(
    own: LocalPlatform, tmp_path: Path, name: str, restored: bool
) -> None:
    """P2: its process was killed before it recorded the job, and the program has changed since.

    Of a restored intent nobody can be the sender, so any reading of the listing settles it.
    """
    block = block_of(own, tmp_path / "ledger.db")
    first = block.experiment(name)
    ask(first, 1)
    journal = Journal(block.ledger(), first.uid)
    (intent,) = journal.all(Intent)
    first.release()
    lost = ["outcome", "result", *(["intent"] if restored else [])]
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        for kind in lost:
            ledger.execute("DELETE FROM session_block_facts WHERE key LIKE ?", (f"{kind}/%",))
    if restored:
        journal.record(replace(intent, sender=None, restored=True))

    again = block.experiment(name)
    again.run_sampler([circuit(2)], shots=16, label="another")
    assert len(facts(again, block, "outcome")) == (2 if restored else 1)
    again.finish()
    adopted = [one for one in Journal(block.ledger(), again.uid).all(Outcome) if one.adopted]
    assert [one.submission for one in adopted] == [intent.submission]
    assert jobs_of(own, again) == 2


def test_a_job_that_ran_too_long_is_told_with_ibms_word(own: LocalPlatform, tmp_path: Path) -> None:
    """The client's own message of it leaves out what the platform says, and the code."""
    block = block_of(own, tmp_path / "ledger.db", mode="job")
    own.add_fault(kind="end_job", state="cancelled", reason="Over its time", reason_code=1305)
    with pytest.raises(JobFailedError, match="ran longer than") as failed:
        ask(block.experiment("too long"), 1)
    assert "Error code 1305; Over its time" in str(failed.value)
    assert failed.value.code == 1305
    assert ":." not in str(failed.value)
