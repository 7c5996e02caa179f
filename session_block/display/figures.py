"""Figures of values, as SVG that can be read on light and on dark pages."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from session_block.errors import InvalidInputError

MOST_POINTS = 300
"""So many points of a line are drawn; of more, every second, third, … one and the last."""

_INK = "#808080"
_LAST_LETTER = "\u052f"
"""The last of Latin, Greek and Cyrillic, which matplotlib's own font has."""

_COLORS = ("#3b82f6", "#ef4444", "#10b981", "#a855f7", "#eab308", "#06b6d4")
_REFERENCE = "#f59e0b"


@dataclass(frozen=True)
class Line:
    """Values to draw.

    Attributes:
        label: What they are.
        x: Where each is drawn.
        y: The values.
        errors: Their standard errors, NaN where one is unknown; ``None`` for no error bars.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    errors: Sequence[float] | None = None

    def thinned(self) -> Line:
        """Return at most :data:`MOST_POINTS` of its points, evenly spread, and the last one."""
        step = math.ceil(len(self.y) / MOST_POINTS)
        kept = sorted({*range(0, len(self.y), max(1, step)), len(self.y) - 1})
        errors = None if self.errors is None else [self.errors[place] for place in kept]
        return Line(
            self.label,
            [self.x[place] for place in kept],
            [self.y[place] for place in kept],
            errors,
        )


def convergence(
    values: Sequence[float],
    errors: Sequence[float] | None = None,
    *,
    reference: float | None = None,
    label: str = "energy",
) -> bytes:
    """Plot a value over the evaluations, and return the figure as SVG.

    Args:
        values: One for each evaluation, in order.
        errors: Their standard errors.
        reference: A known value to compare with, such as the exact ground energy.
        label: Name of the value.

    Raises:
        InvalidInputError: There is nothing to draw, or matplotlib is not installed.
    """
    line = Line(label, range(1, len(values) + 1), values, errors)
    return plot([line], x_label="evaluation", y_label=label, reference=reference)


def plot(
    lines: Sequence[Line], *, x_label: str, y_label: str, reference: float | None = None
) -> bytes:
    """Plot lines, and return the figure as SVG. All texts are shown as they are.

    Args:
        lines: What to draw; lines without points are left out.
        x_label: What the horizontal axis shows.
        y_label: What the vertical axis shows.
        reference: A known value to compare with.

    Raises:
        InvalidInputError: There is nothing to draw, or matplotlib is not installed.
    """
    drawn = [line.thinned() for line in lines if len(line.y)]
    if not drawn:
        raise InvalidInputError("There are no evaluations yet, so there is nothing to draw.")
    figure = _figure()
    axes = figure.subplots()
    for number, line in enumerate(drawn):
        color = _COLORS[number % len(_COLORS)]
        axes.errorbar(
            line.x,
            line.y,
            yerr=line.errors,
            color=color,
            marker=".",
            capsize=2,
            label=_label(line.label),
        )
    if reference is not None:
        axes.axhline(reference, color=_REFERENCE, linestyle="--", label="reference")
    if reference is not None or len(drawn) > 1:
        axes.legend(frameon=False, labelcolor=_INK)
    axes.set_xlabel(_label(x_label), color=_INK)
    axes.set_ylabel(_label(y_label), color=_INK)
    axes.tick_params(colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", transparent=True, bbox_inches="tight")
    return picture.getvalue()


def data_uri(picture: bytes) -> str:
    """Return an SVG as a data URI, for an image: no script in it would run."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"


def _label(label: str) -> str:
    """Return a label that matplotlib does not read as a formula, leave out, or lack letters for."""
    known = "".join(one if one.isprintable() and one <= _LAST_LETTER else "?" for one in label)
    shown = known.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInputError("Figures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(7, 4))
