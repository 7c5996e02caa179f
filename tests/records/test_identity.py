"""Which experiment a name stands for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.records.identity import Lost, identify
from session_block.records.places import RunPlace, SubflowCall
from session_block.records.versions import CURRENT
from session_block.records.views import load_experiment


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    """A new ledger."""
    return Ledger(ledger_url)


def test_a_name_resumes(ledger: Ledger) -> None:
    """The second opening of a name finds the first one's UID, in whatever flow run."""
    first = identify(ledger, "h2", place=RunPlace("run-1"))
    again = identify(ledger, "h2", place=RunPlace("run-2"))
    assert again.uid == first.uid
    assert (first.resumed, again.resumed) == (False, True)
    assert identify(ledger, "h2o").uid != first.uid


def test_fresh_starts_a_numbered_new_one(ledger: Ledger) -> None:
    """``fresh`` starts the next number, and the name means that one from then on."""
    first = identify(ledger, "h2")
    second = identify(ledger, "h2", fresh=True)
    assert (first.number, second.number) == (1, 2)
    assert second.uid != first.uid
    assert identify(ledger, "h2").uid == second.uid


def test_a_retry_of_a_fresh_flow_run_does_not_start_another(ledger: Ledger) -> None:
    """The flow run that started an experiment with ``fresh`` goes on with it when it is retried."""
    identify(ledger, "h2", place=RunPlace("run-1"))
    started = identify(ledger, "h2", fresh=True, place=RunPlace("run-2"))
    assert identify(ledger, "h2", fresh=True, place=RunPlace("run-2")).uid == started.uid
    assert identify(ledger, "h2", fresh=True, place=RunPlace("run-3")).number == 3


def test_a_flow_run_stays_with_what_it_opened(ledger: Ledger) -> None:
    """Other flow runs may start newer ones; a retry goes on with its own, fresh or resumed."""
    started = identify(ledger, "h2", fresh=True, place=RunPlace("run-1"))
    resumed = identify(ledger, "h2", place=RunPlace("run-2"))
    newer = identify(ledger, "h2", fresh=True, place=RunPlace("run-3"))
    assert resumed.uid == started.uid != newer.uid
    assert identify(ledger, "h2", fresh=True, place=RunPlace("run-1")).uid == started.uid
    assert identify(ledger, "h2", place=RunPlace("run-2")).uid == started.uid


def test_without_a_name_the_flow_run_is_the_experiment(ledger: Ledger) -> None:
    """All retries of one flow run share it; another flow run has its own."""
    first = identify(ledger, None, place=RunPlace("run-1"))
    assert identify(ledger, None, place=RunPlace("run-1")).uid == first.uid
    assert identify(ledger, None, place=RunPlace("run-2")).uid != first.uid


def test_openers_at_once_agree(ledger: Ledger) -> None:
    """Of many that open a new name at once, all get one UID."""
    with ThreadPoolExecutor(16) as pool:
        uids = set(pool.map(lambda _: identify(ledger, "race").uid, range(32)))
    assert len(uids) == 1


@pytest.mark.parametrize("name", [None, "", "  ", "a\nb", "x" * 200, "é" * 60])
def test_what_cannot_be_a_name_is_refused(ledger: Ledger, name: str | None) -> None:
    """No name outside a flow run, blanks, control characters and endless names are errors."""
    with pytest.raises(InvalidInputError, match="name"):
        identify(ledger, name)


def test_slashes_and_patterns_are_only_characters(ledger: Ledger) -> None:
    """A name that looks like a path or a pattern finds no other experiment."""
    uids = {identify(ledger, name).uid for name in ["a", "a/1", "a%", "a_", "A", "a/"]}
    assert len(uids) == 6


def test_tags_fit_ibms_limit(ledger: Ledger) -> None:
    """A long name is cut in its tag, and still told apart from its like."""
    one, other = (identify(ledger, "n" * 119 + end) for end in "ab")
    assert all(len(tag) <= 86 for tag in [*one.tags, *other.tags])
    assert not set(one.tags) & set(other.tags)


def test_a_flow_runs_id_stands_for_its_one_experiment(ledger: Ledger) -> None:
    """A script continues it by the run's ID; if there are several, it is told their names."""
    first = identify(ledger, None, place=RunPlace("run-1"), block="a")
    assert identify(ledger, "run-1").uid == first.uid
    assert load_experiment("run-1", ledger).uid == first.uid
    second = identify(ledger, None, place=RunPlace("run-1"), block="b")
    assert first.uid != second.uid
    for find in (lambda: identify(ledger, "run-1"), lambda: load_experiment("run-1", ledger)):
        with pytest.raises(InvalidInputError, match="Flow run run-1 opened 2 experiments: run-1"):
            find()
    assert identify(ledger, second.name).uid == second.uid


def test_an_experiment_of_the_first_rule_is_looked_for_first(ledger: Ledger) -> None:
    """It was begun under the flow run's ID alone, and every place of the run continues it."""
    old = identify(ledger, "run-1", place=RunPlace("run-1"))
    deep = RunPlace("run-1").called(SubflowCall("t.0", "scan.child", {}), 1)
    for place in (RunPlace("run-1"), deep):
        assert identify(ledger, None, place=place, block="lab").uid == old.uid


def test_a_retried_run_asks_the_platform_for_what_its_ledger_does_not_know(ledger: Ledger) -> None:
    """A new machine has an empty ledger; after its first experiment it is not empty any more."""
    asked: list[str] = []

    def find_lost(name: str) -> list[Lost]:
        asked.append(name)
        return [Lost("a0b1", 1, CURRENT)] if "." in name else []

    identify(ledger, "something else", find_lost=find_lost)
    first = RunPlace(str(uuid4()))
    assert not identify(ledger, None, place=first, block="lab", find_lost=find_lost).lost
    retried = RunPlace(str(uuid4()), retried=True)
    found = identify(ledger, None, place=retried, block="lab", find_lost=find_lost)
    assert (found.uid, found.lost) == ("a0b1", True)
    assert asked == ["something else", retried.root, found.name]


def _others(*lost: Lost) -> Callable[[str], list[Lost]]:
    return lambda _: list(lost)


@pytest.fixture
def empty(tmp_path: Path) -> Ledger:
    """A new machine's ledger, which asks the platform for every name."""
    return Ledger(f"sqlite:///{tmp_path}/empty.db")


_OWN, _OTHERS = Lost("a0b1", 1, CURRENT), Lost("c2d3", 3, CURRENT, other_owner="0a1b2c3d")


def test_an_empty_ledger_refuses_another_owners_experiment(empty: Ledger) -> None:
    """It names its UID and what to do; nothing is recorded, so the next try is told so again."""
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"another owner submitted: uid='c2d3'\. "):
            identify(empty, "h2", find_lost=_others(_OTHERS))
    assert not identify(empty, "h2", fresh=True, find_lost=_others(_OTHERS)).lost


def test_an_empty_ledger_takes_its_owners_experiment_of_several(empty: Ledger) -> None:
    """Others' experiments of the name do not count."""
    found = identify(empty, "h2", find_lost=_others(_OTHERS, _OWN))
    assert (found.uid, found.lost, found.taken_from) == ("a0b1", True, None)


def test_another_owners_experiment_is_taken_by_its_uid(empty: Ledger) -> None:
    """From then on the ledger knows whose it was, whoever opens it by the name."""
    place = RunPlace("run-1")
    taken = identify(empty, "h2", uid="c2d3", place=place, find_lost=_others(_OTHERS))
    assert (taken.uid, taken.number, taken.taken_from) == ("c2d3", 3, "0a1b2c3d")
    for _ in range(2):
        again = identify(empty, "h2", place=place)
        assert (again.uid, again.taken_from) == ("c2d3", "0a1b2c3d")


def test_a_flow_runs_own_experiment_is_nobody_elses(empty: Ledger) -> None:
    """A run's retry may have another account; no other person can have its name."""
    place = RunPlace("8d6fc1f0-5a43-4c8f-9b7e-3d2a1c0b9e8f", retried=True)
    found = identify(empty, None, place=place, block="lab", find_lost=_others(_OTHERS))
    assert (found.uid, found.taken_from) == ("c2d3", None)
