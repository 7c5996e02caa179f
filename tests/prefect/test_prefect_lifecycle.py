"""How runs end before their time, and what becomes of session and jobs."""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from prefect import flow, get_client, pause_flow_run, task
from prefect.runtime import flow_run as this_run
from prefect_helpers import eventually, rotated
from support import Platform

from session_block import QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.errors import CrashLoopError, SessionBlockError
from session_block.flows.tidy import tidy

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]


class _GivenUpError(Exception):
    """The failure of a test's flow."""


def _session(platform: Platform, uid: str) -> dict[str, Any]:
    """Return the one session of an experiment, as the server lists it."""
    jobs = [job for job in platform.admin.jobs() if f"qs-uid:{uid}" in job["tags"]]
    [session_id] = {job["session_id"] for job in jobs}
    return next(one for one in platform.admin.sessions() if one["id"] == session_id)


def test_a_task_timeout_ends_the_wait_and_not_the_job(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """The retry of a task whose time was over waits for the same job on."""
    slow_block.save("t-task-timeout", overwrite=True)
    tries: list[int] = []

    @task(timeout_seconds=0.7, retries=5)
    def wait_for(uid: str) -> float:
        tries.append(len(tries))
        experiment = load_block("t-task-timeout").experiment()
        assert experiment.uid == uid
        result = experiment.run_estimator([(rotated(1), "Z")])
        return float(result[0].data.evs)

    @flow
    def impatient() -> str:
        with load_block("t-task-timeout").experiment() as experiment:
            wait_for(experiment.uid)
            return experiment.uid

    uid = impatient()
    assert len(tries) > 1
    assert slow_platform.jobs_of(uid) == 1
    assert _session(slow_platform, uid)["state"] == "closed"


def test_a_flow_timeout_keeps_session_and_job(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A flow run whose time was over goes on, when it is retried, with the job that it left."""
    slow_block.save("t-flow-timeout", overwrite=True)
    uids: list[str] = []
    states: list[str] = []

    @flow(timeout_seconds=8, retries=3)
    def impatient() -> None:
        with load_block("t-flow-timeout").experiment() as experiment:
            uids.append(experiment.uid)
            if slow_platform.jobs_of(experiment.uid) == 0:
                experiment.submit_estimator([(rotated(2), "Z")], label="it")
                time.sleep(60)  # until the time of the run is over
            states.append(_session(slow_platform, experiment.uid)["state"])
            experiment.run_estimator([(rotated(2), "Z")], label="it")

    impatient()
    assert len(uids) > 1
    assert len(set(uids)) == 1
    assert states[0] != "closed"
    assert slow_platform.jobs_of(uids[0]) == 1


def test_a_paused_run_goes_on_in_its_session(block: QuantumSession, platform: Platform) -> None:
    """While a run is paused its session stays, and it goes on in it with no job more."""
    block.save("t-pause", overwrite=True)
    ids: list[str] = []

    @flow
    def paused() -> str:
        ids.append(str(this_run.id))
        with load_block("t-pause").experiment() as experiment:
            experiment.run_estimator([(rotated(1), "Z")])
            pause_flow_run(timeout=60, poll_interval=1, key="between")
            experiment.run_estimator([(rotated(2), "Z")])
            return experiment.uid

    def resume() -> None:
        with get_client(sync_client=True) as client:
            run = eventually(lambda: ids and ids[0], seconds=30, what="the run begins")
            eventually(
                lambda: (state := client.read_flow_run(run).state) and state.is_paused(),
                seconds=30,
                what="the run is paused",
            )
            states.append(next(iter(platform.admin.sessions()))["state"])
            client.resume_flow_run(run)

    states: list[str] = []
    thread = threading.Thread(target=contextvars.copy_context().run, args=(resume,))
    thread.start()
    uid = paused()
    thread.join()
    assert states[0] != "closed"
    assert platform.jobs_of(uid) == 2
    assert _session(platform, uid)["state"] == "closed"


def _failing(name: str) -> str:
    """Let a flow run fail after its first job; return the experiment's UID."""
    uids: list[str] = []

    @flow
    def give_up() -> None:
        with load_block(name).experiment() as experiment:
            uids.append(experiment.uid)
            experiment.run_estimator([(rotated(1), "Z")])
            raise _GivenUpError

    with pytest.raises(_GivenUpError):
        give_up()
    return uids[0]


def test_a_failed_run_keeps_its_session_for_a_while(
    block: QuantumSession, platform: Platform
) -> None:
    """Its session is open for a retry until the time of its Block is over, and is then closed."""
    block.model_copy(update={"keep_failed": "1h"}).save("t-keep", overwrite=True)
    uid = _failing("t-keep")
    assert tidy("t-keep") == []
    kept = _session(platform, uid)
    assert kept["state"] != "closed"
    block.model_copy(update={"keep_failed": 1}).save("t-keep", overwrite=True)
    other = _failing("t-keep")
    session_id = _session(platform, other)["id"]
    closed = eventually(lambda: tidy("t-keep"), seconds=20, what="the time is over")
    assert closed == [session_id]
    assert _session(platform, other)["state"] == "closed"
    assert _session(platform, uid)["state"] != "closed"
    assert tidy("t-keep") == []


def test_a_failed_run_can_close_its_session_at_once(
    block: QuantumSession, platform: Platform
) -> None:
    """With ``keep_failed=0`` nothing is left open."""
    block.model_copy(update={"keep_failed": 0}).save("t-close", overwrite=True)
    uid = _failing("t-close")
    assert _session(platform, uid)["state"] == "closed"


def test_tidying_leaves_alone_what_goes_on(block: QuantumSession, platform: Platform) -> None:
    """An attempt that follows the failed one keeps the session that it goes on in."""
    block.model_copy(update={"keep_failed": 1}).save("t-goes-on", overwrite=True)
    loaded = load_block("t-goes-on")
    with suppress(_GivenUpError), loaded.experiment("goes-on") as experiment:
        experiment.run_estimator([(rotated(1), "Z")])
        raise _GivenUpError
    again = loaded.experiment("goes-on")
    again.open_session()
    time.sleep(1.2)  # until the time is over for which the failure's session was kept
    assert tidy("t-goes-on") == []
    assert _session(platform, again.uid)["state"] != "closed"
    again.close_session()


def test_a_tidied_session_is_replaced_whatever_the_policy(
    block: QuantumSession, platform: Platform
) -> None:
    """What was closed as nobody went on with it is no expiry, where expiry is a failure."""
    fields = {"keep_failed": 1, "on_expiry": "fail"}
    block.model_copy(update=fields).save("t-tidied", overwrite=True)
    loaded = load_block("t-tidied")
    with suppress(_GivenUpError), loaded.experiment("tidied") as experiment:
        experiment.run_estimator([(rotated(1), "Z")])
        raise _GivenUpError
    eventually(lambda: tidy("t-tidied"), seconds=20, what="the time is over")
    with loaded.experiment("tidied") as again:
        again.run_estimator([(rotated(1), "Z")])
        again.run_estimator([(rotated(2), "Z")])
    assert platform.jobs_of(again.uid) == 2
    assert len({record.session_id for record in again.sessions}) == 2


def test_attempts_without_progress_are_stopped(block: QuantumSession) -> None:
    """A run that fails again and again without a result is stopped; looks from outside are none."""
    block.model_copy(update={"max_attempts": 3}).save("t-loop", overwrite=True)
    for _ in range(5):
        load_block("t-loop").experiment("loop")
    tries: list[str] = []

    @flow(retries=3)
    def give_up() -> None:
        with load_block("t-loop").experiment("loop") as experiment:
            tries.append(experiment.uid)
            raise _GivenUpError

    with pytest.raises(CrashLoopError, match="tried 3 times in a row without a new result"):
        give_up()
    assert len(tries) == 3
    with pytest.raises(_GivenUpError):
        give_up.with_options(retries=0)()


def test_attempts_of_a_finished_experiment_are_not_stopped(
    platform: Platform, block: QuantumSession
) -> None:
    """A subflow that is done answers, however often its caller fails later on."""
    block.model_copy(update={"max_attempts": 2}).save("t-done", overwrite=True)
    attempts: list[str] = []

    @flow
    def done() -> None:
        with load_block("t-done").experiment() as experiment:
            experiment.run_estimator([(rotated(1), "Z")])

    @flow(retries=3)
    def unlucky() -> None:
        attempts.append(str(this_run.id))
        done()
        if len(attempts) < 4:
            raise _GivenUpError

    unlucky()
    assert len(attempts) == 4
    assert platform.jobs_named(attempts[0]) == 1


@pytest.mark.parametrize("wrong", ["soon", -1, "-5m"])
def test_a_time_that_is_none_is_refused(block: QuantumSession, wrong: int | str) -> None:
    """What cannot be a duration is an error when the Block is made."""
    with pytest.raises((SessionBlockError, ValueError), match="keep_failed"):
        QuantumSession.model_validate({**block.model_dump(), "keep_failed": wrong})
