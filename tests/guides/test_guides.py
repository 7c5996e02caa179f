"""IBM's guides and tutorials move over in six changed lines, and survive SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from moved_programs import GUIDES, HERE, PAGE, Guide, page
from support import Platform, forget_names

from session_block import local_platform
from session_block.crashpoints import CRASH_AT
from session_block.ledger.urls import LEDGER_URL

pytestmark = pytest.mark.rest

_IN_THE_GATE = {
    "long_range_trials",
    "pauli_correlation",
    "projected_kernel",
    "two_optimizers_in_threads",
}
"""One for each shape: equal requests, a loop, two batches in a row, threads."""

_OTHER_SAMPLES = {"heisenberg_spsa", "long_range_trials", "partitioned_batch"}
"""What the bare program prints differs: random numbers without a seed; equal requests, which the
platform tells apart for an experiment alone; and another one of several idle backends."""

_DRAW_ALIKE = """
from session_block import IBMSessionCredentials, QuantumSession

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila")
block.experiment("heisenberg").once("seed", lambda: 7)
"""
"""The draw is the experiment's own; runs that are to be compared have the same."""


@dataclass(frozen=True)
class _Ran:
    printed: str
    jobs: int
    sessions: int


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A seeded platform with shot noise."""
    state_dir = tmp_path_factory.mktemp("guides")
    yield Platform(local_platform.start(state_dir, noise="shots", seed=5, interactive_seconds=1))
    local_platform.stop(state_dir)


def _run(
    platform: Platform, program: Path, ledger: Path | None = None, kill: str | None = None
) -> _Ran:
    """Run a program in a process of its own; tell what it printed, and what the platform saw."""
    before = platform.stats()
    ran = subprocess.run(
        [sys.executable, str(program)],
        env={
            **os.environ,
            **local_platform.environment(platform.info),
            "PYTHONWARNINGS": "ignore",
            **({LEDGER_URL: f"sqlite:///{ledger}"} if ledger else {}),
            **({CRASH_AT: kill} if kill else {}),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == (-signal.SIGKILL if kill else 0), f"{kill}: {ran.stderr[-3000:]}"
    seen = platform.stats()
    return _Ran(
        ran.stdout,
        seen["jobs"]["total"] - before["jobs"]["total"],
        seen["sessions"]["total"] - before["sessions"]["total"],
    )


def _started_over(
    platform: Platform, guide: Guide, directory: Path, kill: str | None = None
) -> _Ran:
    """Run a durable program with a ledger of its own: killed and run again, or whole."""
    forget_names(platform.info.state_dir)  # this is nobody's continuation
    directory.mkdir()
    ledger = directory / "ledger.db"
    if guide.name == "heisenberg_spsa":
        draw = directory / "draw.py"
        draw.write_text(_DRAW_ALIKE)
        _run(platform, draw, ledger)
    killed = _run(platform, guide.durable, ledger, kill) if kill else _Ran("", 0, 0)
    ended = _run(platform, guide.durable, ledger)
    return _Ran(ended.printed, killed.jobs + ended.jobs, killed.sessions + ended.sessions)


def _kills(jobs: int) -> list[str]:
    """Return an early, a middle and a late point of a program with so many jobs.

    Early, the platform has a job whose ID nobody wrote down. Late, only the result is missing.
    """
    return [
        "submit, after:1",
        f"record outcome, after:{(jobs + 1) // 2}",
        f"fetch result, after:{jobs}",
    ]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_moves_over_in_six_changed_lines(guide: Guide) -> None:
    """Blank lines and comments do not count; what it does with the results stays as it is."""
    assert 0 < guide.changed_lines() <= 6
    assert "session_block" not in guide.bare.read_text()
    assert "qiskit_ibm_runtime" not in guide.durable.read_text()


def test_at_least_twelve_pages_are_followed() -> None:
    """Each program is there twice, and most come from pages of their own."""
    assert {path.stem for path in (HERE / "durable").glob("*.py")} == {one.name for one in GUIDES}
    assert len({guide.row().partition("](")[2].partition(")")[0] for guide in GUIDES}) >= 12
    assert {one.name for one in GUIDES} > _IN_THE_GATE


def test_the_page_tells_what_the_programs_tell() -> None:
    """``python tests/guides/moved_programs.py`` writes it."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize(
    "guide",
    [one for one in GUIDES if one.name in _IN_THE_GATE],
    ids=lambda guide: guide.name,
)
def test_a_killed_guide_needs_no_job_more_than_the_bare_one(
    seeded: Platform, tmp_path: Path, guide: Guide
) -> None:
    """P1, P2, P4, P8: killed after a job was accepted, before anybody wrote down its ID."""
    bare = _run(seeded, guide.bare)
    resumed = _started_over(seeded, guide, tmp_path / "killed", f"submit, after:{bare.jobs // 2}")
    assert (resumed.jobs, resumed.sessions) == (bare.jobs, bare.sessions)
    if guide.name not in _OTHER_SAMPLES:
        assert resumed.printed == bare.printed


@pytest.mark.nightly
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_killed_anywhere_prints_what_the_whole_one_does(
    seeded: Platform, tmp_path: Path, guide: Guide
) -> None:
    """P1, P2, P4, P8: at three points, bit for bit, with the bare program's jobs and sessions."""
    bare = _run(seeded, guide.bare)
    whole = _started_over(seeded, guide, tmp_path / "whole")
    assert (whole.jobs, whole.sessions) == (bare.jobs, bare.sessions)
    if guide.name not in _OTHER_SAMPLES:
        assert whole.printed == bare.printed
    for number, kill in enumerate(_kills(bare.jobs)):
        assert _started_over(seeded, guide, tmp_path / str(number), kill) == whole, kill
