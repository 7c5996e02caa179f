"""What the demo shows while it runs: one live screen in a terminal, a few lines elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from session_block.experiments.report import RunFacts
    from session_block.lab.demo import DemoOutcome, DemoProgress

_BARS = "▁▂▃▄▅▆▇█"
_POINTS = 60
_EVERY = 10
"""Without a terminal, print every tenth evaluation."""


class DemoScreen:
    """Shows the demo's progress.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._energies: list[float] = []
        self._replayed = 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the screen until the demo ends; what it showed last stays."""
        if not self._console.is_terminal:
            self._console.print("Finding the energy of H2 on the local platform …")
            yield
            return
        waiting = Text("Starting the local platform, which simulates IBM Quantum on this machine …")
        with Live(waiting, console=self._console, refresh_per_second=8) as self._live:
            yield

    def progress(self, found: DemoProgress) -> None:
        """Show one more evaluation."""
        self._energies.append(found.energy)
        self._replayed += found.replayed
        if self._live is not None:
            self._live.update(self._screen(found))
        elif found.number == 1 or found.number % _EVERY == 0:
            origin = "from the ledger" if found.replayed else "one job"
            self._console.print(
                f"evaluation {found.number:>3}  {found.energy:+.6f} Ha  {origin}", highlight=False
            )

    def _screen(self, found: DemoProgress) -> RenderableType:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        away = 1000 * abs(found.energy - found.exact)
        rows.add_row("evaluation", str(found.number))
        rows.add_row("energy", f"[bold]{found.energy:+.6f} Ha[/bold]  with the nuclear repulsion")
        rows.add_row("electronic", f"{found.electronic:+.6f} Ha")
        rows.add_row("exact", f"{found.exact:+.6f} Ha  ({away:.2f} mHa away)")
        rows.add_row("", Text(sparkline(self._energies), style="cyan"))
        rows.add_row("session", f"{found.session_id}{_left(found.seconds_left)}")
        rows.add_row("jobs", _jobs(found.number, self._replayed))
        return Panel(
            Group(
                "A VQE of the molecule H2, on the local platform: each evaluation is one job, and "
                "all are in one session.",
                "",
                rows,
                "",
                Text.assemble(
                    ("Kill it now", "bold"),
                    f", from another terminal: kill -9 {os.getpid()}\n"
                    "Run it again: it continues in the same session, and no job is sent twice.",
                ),
            ),
            title="session-block demo",
            title_align="left",
        )

    def outcome(self, outcome: DemoOutcome) -> None:
        """Show how it ended."""
        report = outcome.report
        say = self._console.print
        say()
        if outcome.already_finished:
            say(
                f"Experiment {outcome.experiment} is already finished; nothing was submitted. "
                "Start over with --fresh."
            )
        difference = abs(outcome.energy - outcome.exact_energy)
        lines = {
            "energy": f"{outcome.energy:+.6f} Ha  ({report.energy:+.6f} without the nuclei)",
            "exact": f"{outcome.exact_energy:+.6f} Ha  (difference {difference:.1e})",
            "session": str(report.session_id),
            "jobs": _jobs(outcome.jobs, outcome.replayed),
            "cost": f"nothing; {_at_ibm(report.run)}",
            "Prefect UI": f"{outcome.server_url.removesuffix('/api')}/runs"
            if outcome.server_url
            else "no server found: start one with 'prefect server start', then demo --fresh",
            "next": "session-block experiments show h2-demo",
        }
        for name, value in lines.items():
            say(f"{name:<11} {value}", highlight=False, markup=False, soft_wrap=True)


def _at_ibm(run: RunFacts) -> str:
    """Return what its jobs would cost on a QPU; the local platform only plays one."""
    if run.expected_seconds is None:
        return "what IBM would charge is not known"
    return (
        f"IBM would charge about {run.expected_seconds:.0f} s "
        f"({run.low_seconds:.0f} to {run.high_seconds:.0f} s)"
    )


def sparkline(values: list[float]) -> str:
    """Return the latest values as a line of bars, the least one lowest.

    Example:
        >>> sparkline([1.0, 0.5, 0.0])
        '█▄▁'
    """
    latest = values[-_POINTS:]
    least, span = min(latest), max(latest) - min(latest)
    if not span:
        return _BARS[0] * len(latest)
    return "".join(_BARS[int((one - least) / span * (len(_BARS) - 1))] for one in latest)


def _jobs(number: int, replayed: int) -> str:
    return f"{number}" + (f", {replayed} of them from the ledger, not sent again" * bool(replayed))


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"  ({seconds / 60:.0f} min left)"
