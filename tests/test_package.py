"""What is installed: the wheel by itself, its version, and the lowest versions that it declares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import session_block

ROOT = Path(__file__).parents[1]
SYSTEM_PYTHON = os.environ.get("PYTHON", "python3")
"""The one that has pip."""

USER_CODE = """
import flows, tasks

assert flows.MINE and tasks.MINE
from qiskit import QuantumCircuit
from session_block import LocalPlatformCredentials, QuantumSession

block = QuantumSession(credentials=LocalPlatformCredentials(), backend_name="ibm_manila")
circuit = QuantumCircuit(1)
circuit.x(0)
circuit.measure_all()
with block.experiment("installed") as experiment:
    result = experiment.run_sampler([circuit], shots=16)
print(result[0].data.meas.get_counts())
"""


def _declared() -> dict[str, Version]:
    """Return the lowest version of each requirement that has one, but those of development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ("postgres", "analysis", "docker", "kubernetes")
    lines = [*project["dependencies"]]
    lines += [line for extra in extras for line in project["optional-dependencies"][extra]]
    lowest = {}
    for requirement in map(Requirement, lines):
        (version,) = (one.version for one in requirement.specifier if one.operator == ">=")
        lowest[requirement.name] = Version(version)
    return lowest


def test_the_lowest_versions_are_tested() -> None:
    """What ``make lowest`` installs is what is declared, all of it."""
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(text) for name, text in pinned.items()} == _declared()


def test_the_version_is_told() -> None:
    """By the package and by its command line, and it is the installed distribution's."""
    said = subprocess.run(
        [sys.executable, "-m", "session_block", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == session_block.__version__
    assert Version(session_block.__version__)


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_installed_wheel_runs_beside_packages_of_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built from the source distribution, installed elsewhere, in a project with its own flows."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    built, environment, project = (tmp_path / name for name in ("built", "venv", "project"))
    _run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    pip = (SYSTEM_PYTHON, "-m", "pip", "--python", environment / "bin" / "python")
    _run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", "build", cwd=tmp_path)
    _run(environment / "bin" / "python", "-m", "build", "--outdir", built, ROOT, cwd=tmp_path)
    (source,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"constraints.txt", "README.md", "tests/conftest.py"} <= inside
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "session_block/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    version = re.match(r"prefect_quantum_sessions-(.+?)-py3", wheel.name)
    assert version is not None
    if (ROOT / ".git").exists():
        assert Version(version[1]).local or not Version(version[1]).is_devrelease, version[1]

    _run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    for package in ("flows", "tasks"):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text("MINE = True\n")
    (project / "mine.py").write_text(USER_CODE)
    home = {"PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(project)}
    command = environment / "bin" / "session-block"
    try:
        where = "import session_block; print(session_block.__file__)"
        found = _run(environment / "bin" / "python", "-c", where, cwd=project, **home)
        assert Path(found.strip()).is_relative_to(environment)
        assert "16" in _run(environment / "bin" / "python", "mine.py", cwd=project, **home)
        assert "jobs " in _run(command, "demo", cwd=project, **home)
        assert _run(command, "--version", cwd=project, **home).strip() == version[1]
    finally:
        _run(command, "platform", "stop", cwd=project, **home)
