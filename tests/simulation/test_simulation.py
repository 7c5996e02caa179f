"""The simulated worlds: a sample, that a seed decides everything, and that they can fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from snippets import ROOT

from .planted import PLANTS
from .scenario import SEEDS

pytestmark = pytest.mark.rest

QUICKLY_FOUND = (
    "intent after the POST",
    "no look-up",
    "equal requests are one",
    "closed early is replaced",
    "an end by time is a stop",
)


def _simulate(*arguments: str, check: bool = True) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not check or ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return ended.stdout


def test_a_thousand_worlds_keep_the_promises() -> None:
    """None is double, lost, mismatched or stuck."""
    told = _simulate("--seeds", "1000")
    assert "0 double, 0 lost, 0 mismatched, 0 stuck" in told


def test_a_seed_decides_everything() -> None:
    """Two processes tell the same story of a seed, to the millisecond."""
    first, second = (_simulate("--seed", "443") for _ in range(2))
    assert first == second
    assert first.endswith("all promises held\n")


@pytest.mark.parametrize("seed", [20659, 21161])
def test_a_seed_that_broke_a_promise_holds(seed: int) -> None:
    """Sealed between two reads; a POST that the client repeated, and whose last job failed."""
    assert _simulate("--seed", str(seed), "--no-shrink").endswith("all promises held\n")


def test_what_is_planted_is_found() -> None:
    """A safeguard less is a promise broken, in one world at least."""
    told = _simulate("--planted", *QUICKLY_FOUND, "--seeds", "300")
    assert f"{len(QUICKLY_FOUND)} of {len(QUICKLY_FOUND)} planted faults found" in told


def test_the_guarantees_page_has_the_commands_numbers() -> None:
    """How many worlds there are, and how many safeguards are undone."""
    page = (ROOT / "docs" / "explanation" / "guarantees.md").read_text()
    assert f"undoes {len(PLANTS)} safeguards" in page
    assert f"in {SEEDS:,} simulated worlds" in page


def test_a_broken_world_is_shrunk_to_what_breaks_it() -> None:
    """The story of a failing seed has its faults in the end, as few as break the promise."""
    told = _simulate("--seed", "3", "--plant", "equal requests are one", check=False)
    assert "got another request's result" in told
    assert "\nfaults: \n" in told  # it needs none
