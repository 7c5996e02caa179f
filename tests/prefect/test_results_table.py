"""The rows of an experiment's table in the Prefect UI, and its report when jobs are many."""

from __future__ import annotations

import pytest

from session_block.events import Point
from session_block.reporting.prefect_report import _folded
from session_block.reporting.results_table import (
    NEWEST,
    counts_rows,
    parameters_told,
    results_rows,
)
from session_block.reporting.watched import workload_page


def _told(count: int) -> list[Point]:
    return [Point(float(value), 0.1, (0.5, value)) for value in range(count)]


def test_it_is_short() -> None:
    """The best one, wherever it was, and the newest ones, latest first."""
    rows = results_rows(_told(50), None, exact=-1.0, maximised=False)
    assert [row["evaluation"] for row in rows] == ["1, best", *map(str, range(50, 50 - NEWEST, -1))]
    assert rows[0] == {
        "evaluation": "1, best",
        "value": 0.0,
        "standard error": 0.1,
        "exact": -1.0,
        "parameters": "0.5, 0",
    }


def test_the_best_is_not_told_twice() -> None:
    """Where the highest is best, it may be the newest."""
    rows = results_rows(_told(3), None, exact=None, maximised=True)
    assert [row["evaluation"] for row in rows] == ["3, best", "2", "1"]


def test_what_was_found_comes_first() -> None:
    """With its counts, and what speaks against it; all rows have the same columns."""
    samples = [{"bits": f"{bits:03b}", "count": 9 - bits} for bits in range(6)]
    report = {"best_value": 4.0, "samples": samples, "gammas": [0.1], "betas": [0.2]}
    first, *others = results_rows(
        _told(2), {**report, "success": False, "message": "too few"}, exact=5.0, maximised=True
    )
    assert first["evaluation"] == "result"
    assert first["counts"] == "000 ×9, 001 ×8, 010 ×7, 011 ×6, …"
    assert first["parameters"] == "0.1, 0.2"
    assert "too few" in str(first["note"])
    assert {tuple(row) for row in others} == {tuple(first)}


@pytest.mark.parametrize("report", [None, {}, {"rows": [1, 2]}])
def test_nothing_found_is_no_row(report: dict[str, object] | None) -> None:
    """A table without a row is not made."""
    assert results_rows([], report, exact=None, maximised=False) == []


def test_counts_without_a_value() -> None:
    """A Sampler's program tells none; what is most frequent comes first."""
    assert counts_rows([(2, {"0": 1, "1": 7})]) == [{"evaluation": "2", "counts": "1 ×7, 0 ×1"}]


def test_many_parameters_are_counted() -> None:
    """A cell stays readable."""
    assert parameters_told([1.0] * 20).endswith("1, … (20 in all)")


def test_a_long_table_is_folded() -> None:
    """A reader that folds nothing shows it below its summary."""
    assert _folded("3 jobs", ["| a |", "|---|"], ["| 1 |"] * 3) == [
        "| a |\n|---|\n| 1 |\n| 1 |\n| 1 |"
    ]
    first, table, last = _folded("30 jobs", ["| a |", "|---|"], ["| 1 |"] * 30)
    assert first == "<details><summary>30 jobs</summary>"
    assert table.count("| 1 |") == 30
    assert last == "</details>"


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://quantum.cloud.ibm.com/api/v1", "https://quantum.cloud.ibm.com/workloads/an-id"),
        ("https://eu-de.quantum.cloud.ibm.com", "https://quantum.cloud.ibm.com/workloads/an-id"),
        ("http://127.0.0.1:8765/api", "http://127.0.0.1:8765/#an-id"),
        ("https://example.org", None),
        (None, None),
    ],
)
def test_where_a_job_or_a_session_has_its_page(url: str | None, page: str | None) -> None:
    """At IBM, on the local platform's own page, or nowhere."""
    assert workload_page(url, "an-id") == page
