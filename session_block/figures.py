"""Figures of convergence, readable on light and dark pages; they need the extra ``analysis``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from session_block.errors import InvalidInputError

_INK = "#808080"
_LINE = "#3b82f6"
_REFERENCE = "#f59e0b"


def convergence(
    values: Sequence[float],
    errors: Sequence[float] | None = None,
    *,
    reference: float | None = None,
    label: str = "energy",
) -> bytes:
    """Draw a value against the evaluations that gave it, as an SVG picture.

    Args:
        values: One for each evaluation, in order.
        errors: Their standard errors.
        reference: A known value to compare with, such as the exact ground energy.
        label: What the values are.

    Raises:
        InvalidInputError: There is nothing to draw, or matplotlib is not installed.
    """
    if not len(values):
        raise InvalidInputError("There are no evaluations yet, so there is nothing to draw.")
    figure = _figure()
    axes = figure.subplots()
    numbers = range(1, len(values) + 1)
    axes.errorbar(numbers, values, yerr=errors, color=_LINE, marker=".", capsize=2, label=label)
    if reference is not None:
        axes.axhline(reference, color=_REFERENCE, linestyle="--", label="reference")
        axes.legend(frameon=False, labelcolor=_INK)
    axes.set_xlabel("evaluation", color=_INK)
    axes.set_ylabel(label, color=_INK)
    axes.tick_params(colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", transparent=True, bbox_inches="tight")
    return picture.getvalue()


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInputError(
            "Figures need matplotlib: pip install 'prefect-quantum-sessions[analysis]'."
        ) from error
    return Figure(figsize=(7, 4))
