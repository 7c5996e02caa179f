"""Drawn trees of flows, subflows, tasks, Blocks and names, with failures, kept results and retries.

The model knows nothing of places: each request in the program's text, as far as the program reaches
it, is one job, whose ID stays the same in every attempt.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.runtime import flow_run as this_run
from prefect_helpers import flipped
from support import Platform

from session_block import QuantumSession
from session_block.blocks.quantum_session import load_block

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]

ASKING = {"ask", "task", "name"}
DEEPEST = 2
MOST_FAILURES = 3


class _DrawnError(Exception):
    """A failure that the tree has at one place, once."""


class Played:
    """What the attempts of one tree have done.

    Attributes:
        answers: The job of each request, by the request's position in the program.
        failures: The positions that are still to fail.
    """

    def __init__(self, blocks: list[str]) -> None:
        self.blocks = blocks
        self.answers: dict[str, str] = {}
        self.failures: set[str] = set()

    def answered(self, position: str, job_id: str) -> None:
        """Note a request's job; it must be the same as in earlier attempts."""
        assert self.answers.setdefault(position, job_id) == job_id, position

    def fail_once(self, position: str) -> None:
        """Fail if it is this position's turn."""
        if position in self.failures:
            self.failures.remove(position)
            raise _DrawnError(position)


PLAYED: dict[str, Played] = {}
"""By the root's name: a subflow gets only JSON, as in real life."""


def drawn(source: random.Random, depth: int = 0) -> list[list[Any]]:
    """Draw a node: its actions in order."""
    actions: list[list[Any]] = []
    for _ in range(source.randint(1, 3)):
        kinds = ["ask", "task", "name"]
        kind = source.choice(kinds if depth == DEEPEST else [*kinds, "call", "call", "twice"])
        if kind in ASKING:
            actions.append([kind, source.randint(0, 1), source.choice([5, 6])])
        else:
            child = drawn(source, depth + 1)
            kept = kind == "call" and source.random() < 0.3
            actions += [["kept" if kept else "call", child]] * (2 if kind == "twice" else 1)
    # Where a caller tries again in its own loop, Prefect would give a kept result to another call.
    if depth < DEEPEST and not any(one[0] == "kept" for one in actions) and source.random() < 0.4:
        actions.insert(source.randint(0, len(actions)), ["try", drawn(source, DEEPEST)])
    return actions


def positions(actions: list[list[Any]], where: str = "") -> list[str]:
    """Return where failures may be: before each action."""
    found = []
    for number, (kind, *what) in enumerate(actions):
        here = f"{where}/{number}"
        found.append(here)
        if kind in {"call", "kept", "try"}:
            found += positions(what[0], here)
    return found


def requests(actions: list[list[Any]]) -> int:
    """Return how many requests a tree makes: the model."""
    return sum(1 if kind in ASKING else requests(what[0]) for kind, *what in actions)


def play(name: str, where: str, actions: list[list[Any]]) -> None:
    """Carry out a node's actions, with an experiment of each Block that it asks."""
    played = PLAYED[name]
    with ExitStack() as stack:
        for number, (kind, *what) in enumerate(actions):
            here = f"{where}/{number}"
            played.fail_once(here)
            if kind in {"ask", "name"}:
                # The name is opened all over the tree.
                shared = f"{name}-{what[0]}" if kind == "name" else None
                experiment = load_block(played.blocks[what[0]]).experiment(shared)
                stack.enter_context(experiment)
                job = experiment.submit_sampler([flipped()], shots=what[1])
                assert experiment.fetch_result(job)[0].data.c.get_counts() == {"1": what[1]}
                played.answered(here, job.job_id)
            elif kind == "task":
                in_task(name, here, *what)
            else:
                call(name, here, kind, what[0])


def call(name: str, here: str, kind: str, child: list[list[Any]]) -> None:
    """Call a subflow, of which the test knows where it is, and the product does not."""
    WHERE.append(here)
    try:
        (kept_node if kind == "kept" else node)(name, json.dumps(child))
    except _DrawnError:
        if kind != "try":
            raise
        node(name, json.dumps(child))
    finally:
        WHERE.pop()


WHERE: list[str] = []
"""The calls around the current node: all is called one after another."""


@task
def in_task(name: str, here: str, block: int, shots: int) -> None:
    """Ask in a task, which opens the experiment by itself."""
    experiment = load_block(PLAYED[name].blocks[block]).experiment()
    PLAYED[name].answered(here, experiment.submit_sampler([flipped()], shots=shots).job_id)


@flow
def node(name: str, actions: str) -> None:
    """A subflow, whose parameters are equal for equal children."""
    play(name, WHERE[-1], json.loads(actions))


@flow(persist_result=True)
def kept_node(name: str, actions: str) -> str:
    """The same; Prefect does not run it again once it is done."""
    play(name, WHERE[-1], json.loads(actions))
    return "done"


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(one, marks=pytest.mark.nightly) for one in (0, *range(2, 16)))]
)
def test_each_request_of_a_drawn_tree_is_one_job(
    platform: Platform, block: QuantumSession, seed: int
) -> None:
    """However often its parts fail and are retried."""
    source = random.Random(seed)  # noqa: S311 - the test's own draws
    actions = drawn(source)
    name = f"tree-{seed}-{uuid4().hex[:6]}"
    blocks = [f"t-{name}-{number}" for number in range(2)]
    for number, one in enumerate(blocks):
        other = block.model_copy(update={"max_time": "2h" if number else "1h"})
        other.save(one, overwrite=True)
    played = PLAYED[name] = Played(blocks)
    where = positions(actions)
    played.failures = set(source.sample(where, min(len(where), MOST_FAILURES)))
    planned = len(played.failures)

    @flow(retries=planned)
    def root() -> str:
        play(name, "", actions)
        return str(this_run.id)

    run_id = root()
    assert not played.failures
    assert len(played.answers) == requests(actions)
    assert max(Counter(played.answers.values()).values(), default=0) <= 1
    names = [run_id, *(f"{name}-{block}" for block in range(2))]
    assert sum(platform.jobs_named(one) for one in names) == requests(actions)
