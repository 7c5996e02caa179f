"""Experiments that outlast their sessions: unattended, in scaled time, and with many at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from prefect import flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from session_support import (
    block_for,
    facts_of,
    jobs_at,
    jobs_taking,
    measured,
    run,
    sessions_at,
)
from support import wait_until

from session_block import QuantumSession
from session_block.algorithms.vqe import VQEReport, run_vqe
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.tasks import close_session, open_session, run_sampler

MINUTE = 60
HOUR = 60 * MINUTE
EVALUATIONS = 30
THINKING_SECONDS = 10
MANY = 20


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A seeded platform with shot noise, whose jobs take a minute of a clock that is advanced."""
    with LocalPlatform(
        time_scale=0, job_seconds=MINUTE, noise="shots", seed=11, interactive_seconds=5 * MINUTE
    ) as platform:
        yield platform


@pytest.fixture
def block(platform: LocalPlatform, ledger_url: str) -> QuantumSession:
    """An unsaved Block for this module's platform."""
    return block_for(platform.info, ledger_url)


@pytest.fixture(autouse=True)
def _without_rules(platform: LocalPlatform) -> Iterator[None]:
    """Every test begins without fault rules."""
    yield
    platform.clear_faults()


def _vqe(platform: LocalPlatform, block: QuantumSession, name: str) -> tuple[Experiment, VQEReport]:
    with block.experiment(name) as experiment, jobs_taking(platform, MINUTE):
        report = run_vqe(
            experiment,
            seed=7,
            optimizer_options={"maxiter": EVALUATIONS},
            precision=0.02,
            on_evaluation=lambda *_: platform.advance(THINKING_SECONDS),
        )
    return experiment, report


def _check_that_each_has_one_result(
    platform: LocalPlatform, block: QuantumSession, experiment: Experiment
) -> None:
    """At the server every submission has exactly one job that completed, and it is the recorded."""
    completed = {
        job["id"] for job in jobs_at(platform.info, experiment) if job["state"] == "completed"
    }
    results = facts_of(block, experiment, "result/")
    assert {fact.body["job_id"] for fact in results} == completed
    assert len(results) == len(completed)


@pytest.mark.rest
def test_a_vqe_of_five_times_max_time_ends_as_the_uninterrupted_one(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """It goes on unattended from session to session; jobs and numbers are those of one session."""
    max_time = EVALUATIONS * MINUTE // 5
    whole_block = block_for(platform.info, ledger_url, max_time="8h")
    short_block = block_for(platform.info, ledger_url, max_time=max_time)
    whole, report = _vqe(platform, whole_block, "whole")
    short, short_report = _vqe(platform, short_block, "short")
    assert len(report.evaluations) == EVALUATIONS
    assert short_report.model_copy(update={"run": report.run}) == report

    assert len(sessions_at(platform.info, whole)) == 1
    sessions = sessions_at(platform.info, short)
    assert 5 <= len(sessions) <= 7
    reasons = [one["state_reason"] for one in sessions]
    assert set(reasons[:-1]) == {"maximum time reached"}
    assert all(one["closed"] <= other["started"] for one, other in pairwise(sessions))
    for block, experiment in ((whole_block, whole), (short_block, short)):
        assert len(jobs_at(platform.info, experiment)) == EVALUATIONS
        _check_that_each_has_one_result(platform, block, experiment)


def test_twenty_threads_roll_over_onto_one_session(
    platform: LocalPlatform, block: QuantumSession
) -> None:
    """When the session ends under all of them, one replaces it, and each runs once to its end."""
    experiment = block.experiment("threads")
    experiment.open_session()
    ending = _end_under_the_last_of_many(platform)

    def one(number: int) -> int:
        result = experiment.run_sampler([measured(number)], shots=8, label=f"thread {number}")
        return int(result[0].data.meas.num_shots)

    with ThreadPoolExecutor(MANY) as pool:
        results = pool.map(one, range(MANY))
        _wait_for(platform, ending)
        with jobs_taking(platform, MINUTE):
            assert list(results) == [8] * MANY
    experiment.close_session()
    _check_one_rollover(platform, block, experiment)


def _end_under_the_last_of_many(platform: LocalPlatform) -> str:
    """End the session when the last of the first round of jobs is submitted to it."""
    return platform.add_fault(
        kind="end_session", by="max_time", method="POST", path="/jobs", nth=MANY
    )


def _wait_for(platform: LocalPlatform, ending: str) -> None:
    """Wait until the session has ended, while no time passes."""
    wait_until(
        lambda: any(rule["id"] == ending and rule["used"] for rule in platform.faults()),
        seconds=60,
        what="the session ends under all",
    )


def _check_one_rollover(
    platform: LocalPlatform, block: QuantumSession, experiment: Experiment
) -> None:
    """Of the first session one job ran; the rest died or was refused, and ran in the second.

    The session ends when the last request arrives: those that came just before it may still be on
    their way, and are refused as well.
    """
    first, second = sessions_at(platform.info, experiment)
    jobs = jobs_at(platform.info, experiment)
    accepted = sum(job["session_id"] == first["id"] for job in jobs)
    assert MANY // 2 < accepted < MANY
    sent_to = [first["id"]] * accepted + [second["id"]] * (MANY - 1)
    assert [job["session_id"] for job in jobs] == sent_to
    died = {True: MANY, False: accepted - 1}
    assert Counter(job["state"] == "completed" for job in jobs) == died
    assert (first["state"], second["state"]) == ("closed", "closed")
    _check_that_each_has_one_result(platform, block, experiment)


@pytest.mark.rest
def test_twenty_prefect_tasks_roll_over_onto_one_session(
    platform: LocalPlatform, block: QuantumSession, saved_block: str
) -> None:
    """Concurrent tasks of a flow share the replacement as threads do."""

    @flow
    def twenty_tasks() -> tuple[str, list[int]]:
        session = open_session(saved_block)
        ending = _end_under_the_last_of_many(platform)
        futures = [
            run_sampler.submit(session, [measured(number)], shots=8, label=f"task {number}")
            for number in range(MANY)
        ]
        _wait_for(platform, ending)
        with jobs_taking(platform, MINUTE):
            results: list[Any] = [future.result() for future in futures]
        close_session(session)
        return session.experiment, [result[0].data.meas.num_shots for result in results]

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        name, shots = twenty_tasks()
    APILogWorker.drain_all()
    assert shots == [8] * MANY
    _check_one_rollover(platform, block, block.experiment(name))


@pytest.mark.nightly
def test_a_day_of_experiments_in_scaled_time(ledger_url: str) -> None:
    """Jobs of 29 minutes for 24 hours fill three sessions of eight, and usage is the platform's."""
    job_seconds, longest = 29 * MINUTE, 8 * HOUR
    count = -(-24 * HOUR // job_seconds)
    in_one_session = -(-longest // job_seconds)
    with LocalPlatform(time_scale=0, charges="simulated", job_seconds=job_seconds) as platform:
        block = block_for(platform.info, ledger_url, max_time="8h")
        began = platform.now()
        with block.experiment("a day") as experiment, jobs_taking(platform, job_seconds):
            for number in range(count):
                run(experiment, number)
        assert platform.now() - began == pytest.approx(count * job_seconds)
        sessions = sessions_at(platform.info, experiment)
        per_session = [one["jobs"] for one in sessions]
        assert per_session == [in_one_session, in_one_session, count - 2 * in_one_session]
        usage = [one["usage_seconds"] for one in sessions]
        assert usage == pytest.approx([jobs * job_seconds for jobs in per_session])
        assert experiment.service.usage()["usage_consumed_seconds"] == count * job_seconds
        _check_that_each_has_one_result(platform, block, experiment)
