"""The flows of the page about PEC and PEA, killed and resumed as a reader would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from snippets import ROOT, run, snippets

from session_block import Ledger
from session_block.crashpoints import CRASH_AT
from session_block.local_platform import LocalPlatform
from session_block.records.views import load_experiment

pytestmark = pytest.mark.nightly

PAGE = (ROOT / "docs/how-to/mitigate.md").read_text()
KILLS = {
    "pec.py": (
        "submit, after:1",  # the learning is sent, and its job is not known yet
        "record noise, before:1",  # it is learned, and not shared yet
        "submit, after:1",  # PEC's own job
    ),
    "pea.py": ("record noise-model, after:1",),
}


def test_killed_flows_end_where_the_whole_ones_do(tmp_path: Path, prefect_server: str) -> None:
    """P1, P8: bit for bit, each on a platform of its own with one seed; with the same jobs.

    PEA takes the model that PEC has learned.
    """
    ends = [
        _both(tmp_path / name, prefect_server, kill=name == "killed")
        for name in ("whole", "killed")
    ]
    assert ends[0] == ends[1]


def _both(directory: Path, prefect_server: str, *, kill: bool) -> list[str]:
    directory.mkdir()
    ledger_url = f"sqlite:///{directory}/ledger.db"
    printed = []
    with LocalPlatform(directory / "platform", noise="device", seed=5) as platform:
        reader = {
            **os.environ,
            "SESSION_BLOCK_PLATFORM_DIR": str(platform.info.state_dir),
            "PREFECT_HOME": str(directory),
            "PREFECT_API_URL": prefect_server,
            "SESSION_BLOCK_LEDGER_URL": ledger_url,
        }
        (setup,) = (one for one in snippets(PAGE, "python") if one.title is None)
        run([sys.executable, "-c", setup.text], directory, reader)
        for script in (one for one in snippets(PAGE, "python") if one.title is not None):
            (directory / str(script.title)).write_text(script.text)
            for seed, point in enumerate(KILLS[str(script.title)] if kill else ()):
                killed = subprocess.run(
                    [sys.executable, str(script.title)],
                    env={**reader, CRASH_AT: point, "PYTHONHASHSEED": str(seed)},
                    cwd=directory,
                    check=False,
                    capture_output=True,
                )
                assert killed.returncode == -signal.SIGKILL, (point, killed.stderr[-3000:])
            said = run([sys.executable, str(script.title)], directory, reader).splitlines()
            printed += [line for line in said if line.startswith(("PEC ", "PEA "))]
        ledger = Ledger(ledger_url)
        first, second = (load_experiment(name, ledger) for name in ("with-pec", "with-pea"))
        by_tag = platform.stats()["jobs"]["by_tag"]
        assert [by_tag[f"qs-uid:{one.uid}"] for one in (first, second)] == [2, 1]
        assert second.noise_models[0].job_id == first.job_ids[0]
    return printed
