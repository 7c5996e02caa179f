"""Files and directories that nobody but their user can read, whoever makes them first."""

from __future__ import annotations

import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, with mode 0700.

    What exists keeps its mode: others may have been let in on purpose.
    """
    for missing in [one for one in (*reversed(path.parents), path) if not one.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """Open a file, for ``open(…, opener=opener)``: a new one has mode 0600."""
    return os.open(path, flags, 0o600)


def replace_file(path: Path, text: str) -> None:
    """Write a file with mode 0600, in one step; make its directory if it is missing."""
    make_directory(path.parent)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(draft, "x", opener=opener) as file:
        file.write(text)
    draft.replace(path)
