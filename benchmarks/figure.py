"""The figure: a VQE, its phases, resuming, and parallel experiments at a glance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 5.0, 3.6
_OURS, _BARE = "#0f62fe", "#8d8d8d"


def draw(parts: Mapping[str, Part], path: Path) -> None:
    """Draw the results of the parts that ran, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    panels = [(panel, parts[name]) for name, panel in _PANELS if name in parts]
    if not panels:
        return
    figure, axes = plt.subplots(
        1, len(panels), figsize=(_WIDTH * len(panels), _HEIGHT), layout="constrained", squeeze=False
    )
    for axis, (panel, part) in zip(axes[0], panels, strict=True):
        panel(axis, part)
    with mpl.rc_context({"svg.hashsalt": "benchmarks"}):
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _per_job(axis: Axes, part: Part) -> None:
    """Draw the wall-clock time of a job beyond its QPU time, by loop."""
    times = [key for key in part.data if key.replace(".", "").isdigit()]
    loops = list(dict.fromkeys(loop for key in times for loop in part.data[key]))
    for number, loop in enumerate(loops):
        found = [
            (place, [_overhead(run) for run in part.data[key][loop]])
            for place, key in enumerate(times)
            if loop in part.data[key]
        ]
        middles = [sum(values) / len(values) for _, values in found]
        spread = [
            [middle - min(values) for middle, (_, values) in zip(middles, found, strict=True)],
            [max(values) - middle for middle, (_, values) in zip(middles, found, strict=True)],
        ]
        width = 0.8 / len(loops)
        places = [place + (number - (len(loops) - 1) / 2) * width for place, _ in found]
        colour = {"bare": _BARE, "flow": _OURS}.get(loop)
        axis.bar(places, middles, width, yerr=spread, label=loop, color=colour)
    axis.set_xticks(range(len(times)), [f"{key} s" for key in times])
    axis.set(title="Wall-clock beside the QPU's, for each job", xlabel="QPU time", ylabel="ms")
    axis.legend(fontsize="small")


def _overhead(run: Mapping[str, Any]) -> float:
    return 1000 * float(run["wall"] / run["jobs"] - run["qpu"])


def _phases(axis: Axes, part: Part) -> None:
    """Draw the phases of an evaluation, without the wait, which is mostly QPU time."""
    phases: dict[str, dict[str, float]] = part.data["phases"]
    names = [
        name for name in dict.fromkeys(n for p in phases.values() for n in p) if name != "wait"
    ]
    left = dict.fromkeys(phases, 0.0)
    for name in names:
        spent = {loop: 1000 * found.get(name, 0.0) for loop, found in phases.items()}
        axis.barh(list(spent), list(spent.values()), left=list(left.values()), label=name)
        left = {loop: left[loop] + spent[loop] for loop in left}
    axis.set(title="Phases but the wait, under a profiler", xlabel="ms for each evaluation")
    axis.legend(fontsize="small")


def _resume(axis: Axes, part: Part) -> None:
    """Draw the time to resume, by the number of recorded evaluations."""
    sizes = [int(key) for key in part.data]
    seconds = [min(run["seconds"] for run in part.data[f"{size}"]) for size in sizes]
    axis.loglog(sizes, seconds, marker="o", color=_OURS)
    axis.set(title="Resume", xlabel="recorded evaluations", ylabel="seconds to the last value")


def _parallel(axis: Axes, part: Part) -> None:
    """Draw the jobs per second of all experiments together."""
    loops: dict[str, list[tuple[int, float]]] = {}
    for key, run in part.data.items():
        loop, count = key.split("/")
        loops.setdefault(loop, []).append((int(count), run["per_second"]))
    for loop, points in loops.items():
        colour = {"bare": _BARE, "flow": _OURS}.get(loop)
        axis.plot(*zip(*points, strict=True), marker="o", label=loop, color=colour)
    axis.set(title="Experiments at once", xlabel="experiments", ylabel="jobs per second")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize="small")


_PANELS: tuple[tuple[str, Callable[[Axes, Part], None]], ...] = (
    ("vqe", _per_job),
    ("vqe", _phases),
    ("resume", _resume),
    ("parallel", _parallel),
)
