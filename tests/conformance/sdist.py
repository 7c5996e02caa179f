"""Source distributions, fetched by pip for the tests in them. None of it becomes part of this."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path


@contextmanager
def fetched(package: str, pip: Sequence[str]) -> Iterator[Path]:
    """Give the source of the installed version of a package, in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="sdist-") as name:
        directory = Path(name)
        source = ["download", "--quiet", "--no-deps", "--no-binary", package, "--dest", name]
        subprocess.run([*pip, *source, f"{package}=={version(package)}"], check=True)
        (archive,) = directory.glob("*.tar.gz")
        with tarfile.open(archive) as content:
            content.extractall(directory, filter="data")
        (root,) = (path for path in directory.iterdir() if path.is_dir())
        yield root


def new_suite(work: Path, package: str) -> Path | None:
    """Return an empty directory for a package's tests; ``None`` if they are already there."""
    suite = suite_of(work, package)
    if (suite / "complete").exists():
        return None
    shutil.rmtree(suite, ignore_errors=True)
    suite.mkdir(parents=True)
    return suite


def suite_of(work: Path, package: str) -> Path:
    """Return the directory of the tests of the installed version of a package."""
    return work / f"{package}-{version(package)}"


def pip_of(python: str) -> list[str]:
    """Return the command of a Python's pip."""
    return [python, "-m", "pip", "--disable-pip-version-check"]


def say(line: str) -> None:
    """Tell how it went."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
