"""Places of subflows: drawn programs, attempts that are cut off, and a model written apart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_block.errors import ExperimentDivergedError
from session_block.ledger.store import Ledger
from session_block.records.identity import identify
from session_block.records.journal import Journal
from session_block.records.keys import Intent, SubflowCalled
from session_block.records.places import RunPlace, Standing, SubflowCall, place_of_call

FLOW = "scan.child"


@dataclass
class Run:
    """A caller as a server would show it, whose attempts a test plays.

    Attributes:
        states: What became of the n-th call in its latest run, and in which attempt that was.
        kept: Calls whose result is kept, so that they do not run again.
        values: The parameter of each call so far.
    """

    attempts: int = 0
    made: int = 0
    states: dict[str, tuple[int, Standing]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    running: int = 0
    values: dict[str, int] = field(default_factory=dict)

    @property
    def attempt(self) -> str:
        """The ID of the attempt."""
        return f"run.{self.attempts}"

    def standing(self, calls: Collection[str]) -> Mapping[str, Standing]:
        """As Prefect shows it: a completed call counts if it came before and is not run again."""
        found = {}
        for call in calls:
            attempt, standing = self.states.get(call, (0, Standing.OPEN))
            earlier = int(call) < self.made
            if standing is Standing.DONE and not (
                earlier and (attempt == self.attempts or call in self.kept)
            ):
                standing = Standing.OPEN
            found[call] = standing
        return found

    def calls_others(self) -> bool:
        """Whether other calls are running."""
        return self.running > 1

    def kept_before(self, known: Collection[str]) -> int:
        """How many equal calls before this one are not run again."""
        value = self.values[str(self.made)]
        kept = [one for one in self.kept if int(one) < self.made and one not in known]
        return sum(self.values[one] == value for one in kept)

    def begin(self) -> None:
        """Begin the next attempt."""
        self.attempts += 1
        self.made = 0


def opened(ledger: Ledger, run: Run, number: int, value: int) -> RunPlace:
    """Return the place of the caller's call ``number`` with this parameter."""
    run.made = number
    run.values[str(number)] = value
    call = SubflowCall(str(number), FLOW, {"value": str(value)})
    return place_of_call(ledger, RunPlace("root"), call, run, None)


def bought(ledger: Ledger, place: RunPlace) -> None:
    """Open the experiment of a place, and record that something was bought for it."""
    identity = identify(ledger, None, place=place, block="lab")
    Journal(ledger, identity.uid).record(
        Intent(
            submission="s",
            generation=1,
            fingerprint="f",
            occurrence=1,
            label=None,
            concurrent=False,
            backend="b",
            instance=None,
            url=None,
            session_id=None,
            tag="t",
        )
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


PROGRAMS = st.lists(st.integers(0, 2), min_size=1, max_size=6)
ENDS = st.sampled_from([Standing.DONE, Standing.FAILED, Standing.OPEN])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=PROGRAMS, data=st.data())
def test_a_program_finds_its_places_again(
    tmp_path_factory: pytest.TempPathFactory, program: list[int], data: st.DataObject
) -> None:
    """Whatever cuts attempts off, the n-th of equal calls that were not given up has one place.

    The caller calls one after another. An attempt is cut off at a call, which then failed, or was
    killed; kept results are not run again. The ledger may be lost.
    """
    folder = tmp_path_factory.mktemp("places")
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    run = Run()
    found: dict[int, str] = {}
    for number in range(data.draw(st.integers(1, 3), "cut attempts")):
        cut = data.draw(st.integers(0, len(program) - 1), "cut at")
        _attempt(ledger, run, program, cut, found)
        if str(cut) not in run.kept:
            run.states[str(cut)] = (run.attempts, data.draw(ENDS, "end"))
        run.kept |= {str(one) for one in range(cut) if data.draw(st.booleans(), "kept")}
        if data.draw(st.booleans(), "lost"):
            ledger.close()
            ledger = Ledger(f"sqlite:///{folder}/another-{number}.db")
    _attempt(ledger, run, program, len(program), found)
    assert len(set(found.values())) == len(program)
    ledger.close()


def _attempt(ledger: Ledger, run: Run, program: list[int], cut: int, found: dict[int, str]) -> None:
    run.begin()
    for number, value in enumerate(program[: cut + 1]):
        if str(number) in run.kept:
            continue
        place = opened(ledger, run, number, value)
        assert found.setdefault(number, place.path) == place.path
        bought(ledger, place)
        run.states[str(number)] = (run.attempts, Standing.DONE)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=PROGRAMS, seed=st.integers(0, 2**16), cut=st.integers(0, 6))
def test_calls_in_another_order_take_the_same_places(
    tmp_path_factory: pytest.TempPathFactory, program: list[int], seed: int, cut: int
) -> None:
    """Concurrent calls reach Prefect in any order; as many places are used as there are calls."""
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('places')}/ledger.db")
    run, shuffled = Run(running=2), random.Random(seed)  # noqa: S311 - the test's own order
    places: list[Counter[int]] = []
    of_value: dict[str, int] = {}
    for attempt in range(3):
        run.begin()
        calls = list(program)
        shuffled.shuffle(calls)
        now = Counter[int]()
        used = set()
        for number, value in enumerate(calls if attempt else calls[: cut + 1]):
            place = opened(ledger, run, number, value)
            assert of_value.setdefault(place.path, value) == value
            assert place.path not in used
            used.add(place.path)
            now[value] += 1
        places.append(now)
    assert len(of_value) == len(program)
    ledger.close()


def test_a_later_attempt_beside_this_one_takes_none_of_its_places(ledger: Ledger) -> None:
    """Prefect has begun the caller once more while its first process lives; all calls are equal."""
    first, second = Run(), Run()
    first.begin()
    mine = [opened(ledger, first, number, 7) for number in range(2)]
    second.attempts = 1
    second.begin()
    assert opened(ledger, second, 0, 7) == mine[0]
    mine.append(opened(ledger, first, 2, 7))
    assert len({one.path for one in mine}) == 3
    assert [opened(ledger, second, number, 7) for number in (1, 2)] == mine[1:]
    assert opened(ledger, first, 3, 7) == opened(ledger, second, 3, 7)


def test_a_place_goes_from_a_failed_call_to_the_next(ledger: Ledger) -> None:
    """In the same attempt; a call that runs or is done keeps its place."""
    run = Run()
    run.begin()
    first = opened(ledger, run, 0, 7)
    run.states["0"] = (1, Standing.FAILED)
    second = opened(ledger, run, 1, 7)
    run.states["1"] = (1, Standing.DONE)
    third = opened(ledger, run, 2, 7)
    assert first == second
    assert third != first
    run.begin()
    assert opened(ledger, run, 0, 7) == first
    run.states["0"] = (2, Standing.DONE)
    assert opened(ledger, run, 1, 7) == third


def test_a_call_that_opens_under_several_keys_keeps_all_its_places(ledger: Ledger) -> None:
    """An equal call has others, under each key and under none, in every attempt."""

    def places(run: Run, number: int) -> list[str]:
        run.made = number
        found = []
        run.values[str(number)] = 1
        for key in (None, "a", "b", None):
            call = SubflowCall(str(number), FLOW, {"value": "1"}, key)
            found.append(place_of_call(ledger, RunPlace("root"), call, run, None).path)
        run.states[str(number)] = (run.attempts, Standing.DONE)
        return found

    run, found = Run(), list[list[list[str]]]()
    for _ in range(2):
        run.begin()
        found.append([places(run, number) for number in range(2)])
    first, second = found[0]
    assert len({*first, *second}) == 6
    assert found[0] == found[1]


def test_a_ledger_that_lost_an_earlier_call_takes_another(ledger: Ledger) -> None:
    """The next record comes after the last one that is there, whatever is missing before it."""
    kept = SubflowCalled(
        parent="root.",
        flow=FLOW,
        number=2,
        call="1",
        attempt="run.1",
        digest="d",
        parameters={},
        rank=1,
    )
    Journal(ledger, "@subflows").record(kept)
    run = Run()
    run.begin()
    opened(ledger, run, 0, 1)
    opened(ledger, run, 1, 2)
    assert [one.number for one in Journal(ledger, "@subflows").all(SubflowCalled)] == [2, 3, 4]


def test_a_callers_new_value_has_diverged_only_if_something_was_bought(ledger: Ledger) -> None:
    """The message names the value; a call that was repeated or bought nothing does not count."""
    run = Run()
    run.begin()
    opened(ledger, run, 0, 1)
    run.begin()
    place = opened(ledger, run, 0, 2)  # nothing was bought for the first value
    bought(ledger, place)
    run.begin()
    with pytest.raises(ExperimentDivergedError, match="other values of value, and has not"):
        opened(ledger, run, 0, 3)
    assert opened(ledger, run, 0, 2) == place
    bought(ledger, opened(ledger, run, 1, 3))


def test_a_diverged_caller_may_be_allowed_to_continue(ledger: Ledger) -> None:
    """It is warned."""
    run, warnings = Run(), list[str]()
    run.begin()
    bought(ledger, opened(ledger, run, 0, 1))
    run.begin()
    call = SubflowCall("0", FLOW, {"value": "2"})
    place_of_call(ledger, RunPlace("root"), call, run, warnings.append)
    assert ["on_divergence='warn'" in one for one in warnings] == [True]
