"""The flows under test: a tree of subflows, and one that asks two Blocks, all without names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import prefect.flow_engine  # noqa: F401 - imported once, for all forks
from prefect import Flow, flow, get_client
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from qiskit import QuantumCircuit

from session_block import Experiment

from .attempt import block_of

Answer = tuple[str, dict[str, int]]
"""The UID of the experiment that was asked, and the counts."""

_order: dict[str, Any] = {}
"""What this process makes an attempt at: no flow bears it as a parameter, so none depends on it."""


@flow
def leaf(turns: int) -> list[Answer]:
    """Ask what the tree asks, and what depends on the parameter."""
    with block_of(_order).experiment() as experiment:
        return [_asked(experiment, 0), _asked(experiment, turns)]


@flow
def branch(turns: int) -> list[Answer]:
    """Call a leaf that is equal to the tree's."""
    return leaf(turns)


@flow
def tree() -> list[Answer]:
    """Ask, call equal leaves, another one and a branch, and ask again."""
    with block_of(_order).experiment() as experiment:
        first = _asked(experiment, 0)
        answers = [*leaf(1), *leaf(1), *leaf(2), *branch(1)]
        return [first, *answers, _asked(experiment, 0)]


@flow
def two_blocks() -> list[Answer]:
    """Ask two Blocks in turn that differ in their maximum time alone.

    They open batches, which do not wait for each other.
    """
    one, other = (block_of(_order, mode="batch", max_time=most) for most in ("1h", "30m"))
    with one.experiment() as first, other.experiment() as second:
        return [_asked(which, 0) for which in (first, second, first, second)]


@dataclass(frozen=True)
class Program:
    """A flow, and what an undisturbed run of it leaves at the platform."""

    flow: Flow[[], list[Answer]]
    experiments: int
    jobs: int


PROGRAMS: Mapping[str, Program] = {
    "subflows": Program(tree, 5, 10),
    "two Blocks": Program(two_blocks, 2, 4),
}


def go_on(program: Program, order: dict[str, Any]) -> dict[str, Any]:
    """Run a flow as an engine does that is given a flow run, whether it is new or was killed."""
    _order.update(order)
    settings = {
        PREFECT_API_URL: order["prefect"],
        # Without heartbeats, whose thread prolongs each flow by a second.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(settings):
        with get_client(sync_client=True) as client:
            made = client.read_flow_run(UUID(order["name"]))
        answers: Any = run_flow(program.flow, flow_run=made, parameters={})
    numbers = {uid: number for number, uid in enumerate(dict.fromkeys(u for u, _ in answers), 1)}
    return {"answers": [[numbers[uid], counts] for uid, counts in answers]}


def _asked(experiment: Experiment, turns: int) -> Answer:
    circuit = QuantumCircuit(1, 1)
    circuit.sx(0)
    circuit.rz(1 + turns, 0)
    circuit.sx(0)
    circuit.measure(0, 0)
    result = experiment.run_sampler([circuit], shots=64)
    return experiment.uid, result[0].data.c.get_counts()
