"""Count equal requests: which occurrence of its content a request is.

One opening counts them in order. Where several flow runs of a tree ask of one experiment, each
finds its own occurrences again: a subflow's own retry, and a later attempt in which Prefect uses
the kept result of a subflow and does not run it, so that its occurrences are not asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from session_block.environment.forks import ForkLock
from session_block.prefect_context import TaskAttempt
from session_block.records.keys import Asker


@dataclass(frozen=True)
class Asking:
    """Who makes a request, if it is a flow run that shares the experiment with others.

    Attributes:
        asker: The flow run's place; ``None`` if there is none, or it is not known.
        attempt: The attempt of the flow run, within which equal requests are different ones.
    """

    asker: Asker | None = None
    attempt: Hashable = None


_ANYBODY = Asking()


class Unclaimed(Protocol):
    """The recorded occurrences that belong to no flow run.

    They are those of earlier chapters, and those whose asker was lost with the ledger.
    """

    def has(self, fingerprint: str, occurrence: int) -> bool:
        """Whether an occurrence is one of them."""

    def may_go_to(self, asker: Asker | None, fingerprint: str, occurrence: int) -> bool:
        """Whether one of them may have been asked for by this flow run."""


class _Nothing:
    def has(self, _fingerprint: str, _occurrence: int) -> bool:
        return False

    def may_go_to(self, _asker: Asker | None, _fingerprint: str, _occurrence: int) -> bool:
        return True


class Occurrences:
    """Counts equal requests in one opening of an experiment.

    A task's retry gets the occurrences of its first attempt, and so does a subflow's. A request
    that raises an error leaves its occurrence to the next equal request.

    Args:
        recorded: Who asked for the occurrences that are recorded, by fingerprint and number.
        run: The outermost flow run now; its other subflows' occurrences are never taken.
        unclaimed: The recorded occurrences that belong to no flow run.
    """

    def __init__(
        self,
        recorded: Mapping[tuple[str, int], Asker] | None = None,
        run: str | None = None,
        unclaimed: Unclaimed | None = None,
    ) -> None:
        self._run = run
        self._unclaimed = _Nothing() if unclaimed is None else unclaimed
        self._lock = ForkLock()
        self._askers: defaultdict[str, dict[int, Asker]] = defaultdict(dict)
        for (fingerprint, occurrence), asker in (recorded or {}).items():
            self._askers[fingerprint][occurrence] = asker
        self._paths = {one.path for one in (recorded or {}).values()}
        self._taken: dict[tuple[str, int], Asking] = {}
        self._calls: Counter[tuple[TaskAttempt, str]] = Counter()
        self._bound: dict[tuple[str, str, int], int] = {}
        self._holders: dict[tuple[str, int], tuple[str, str, int] | None] = {}

    def take(
        self, fingerprint: str, task: TaskAttempt | None = None, asking: Asking = _ANYBODY
    ) -> int:
        """Return the occurrence of a request with this fingerprint, counted from 1."""
        with self._lock:
            if task is None:
                return self._next(fingerprint, asking)
            self._calls[task, fingerprint] += 1
            place = (task.task_run_id, fingerprint, self._calls[task, fingerprint])
            bound = self._bound.get(place)
            if bound is None or self._holders.get((fingerprint, bound)) != place:
                bound = self._bound[place] = self._next(fingerprint, asking, place)
            else:
                self._taken[fingerprint, bound] = asking
            return bound

    def give_back(self, fingerprint: str, occurrence: int) -> None:
        """Leave a failed request's occurrence to the next equal request."""
        with self._lock:
            self._taken.pop((fingerprint, occurrence), None)

    def keep(self, fingerprint: str, occurrence: int) -> None:
        """Take back an occurrence that was left, unless another request has it by now."""
        with self._lock:
            self._taken.setdefault((fingerprint, occurrence), _ANYBODY)

    def disown(self, fingerprint: str, occurrence: int) -> None:
        """Leave an occurrence that turns out to be recorded for somebody unknown."""
        with self._lock:
            self._taken.pop((fingerprint, occurrence), None)
            self._askers[fingerprint].pop(occurrence, None)

    def learn(self, fingerprint: str, occurrence: int, asker: Asker) -> None:
        """Note who has an occurrence, as another process has recorded it meanwhile."""
        with self._lock:
            self._askers[fingerprint][occurrence] = asker
            self._paths.add(asker.path)

    def is_anothers(self, recorded: Asker | None, asker: Asker | None) -> bool:
        """Whether an occurrence belongs to another flow run of this tree than the asking one."""
        if recorded is None or recorded.run != self._run:
            return False
        return asker is None or not self._is_same(recorded, asker)

    def _is_same(self, recorded: Asker, asker: Asker) -> bool:
        """Whether it is the same subflow: by its path or, if that is new, by its call.

        The parameters in the path may contain the time. A name is to survive that.
        """
        return recorded.path == asker.path or (
            asker.path not in self._paths and recorded.call == asker.call
        )

    def _next(
        self, fingerprint: str, asking: Asking, place: tuple[str, str, int] | None = None
    ) -> int:
        occurrence = self._choose(fingerprint, asking)
        self._taken[fingerprint, occurrence] = asking
        self._holders[fingerprint, occurrence] = place
        if asking.asker is not None:
            self._askers[fingerprint][occurrence] = asking.asker
        return occurrence

    def _choose(self, fingerprint: str, asking: Asking) -> int:
        askers, asker = self._askers[fingerprint], asking.asker
        if asker is not None:
            last = max(askers, default=0)
            for occurrence in count(1):
                known = askers.get(occurrence)
                if known is None and not self._unclaimed.has(fingerprint, occurrence):
                    if occurrence > last:
                        break
                    continue
                if known is None:
                    mine = self._unclaimed.may_go_to(asker, fingerprint, occurrence)
                else:
                    mine = self._is_same(known, asker)
                if mine and not self._is_held(fingerprint, occurrence, asking):
                    return occurrence
        return next(one for one in count(1) if self._is_free(fingerprint, one, asker))

    def _is_free(self, fingerprint: str, occurrence: int, asker: Asker | None) -> bool:
        if (fingerprint, occurrence) in self._taken:
            return False
        known = self._askers[fingerprint].get(occurrence)
        if known is None and self._unclaimed.has(fingerprint, occurrence):
            return self._unclaimed.may_go_to(asker, fingerprint, occurrence)
        return not self.is_anothers(known, asker)

    def _is_held(self, fingerprint: str, occurrence: int, asking: Asking) -> bool:
        """Whether somebody has it who is not an earlier attempt of the asking flow run."""
        held = self._taken.get((fingerprint, occurrence))
        if held is None:
            return False
        if held.asker is None or asking.asker is None or held.asker.run != asking.asker.run:
            return True
        return held.attempt == asking.attempt
