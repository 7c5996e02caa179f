"""What the demo shows: a screen of 80 columns in a terminal, and few lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from session_block.cli.demo_screen import DemoScreen, sparkline
from session_block.lab.demo import DemoProgress

EVALUATIONS = 200


def _shown(*, terminal: bool) -> str:
    file = io.StringIO()
    screen = DemoScreen(Console(file=file, force_terminal=terminal, width=80, color_system=None))
    with screen.shown():
        for number in range(1, EVALUATIONS + 1):
            screen.progress(
                DemoProgress(
                    number=number,
                    energy=-1.137 + 1 / number,
                    electronic=-1.857 + 1 / number,
                    exact=-1.1373,
                    replayed=number <= 30,
                    session_id="608c5ceb-ea73-4ade-afcb-48ec51509c30",
                    seconds_left=3500.0 if number > 30 else None,
                )
            )
    return file.getvalue()


def test_a_terminal_has_one_screen() -> None:
    """The last state of it says all: energies with and without the nuclei, session, time, jobs."""
    last = _shown(terminal=True).split("session-block demo")[-1]
    assert {cell_len(line) <= 80 for line in last.splitlines()} == {True}
    for told in (
        "evaluation  200",
        "-1.132000 Ha",
        "-1.852000 Ha",
        "-1.137300 Ha  (5.30 mHa away)",
    ):
        assert told in last
    assert "608c5ceb-ea73-4ade-afcb-48ec51509c30  (58 min left)" in last
    assert "200, 30 of them from the ledger, not sent again" in last
    assert "kill -9 " in last


def test_elsewhere_it_is_short() -> None:
    """Some of the evaluations, without colours or boxes; where each comes from."""
    lines = _shown(terminal=False).splitlines()
    assert len(lines) == 2 + EVALUATIONS / 10
    assert lines[1] == "evaluation   1  -0.137000 Ha  from the ledger"
    assert lines[-1] == "evaluation 200  -1.132000 Ha  one job"


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([2.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([1.0, 0.5, 0.0], "█▄▁"),
        ([0.0] * 99 + [1.0], "▁" * 59 + "█"),
    ],
)
def test_a_line_of_bars(values: list[float], bars: str) -> None:
    """The least value is the lowest bar; a long run shows its end."""
    assert sparkline(values) == bars
