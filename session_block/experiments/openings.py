"""The experiments that the Prefect runs of this process have open.

If one attempt of a run opens an experiment twice, it gets the same object, so that its requests are
counted together. A run's experiments are dropped after the run has ended, so a process that serves
a flow for months holds only the experiments of current runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from session_block import prefect_context
from session_block.experiments.experiment import Experiment
from session_block.prefect_context import Run

_MOST_UNKNOWN = 16
"""How many openings to keep if it is unknown when they end; the latest ones are kept."""

_Place = tuple[tuple[str, int] | None, Hashable]
"""An attempt of a flow run, and an experiment's key in that attempt."""


class Openings:
    """Keeps experiments by the run that has them open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_runs: dict[Run | None, dict[_Place, Experiment]] = {}

    def open(self, key: Hashable, make: Callable[[], Experiment]) -> Experiment:
        """Return the experiment that this attempt of the run has open; open it if there is none.

        Outside a run, every call opens the experiment again.

        Args:
            key: The experiment's key in the attempt.
            make: Opens the experiment.
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
        """Keep an experiment for :meth:`find`, even if it was opened outside a run."""
        with self._lock:
            if any(experiment in opened.values() for opened in self._of_runs.values()):
                return
            outside = self._of_runs.setdefault(None, {})
            outside[None, experiment.opening] = experiment
            _release([outside.pop(place) for place in list(outside)[:-_MOST_UNKNOWN]])

    def find(self, opening: str | None) -> Experiment | None:
        """Return the experiment with this opening's token; ``None`` if this process has none."""
        with self._lock:
            for opened in self._of_runs.values():
                for experiment in opened.values():
                    if opening is not None and experiment.opening == opening:
                        return experiment
        return None

    def _drop_ended(self) -> None:
        """Drop the experiments of ended runs. Done only for a new run: it asks Prefect."""
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
