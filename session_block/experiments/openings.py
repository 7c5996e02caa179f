"""The experiments that the Prefect runs of this process have open.

Within one attempt of a run, an experiment that is opened again is the very same object, which
counts its requests once. What a run has opened is dropped when the run has ended: a process that
serves a flow for months holds the experiments of the runs at hand only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from session_block import prefect_context
from session_block.experiments.experiment import Experiment
from session_block.prefect_context import Run

_MOST_UNKNOWN = 16
"""How many are kept whose end cannot be known, the latest ones."""

_Place = tuple[tuple[str, int] | None, Hashable]
"""An attempt of a flow run, and what an experiment is found by within it."""


class Openings:
    """Keeps experiments by the run that has them open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_runs: dict[Run | None, dict[_Place, Experiment]] = {}

    def open(self, key: Hashable, make: Callable[[], Experiment]) -> Experiment:
        """Return the experiment that this attempt of the run at hand has open, made if it has none.

        Outside of a run each opening is one of its own.

        Args:
            key: What the experiment is found by within the attempt.
            make: Opens it.
        """
        run = prefect_context.outermost_run()
        if run is None:
            return make()
        with self._lock:
            known = run in self._of_runs
        if not known:
            self._drop_ended()
        place = (prefect_context.flow_attempt(), key)
        with self._lock:
            opened = self._of_runs.setdefault(run, {})
            if place not in opened:
                _release([opened.pop(one) for one in list(opened) if _is_earlier(one, place)])
                opened[place] = make()
            return opened[place]

    def keep(self, experiment: Experiment) -> None:
        """Keep an experiment for :meth:`find`, also one that was opened outside of a run."""
        with self._lock:
            if any(experiment in opened.values() for opened in self._of_runs.values()):
                return
            outside = self._of_runs.setdefault(None, {})
            outside[None, experiment.opening] = experiment
            _release([outside.pop(place) for place in list(outside)[:-_MOST_UNKNOWN]])

    def find(self, opening: str | None) -> Experiment | None:
        """Return the experiment of an opening's token, if this process has it open."""
        with self._lock:
            for opened in self._of_runs.values():
                for experiment in opened.values():
                    if opening is not None and experiment.opening == opening:
                        return experiment
        return None

    def _drop_ended(self) -> None:
        """Drop what ended runs have opened; Prefect is asked once, when a new run comes."""
        with self._lock:
            others = [one for one in self._of_runs if one is not None]
        if not others:
            return
        ended = prefect_context.have_ended(others)
        unknown = [one for one in others if one not in ended][:-_MOST_UNKNOWN]
        with self._lock:
            for run in [one for one in others if ended.get(one)] + unknown:
                _release(list(self._of_runs.pop(run, {}).values()))


def _is_earlier(one: _Place, other: _Place) -> bool:
    """Whether a place is of an earlier attempt of the same flow run."""
    if one[0] is None or other[0] is None:
        return False
    (run, attempt), (its_run, its_attempt) = one[0], other[0]
    return run == its_run and attempt < its_attempt


def _release(experiments: list[Experiment]) -> None:
    """Release experiments in a thread of their own: writing the last reports takes a while."""
    if not experiments:
        return

    def release() -> None:
        for experiment in experiments:
            experiment.release()

    threading.Thread(target=release, name="session-block-release", daemon=True).start()


OPENINGS = Openings()
"""Those of this process."""
