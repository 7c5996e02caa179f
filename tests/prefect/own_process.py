"""Flows of the tests that run in processes of their own, which the tests kill.

Arguments: the name of a flow, the Block's name, and the ID of a flow run that is to go on; without
it a new one is made, and its ID printed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import UUID

from prefect import Flow, flow, get_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_helpers import flipped, rotated

from session_block import QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.tasks import (
    aclose_session,
    afetch_result,
    aopen_session,
    arun_estimator,
    asubmit_sampler,
)

JOBS = 6


@flow
async def by_tasks_and_handles(block: str) -> str:
    """Submit three jobs at once by tasks, run one by another, and two by the experiment."""
    session = await aopen_session(block)
    jobs = await asyncio.gather(
        *(asubmit_sampler(session, [flipped()], shots=8 + number) for number in range(3))
    )
    await asyncio.gather(*(afetch_result(job) for job in jobs))
    await arun_estimator(session, [(rotated(0), "Z")])
    loaded: QuantumSession = await QuantumSession.aload(block)
    async with await loaded.aexperiment() as experiment:
        for turns in (1, 2):
            await experiment.arun_estimator([(rotated(turns), "Z")])
    await aclose_session(session)
    return session.uid


@flow
def leaf(block: str, turns: int) -> str:
    """Run two equal circuits and one that depends on the parameter."""
    with load_block(block).experiment() as experiment:
        for number in (1, 1, turns + 2):
            experiment.run_sampler([flipped()], shots=number)
        return experiment.uid


@flow
def branch(block: str, first: int) -> list[str]:
    """Call two leaves, of which one is equal to the other branch's."""
    return [leaf(block, first), leaf(block, 9)]


@flow
def tree(block: str, other: str = "") -> str:
    """Ask, call subflows with equal and other parameters, and ask again, of two Blocks."""
    with load_block(block).experiment() as experiment:
        experiment.run_sampler([flipped()], shots=1)
        uids = [leaf(block, 0), leaf(block, 0), leaf(other or block, 0)]
        uids += branch(block, 1) + branch(block, 2)
        experiment.run_sampler([flipped()], shots=1)
    assert len(set(uids)) == len(uids)
    return str(uids)


@flow
def stopping(block: str) -> list[str]:
    """Call three equal leaves, and print what they are.

    Standard input tells before which of them to wait, and then ends the wait.
    """
    wait_before = int(sys.stdin.readline())
    uids = []
    for number in range(3):
        if number == wait_before:
            print("waits", flush=True)  # noqa: T201 - the answer
            sys.stdin.readline()
        uids.append(leaf(block, 0))
    print(" ".join(uids), flush=True)  # noqa: T201 - the answer
    return uids


@flow
def sharing(block: str, shots: int, name: str) -> list[str]:
    """Run two equal circuits and one that depends on the parameter, under a name."""
    with load_block(block).experiment(name) as experiment:
        jobs = []
        for number in (1, 1, shots):
            job = experiment.submit_sampler([flipped()], shots=number)
            experiment.fetch_result(job)
            jobs.append(job.job_id)
        return jobs


@flow
def named_tree(block: str) -> str:
    """Ask of one name, by itself and by subflows that ask for equal things."""
    name = f"{block}-named"
    jobs = sharing(block, 2, name)
    with load_block(block).experiment(name) as experiment:
        jobs += [experiment.submit_sampler([flipped()], shots=1).job_id]
        jobs += sharing(block, 3, name)
        jobs += [experiment.submit_sampler([flipped()], shots=1).job_id]
    jobs += sharing(block, 2, name)
    assert len(set(jobs)) == len(jobs) == NAMED_JOBS, jobs
    return str(jobs)


NAMED_JOBS = 11
LEAF_JOBS = 3
TREE_JOBS = 2 + 7 * LEAF_JOBS


def run(chosen: Flow[..., Any], block: str, flow_run_id: str | None = None) -> None:
    """Run a flow as an engine does that is given a flow run."""
    with get_client(sync_client=True) as client:
        made = (
            client.create_flow_run(chosen, parameters={"block": block})
            if flow_run_id is None
            else client.read_flow_run(UUID(flow_run_id))
        )
    print(made.id, flush=True)  # noqa: T201 - the answer
    parameters = made.parameters or {"block": block}
    # Without heartbeats, whose thread prolongs each flow by a second.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        running: Any = run_flow(chosen, flow_run=made, parameters=parameters)
        if chosen.isasync:
            asyncio.run(running)


if __name__ == "__main__":
    run(globals()[sys.argv[1]], *sys.argv[2:])
