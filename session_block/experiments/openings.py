"""The experiments that the Prefect runs of this process have open.

If one attempt of a run opens an experiment twice, it gets the same object, so that its requests are
counted together. A run's experiments are dropped after the run has ended, so a process that serves
a flow for months holds only the experiments of current runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from session_block import prefect_context
from session_block.environment.forks import ForkLock
from session_block.experiments.experiment import Experiment
from session_block.prefect_context import Run
from session_block.records.attempts import RootAttempt

P = TypeVar("P")

_MOST_FINISHED = 16
"""How many finished experiments to keep that were opened outside a run; the latest ones."""

_Place = tuple[tuple[str, int] | None, Hashable]
"""An attempt of a flow run, and a key in that attempt."""


class Openings:
    """Keeps experiments by the run that has them open."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._of_runs: dict[Run | None, dict[_Place, Experiment]] = {}
        self._places: dict[Run, dict[_Place, Any]] = {}

    def place(self, key: Hashable, find: Callable[[], P]) -> P:
        """Return what is true of this attempt of the run, such as its place; found out only once.

        Args:
            key: What the place depends on beside the attempt.
            find: Finds the place.
        """
        run = prefect_context.outermost_run()
        if run is None:
            return find()
        place = (prefect_context.flow_attempt(), key)
        with self._lock:
            places = self._places.setdefault(run, {})
        if place not in places:
            places[place] = find()
        known: P = places[place]
        return known

    def open(
        self, key: Hashable, make: Callable[[], Experiment], within: RootAttempt | None = None
    ) -> Experiment:
        """Return the experiment that this attempt of the run has open; open it if there is none.

        Outside a run, every call opens the experiment again.

        Args:
            key: The experiment's key in the attempt.
            make: Opens the experiment.
            within: The attempt of the outermost flow run, if all its flow runs share the
                experiment.
        """
        run = prefect_context.outermost_run()
        if run is None:
            return make()
        with self._lock:
            known = run in self._of_runs
        if not known:
            self._drop_ended()
        attempt = None if within is None else (within.run, within.number)
        place = (attempt or prefect_context.flow_attempt(), key)
        with self._lock:
            opened = self._of_runs.setdefault(run, {})
            if place not in opened:
                _release([opened.pop(one) for one in list(opened) if _is_earlier(one, place)])
                opened[place] = make()
            return opened[place]

    def keep(self, experiment: Experiment) -> None:
        """Keep an experiment for :meth:`find`, even if it was opened outside a run."""
        with self._lock:
            if any(experiment in opened.values() for opened in self._of_runs.values()):
                return
            outside = self._of_runs.setdefault(None, {})
            outside[None, experiment.opening] = experiment
            if len(outside) <= _MOST_FINISHED:
                return
            # One that is not finished is still in use: its requests are counted here.
            finished = [place for place, one in outside.items() if one.sealed]
            _release([outside.pop(place) for place in finished[:-_MOST_FINISHED]])

    def find(self, opening: str | None) -> Experiment | None:
        """Return the experiment with this opening's token; ``None`` if this process has none."""
        with self._lock:
            for opened in self._of_runs.values():
                for experiment in opened.values():
                    if opening is not None and experiment.opening == opening:
                        return experiment
        return None

    def _drop_ended(self) -> None:
        """Drop the experiments of ended runs. Done only for a new run: it asks Prefect.

        A run is kept unless Prefect says that it has ended. Dropping a live one would count its
        requests from 1 again, so that an equal request would get an earlier one's result. Limit:
        what a task outside any flow opened stays if its end never reaches a Prefect server.
        """
        with self._lock:
            others = [one for one in self._of_runs if one is not None]
        if not others:
            return
        for run in prefect_context.ended_among(others):
            with self._lock:
                self._places.pop(run, None)
                _release(list(self._of_runs.pop(run, {}).values()))


def _is_earlier(one: _Place, other: _Place) -> bool:
    """Whether ``one`` belongs to an earlier attempt of the same flow run."""
    if one[0] is None or other[0] is None:
        return False
    (run, attempt), (its_run, its_attempt) = one[0], other[0]
    return run == its_run and attempt < its_attempt


def _release(experiments: list[Experiment]) -> None:
    """Release experiments in a thread, because their last reports take a while."""
    if not experiments:
        return

    def release() -> None:
        for experiment in experiments:
            experiment.release()

    threading.Thread(target=release, name="session-block-release", daemon=True).start()


OPENINGS = Openings()
"""The openings of this process."""
