"""What is installed: the wheel by itself, its version, and the lowest versions that it declares."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import session_block

ROOT = Path(__file__).parents[1]
OURSELVES = ("session_block", "tasks", "flows", "deployments")
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

THEIRS = """
[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "somebodys-project"
version = "1"

[tool.setuptools]
packages = ["flows", "tasks"]
"""
BOTH = """
import flows.nightly, tasks.steps
import session_block.flows.vqe, session_block.tasks

assert tasks.steps.step() == flows.nightly.night() == "theirs"
"""
OURS = """
from importlib.resources import files

from prefect.flows import load_flow_from_entrypoint
from session_block.tasks import open_session, run_sampler

import yaml

deployed = yaml.safe_load(files("session_block.deployments").joinpath("prefect.yaml").read_text())
entrypoints = [one["entrypoint"] for one in deployed["deployments"]]
print(*[load_flow_from_entrypoint(entrypoint).name for entrypoint in entrypoints])
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


def test_what_is_imported_is_declared() -> None:
    """By the distribution that it comes from; what only an extra needs, in that extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["postgres"], *extras["analysis"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    homes = packages_distributions()
    imported = {
        canonicalize_name(homes[name][0])
        for name in _imported()
        if name not in sys.stdlib_module_names and name not in OURSELVES
    }
    assert imported - declared == set()
    assert "starlette" in imported


def _imported() -> set[str]:
    """Return the top packages that the installed modules import, anywhere in them."""
    found = set()
    for package in OURSELVES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Import():
                        found |= {one.name.partition(".")[0] for one in node.names}
                    case ast.ImportFrom(module=str(module), level=0):
                        found.add(module.partition(".")[0])
    return found


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
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, as it is, built once."""
    directory = tmp_path_factory.mktemp("wheel")
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        path, copy = ROOT / name, directory / "source" / name
        if path.is_symlink() or path.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy, follow_symlinks=False)
    build = (SYSTEM_PYTHON, "-m", "pip", "wheel", "-q", "--no-deps", "-w", "built", "./source")
    _run(*build, cwd=directory, SETUPTOOLS_SCM_PRETEND_VERSION="1.0")
    (built,) = (directory / "built").glob("*.whl")
    return built


def test_the_description_stands_alone(wheel: Path) -> None:
    """What a registry shows has no link to a file, and its example runs; its version is taken."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        told = archive.read(name).decode()
    head, _, description = told.partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    targets = re.findall(r"\]\(([^)]*)\)|\b(?:src|href|srcset)=\"([^\"]*)\"", description)
    assert [one for pair in targets for one in pair if one and "://" not in one] == []
    assert "# IBM Quantum sessions" in description
    assert Version(session_block.__version__).local is None


def test_one_name_is_installed(wheel: Path) -> None:
    """Nothing but ``session_block`` at the top, and below it all of the three directories."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "session_block"
    }
    for name in ("tasks", "flows", "deployments"):
        there = {
            f"session_block/{path.relative_to(ROOT)}"
            for path in (ROOT / name).rglob("*")
            if path.suffix in (".py", ".yaml", ".json") and "kubernetes" not in path.parts
        }
        assert there
        assert there <= names
    suite = (ROOT / "session_block" / "doctor" / "fidelity").rglob("*.yaml")
    assert {str(path.relative_to(ROOT)) for path in suite} <= names


@pytest.mark.rest
@pytest.mark.parametrize("first", ["ours", pytest.param("theirs", marks=pytest.mark.nightly)])
def test_a_project_with_tasks_and_flows_of_its_own_lives_beside_ours(
    tmp_path: Path, wheel: Path, first: str
) -> None:
    """Installed before or after ours; both run, and ours goes on when theirs is uninstalled."""
    project = tmp_path / "project"
    for package, module, function in (("tasks", "steps", "step"), ("flows", "nightly", "night")):
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").touch()
        code = f"def {function}():\n    return 'theirs'\n"
        (project / package / f"{module}.py").write_text(code)
    (project / "pyproject.toml").write_text(THEIRS)
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    _run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    # What both need is taken from this environment, after what is installed in their own.
    (inside,) = environment.glob("lib/python*/site-packages")
    (inside / "zz-needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = (SYSTEM_PYTHON, "-m", "pip", "--python", python)
    for one in (wheel, project) if first == "ours" else (project, wheel):
        _run(*pip, "install", "-q", "--no-deps", one, cwd=tmp_path)
    home = {"PREFECT_HOME": str(tmp_path / "home")}
    _run(python, "-c", BOTH, cwd=tmp_path, **home)
    names = "vqe qaoa sweep tidy"
    assert _run(python, "-c", OURS, cwd=tmp_path, **home).strip() == names
    where = "import session_block.flows.vqe as one; print(one.__file__)"
    assert Path(_run(python, "-c", where, cwd=tmp_path, **home).strip()).is_relative_to(inside)
    _run(*pip, "uninstall", "-q", "-y", "somebodys-project", cwd=tmp_path)
    with pytest.raises(AssertionError, match="No module named"):
        _run(python, "-c", "import tasks.steps", cwd=tmp_path, **home)
    assert _run(python, "-c", OURS, cwd=tmp_path, **home).strip() == names


@pytest.mark.nightly
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
    assert Version(version[1]).local is None, version[1]  # no registry would take it

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
