"""How experiments are printed, one or two of them: what people look for comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer

from session_block.cli.common import ago, print_pairs, print_table, seconds_shown
from session_block.display.text import UNKNOWN, shown_value

ROWS = 20
"""So many submissions are shown, the latest ones."""

_WHOLE = ["id", "session", "backend", "opened", "job", "asked"]
_OURS = {"best", "exact", "but", "jobs", "usage", "backend", "session", "began", "id", "chapter"}
"""What a program's report may say in its own sense."""

_SHORT = 8
_LONGEST_TEXT = 60


def show_experiment(about: Mapping[str, Any]) -> None:
    """Print what :func:`~session_block.operations.experiments.described_in_full` returns."""
    number = f" ({about['number']})" * (about["number"] > 1)
    typer.echo(f"{about['experiment']}{number}: {about['state']}")
    typer.echo()
    print_pairs((name, value) for name, value in _facts(about) if value not in (None, ""))
    for title, names, rows in _tables(about):
        if rows:
            typer.echo(f"\n{title}")
            print_table(
                names,
                rows,
                whole=_WHOLE,
                cut=["label", "end"],
            )


def show_side_by_side(experiments: Sequence[Mapping[str, Any]]) -> None:
    """Print what :class:`~session_block.operations.comparison.Comparison` says of each experiment.

    Lines that none of them has are left out.
    """
    columns = [dict(_at_a_glance(one)) for one in experiments]
    rows = [[name, *(one[name] for one in columns)] for name in columns[0]]
    print_table(
        ["", *("first", "second")],
        [[one or "" for one in row] for row in rows if any(row[1:])],
        whole=[""],
    )


def _at_a_glance(about: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    seconds, complete = about["usage_seconds"], about["usage_complete"]
    yield "experiment", about["experiment"] + f" ({about['number']})" * (about["number"] > 1)
    yield "id", about["uid"]
    yield "state", about["state"]
    yield "best", UNKNOWN if about["best"] is None else shown_value(about["best"])
    yield "exact", shown_value(about["exact"])
    yield "reference", shown_value(about["reference"])
    yield "but", about["doubt"]
    yield "parameters", shown_value(about["parameters"])
    yield "counts", shown_value(about["counts"])
    yield "jobs", f"{about['jobs']}, with {about['results']} results"
    yield (
        "usage",
        UNKNOWN if seconds is None else seconds_shown(seconds, final=complete),
    )
    yield "backend", about["backend"]


def _facts(about: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    report, budget = about["report"] or {}, about["budget"]
    yield "best", None if about["best"] is None else f"{about['best']:.6f}"
    yield "exact", None if about["exact"] is None else f"{about['exact']:.6f}"
    yield "but", about["doubt"]
    told = {about["best"], about["exact"]}
    for name, value in report.items():
        if isinstance(value, bool | int | float | str) and value not in told:
            yield f"report's {name}" if name in _OURS else name.replace("_", " "), _short(value)
    yield "jobs", f"{about['jobs']}, with {about['results']} results"
    yield "usage", _usage(about["usage"]) if about["jobs"] else None
    yield "expected of its jobs", _expected(about["expected"]) if about["jobs"] else None
    yield "backend", about["backend"]
    yield "session", about["session_id"]
    yield "began", _moment(about["started_at"])
    yield "last activity", _moment(about["last_activity_at"])
    yield "id", about["uid"]
    yield "chapter", about["chapter"] if about["chapter"] > 1 else None
    yield "opened in", about["opened_in"]
    yield "flow runs", ", ".join(about["flow_runs"])
    yield "jobs of the budget", budget["jobs_counted"]
    yield "refused by the budget", budget["refused"] or None


def _usage(usage: Mapping[str, Any]) -> str:
    known = seconds_shown(usage["seconds"], final=usage["complete"])
    return known if usage["complete"] else f"{known} (session-block usage --block NAME asks)"


def _expected(expected: Mapping[str, Any]) -> str:
    if not expected["estimated"]:
        return "unknown"
    shown = f"{expected['seconds']:.3g} s ({expected['low']:.3g} to {expected['high']:.3g} s)"
    without = expected["jobs"] - expected["estimated"]
    return f"{shown}, without {without} that had no estimate" if without else shown


def _tables(about: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str], list[list[Any]]]]:
    yield (
        "Sessions",
        ["session", "backend", "opened", "end"],
        [
            [
                one["session_id"] or one["state"],
                one["backend"],
                _clock(one["opened_at"]),
                one["end"],
            ]
            for one in about["sessions"]
        ],
    )
    rows = about["submissions"]
    left_out = len(rows) - ROWS
    yield (
        "Submissions" + f", without {left_out} earlier ones (--json has all)" * (left_out > 0),
        ["id", "primitive", "state", "job", "asked", "label"],
        [
            [
                one["submission"][:_SHORT],
                one["kind"],
                f"{one['state']}" + f" (job {one['generations']})" * (one["generations"] > 1),
                one["job_id"],
                _clock(one["asked_at"]),
                one["label"],
            ]
            for one in rows[-ROWS:]
        ],
    )
    yield (
        "Stops",
        ["when", "because", "resumed by"],
        [[_clock(one["at"]), one["because"], one["resumed_by"]] for one in about["stops"]],
    )
    yield (
        "Noise models",
        ["learned by", "job", "learned", "age"],
        [
            [
                one["experiment"],
                one["job_id"],
                _clock(one["learned_at"]),
                f"{one['age_seconds'] / 3600:.1f} h",
            ]
            for one in about["noise_models"]
        ],
    )
    attempts = about["attempts"]
    yield (
        "Attempts",
        ["attempt", "began", "results before", "end"],
        [
            [
                one["number"],
                _clock(one["began_at"]),
                one["results_before"],
                "stopped" if one["stopped"] else "failed" if one["failed_at"] else None,
            ]
            for one in (attempts if len(attempts) > 1 else [])
        ],
    )


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return f"{ago(moment)}, {moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _clock(text: str | None) -> str | None:
    return None if text is None else f"{datetime.fromisoformat(text).astimezone():%m-%d %H:%M:%S}"
