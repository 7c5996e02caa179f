"""Where an unnamed experiment is opened, so that every retry finds its own one again.

The place is made of the outermost flow run, each subflow on the way down, and the Block. A subflow
is known by its flow, its parameters and its rank among equal calls of the same caller. A caller's
retry may give a subflow another flow run ID, and a caller that is a subflow too may have another
one itself. What stays is Prefect's count of a caller's calls of one flow. The ledger records which
rank each call got. So calls that change their order, because they are concurrent, still find their
own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain, count, islice
from typing import Protocol

from session_block.errors import ExperimentDivergedError
from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import NAMES, Asker, Intent, OpenedByRun, SubflowCalled

_CALLS = "@subflows"
"""The pseudo-experiment whose facts are the calls of subflows."""

_DIGITS = 12
_WHOLE_CALL = "the call"


class Standing(StrEnum):
    """What became of another call of the same caller.

    Attributes:
        FAILED: Its run failed, crashed or was cancelled: its place goes to the next equal call.
        DONE: It came before this call, and completed in this attempt or had its kept result used.
        OPEN: Anything else: it runs, or the caller may still call it.
    """

    FAILED = "failed"
    DONE = "done"
    OPEN = "open"


class Caller(Protocol):
    """A flow run that calls subflows, as Prefect's server shows it."""

    @property
    def attempt(self) -> str:
        """The ID of its attempt; a resumption after a suspension is another one."""

    def standing(self, calls: Collection[str]) -> Mapping[str, Standing]:
        """Return what became of these calls in this attempt."""

    def calls_others(self) -> bool:
        """Whether other calls are running, so that their order is not certain."""

    def kept_before(self, known: Collection[str]) -> int:
        """Return how many earlier calls with the same parameters had their result kept.

        Args:
            known: Calls that are not counted.
        """


@dataclass(frozen=True)
class SubflowCall:
    """A call of a subflow.

    Attributes:
        id: Which of the caller's calls it is, as Prefect counts them.
        flow: The called flow.
        parameters: The digest of each parameter, by its name.
        key: The user's key, which replaces the parameters.
        opens: Whether it opens the experiment, or calls a subflow that does.
    """

    id: str
    flow: str
    parameters: Mapping[str, str]
    key: str | None = None
    opens: bool = True

    @property
    def digest(self) -> str:
        """The digest of what tells it from other calls of the same flow."""
        return _digest(dict(self.parameters) if self.key is None else ["key", self.key])


@dataclass(frozen=True)
class RunPlace:
    """A place in a tree of flow runs.

    Attributes:
        root: The ID of the outermost flow run.
        paths: For each call on the way down, the digest of it and of the calls before; none in the
            outermost run itself.
        words: The calls in words.
        calls: The calls as Prefect counts them, whatever their parameters.
        retried: Whether an earlier attempt of the outermost run may have opened experiments.
    """

    root: str
    paths: tuple[str, ...] = ()
    words: tuple[str, ...] = field(default=(), compare=False)
    calls: tuple[str, ...] = field(default=(), compare=False)
    retried: bool = field(default=False, compare=False)

    @property
    def path(self) -> str:
        """The digest of all calls on the way down."""
        return self.paths[-1] if self.paths else ""

    def name(self, block: str) -> str:
        """Return the name of an experiment that is opened here without one.

        Args:
            block: What tells the Block from others.
        """
        return f"{self.root}.{_digest([self.path, block])[:_DIGITS]}"

    def keyed(self, key: str | None) -> RunPlace:
        """Return the place in the outermost run that the user tells from others by a key."""
        if key is None:
            return self
        paths = (_digest(["key", key]),)
        return replace(self, paths=paths, words=(key,))

    def called(self, call: SubflowCall, rank: int) -> RunPlace:
        """Return the place of a subflow that is called here."""
        path = _path(self, call.flow, call.digest, rank)
        words = call.flow if rank == 1 else f"{call.flow} ({rank})"
        return replace(
            self,
            paths=(*self.paths, path),
            words=(*self.words, words),
            calls=(*self.calls, call.id),
        )

    @property
    def asker(self) -> Asker:
        """The flow run here, as the intents of its requests record it."""
        call = _digest(list(self.calls))[:_DIGITS] if self.calls else ""
        return Asker(run=self.root, path=self.path[:_DIGITS], call=call)


def place_of_call(
    ledger: Ledger,
    caller_place: RunPlace,
    call: SubflowCall,
    caller: Caller,
    warn: Callable[[str], None] | None,
) -> RunPlace:
    """Return the place of a subflow; recorded for the caller's later attempts.

    Args:
        ledger: Where calls are recorded.
        caller_place: The caller's place.
        call: The call.
        caller: The caller.
        warn: What to do if the caller has diverged; ``None`` to raise an error.

    Raises:
        ExperimentDivergedError: A retried caller makes a new call of a flow, although it has not
            made all recorded calls of that flow, so it does not repeat the interrupted attempt.
    """
    journal = Journal(ledger, _CALLS)
    parent = f"{caller_place.root}.{caller_place.path[:_DIGITS]}"
    while True:
        recorded = journal.all(SubflowCalled, parent, call.flow)
        known = _Calls(recorded, call, caller)
        if known.mine_now is not None:
            return caller_place.called(call, known.mine_now.rank)
        rank = known.free_rank()
        place = caller_place.called(call, rank)
        missed = known.missed(rank)
        concurrent = caller.calls_others()
        if missed and not concurrent and any(_bought(ledger, caller_place, one) for one in missed):
            _diverged(caller_place, call, missed, warn)
        _, ours = journal.record(
            SubflowCalled(
                parent=parent,
                flow=call.flow,
                number=max((one.number for one in recorded), default=0) + 1,  # some may be lost
                call=call.id,
                attempt=caller.attempt,
                digest=call.digest,
                parameters=dict(call.parameters),
                rank=rank,
                concurrent=concurrent,
            )
        )
        if ours:
            return place


class _Calls:
    """The recorded calls of one flow by one caller, as seen by a call that is made now.

    A call has several records if it opens experiments under several keys.
    """

    def __init__(self, recorded: list[SubflowCalled], call: SubflowCall, caller: Caller) -> None:
        self._call = call
        self._caller = caller
        # Two attempts may be made at once, in two processes: what this one has made comes last.
        self._recorded = sorted(recorded, key=self._is_of_now)
        self._latest = {(one.call, one.digest): one for one in self._recorded}

    @property
    def mine_now(self) -> SubflowCalled | None:
        """What this call got earlier in this attempt."""
        latest = self._latest.get((self._call.id, self._call.digest))
        return latest if latest is not None and self._is_of_now(latest) else None

    def free_rank(self) -> int:
        """Return the rank that this call had before, or the lowest one that no equal call has."""
        same = [one for one in self._recorded if one.digest == self._call.digest]
        equal = [
            one
            for one in self._latest.values()
            if one.digest == self._call.digest and one.call != self._call.id
        ]
        standing = self._standing(equal)
        held = {one.rank for one in equal if self._holds(one, standing[one.call])}
        before = [one.rank for one in reversed(same) if one.call == self._call.id]
        free = (rank for rank in count(1) if rank not in held)
        if not before and self._call.key is None:
            # A ledger that was lost had recorded them.
            lost = self._caller.kept_before({one.call for one in self._recorded})
            return next(islice(free, lost, None))
        return next(rank for rank in chain(before, free) if rank not in held)

    def missed(self, rank: int) -> list[SubflowCalled]:
        """Return recorded calls that this attempt has not made, if this call is a new one."""
        by_place = {(one.digest, one.rank): one for one in self._recorded}
        if (self._call.digest, rank) in by_place or any(one.concurrent for one in self._recorded):
            return []
        unmade = [
            one
            for one in by_place.values()
            if not self._is_of_now(one) and not self._is_this_call(one)
        ]
        still = [one for one in unmade if not self._is_another_now(one)]
        standing = self._standing([one for one in still if one.call != self._call.id])
        made = {one.call for one in still if standing.get(one.call, Standing.OPEN) != Standing.OPEN}
        return [one for one in unmade if one not in still or one.call not in made]

    def _standing(self, calls: list[SubflowCalled]) -> Mapping[str, Standing]:
        return self._caller.standing({one.call for one in calls}) if calls else {}

    def _holds(self, one: SubflowCalled, standing: Standing) -> bool:
        if self._is_of_now(one):
            return standing is not Standing.FAILED
        return standing is Standing.DONE and not self._is_another_now(one)

    def _is_of_now(self, one: SubflowCalled) -> bool:
        return one.attempt == self._caller.attempt

    def _is_this_call(self, one: SubflowCalled) -> bool:
        """Whether it is this call too, with another key."""
        mine = dict(self._call.parameters)
        return one.call == self._call.id and dict(one.parameters) == mine

    def _is_another_now(self, one: SubflowCalled) -> bool:
        """Whether the call of that count has other parameters in this attempt."""
        now = [a for a in self._recorded if a.call == one.call and self._is_of_now(a)]
        return bool(now) and all(dict(a.parameters) != dict(one.parameters) for a in now)


def _bought(ledger: Ledger, caller_place: RunPlace, one: SubflowCalled) -> bool:
    """Whether something was bought for a recorded call, with any Block."""
    path = _path(caller_place, one.flow, one.digest, one.rank)
    opened = Journal(ledger, NAMES).all(OpenedByRun, caller_place.root)
    return any(
        path in (found.paths or ()) and Journal(ledger, found.uid).count(Intent) > 0
        for found in opened
    )


def _path(caller_place: RunPlace, flow: str, digest: str, rank: int) -> str:
    return _digest([caller_place.path, flow, digest, rank])


def _diverged(
    caller_place: RunPlace,
    call: SubflowCall,
    missed: list[SubflowCalled],
    warn: Callable[[str], None] | None,
) -> None:
    def differing(one: SubflowCalled) -> list[str]:
        names = sorted({*one.parameters, *call.parameters})
        return [name for name in names if one.parameters.get(name) != call.parameters.get(name)]

    differ = min((differing(one) for one in missed), key=len) or [_WHOLE_CALL]
    what = (
        f"Flow run {caller_place.root} called {call.flow} in an earlier attempt with other values "
        f"of {', '.join(differ)}, and has not repeated that call, so its new call would buy again."
    )
    if warn is not None:
        warn(f"{what} It continues, because the Block says on_divergence='warn'.")
        return
    apart = "experiment(key=...)" if call.opens else "a name: experiment('...')"
    raise ExperimentDivergedError(
        f"{what} Nothing was submitted. Give the subflow the same values in every attempt (no "
        f"times, random numbers or temporary folders), or tell its calls apart by {apart}. If it "
        "leaves out calls on purpose, set on_divergence='warn' on the Block.",
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
