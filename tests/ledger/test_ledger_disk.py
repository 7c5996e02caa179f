"""On which disk an SQLite ledger may be."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from session_block.errors import LedgerUnavailableError
from session_block.ledger import disk
from session_block.ledger.disk import NETWORK, ONE_MACHINE, filesystem_of
from session_block.ledger.store import Ledger

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a table of mounts")


def _table(path: Path, *mounts: tuple[Path | str, str]) -> Path:
    """Write a table of mounts as Linux does, with the root on a local disk."""
    lines = [
        f"{30 + number} 29 0:{number} / {str(point).replace(' ', chr(92) + '040')} rw,relatime "
        f"shared:{number} - {kind} source rw"
        for number, (point, kind) in enumerate([("/", "ext4"), *mounts])
    ]
    table = path / "mountinfo"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_the_innermost_and_latest_mount_counts(tmp_path: Path) -> None:
    """Links are followed, names may hold blanks, and nothing has to exist yet."""
    home, scratch = tmp_path / "my home", tmp_path / "my home" / "scratch"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    table = _table(tmp_path, (home, "xfs"), (home, "nfs4"), (scratch, "xfs"))
    for place, kind in {
        home / "a" / "b" / "ledger.db": "nfs4",
        tmp_path / "link" / "ledger.db": "nfs4",
        scratch / "ledger.db": "xfs",
        tmp_path / "my home too" / "ledger.db": "ext4",
    }.items():
        assert filesystem_of(place, table) == kind
    assert filesystem_of(tmp_path, tmp_path / "no such table") is None


@linux
def test_a_real_mount_is_seen(tmp_path: Path) -> None:
    """As the system's own tool sees it."""
    told = subprocess.run(
        ["stat", "--file-system", "--format=%T", "/proc"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert filesystem_of(Path("/proc/x/ledger.db")) == told.stdout.strip() == "proc"
    assert filesystem_of(tmp_path) not in {None, *NETWORK}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "lustre", "fuse.sshfs"])
def test_a_ledger_on_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one and an old one, before anything is written; the error says what to do."""
    path = tmp_path / "home" / "new" / "ledger.db"
    url = f"sqlite:///{path}"
    # A network file system cannot be mounted here, so the table of mounts is another one.
    monkeypatch.setattr(disk, "MOUNTS", _table(tmp_path, (tmp_path / "home", kind)))
    monkeypatch.delenv(ONE_MACHINE, raising=False)
    with pytest.raises(LedgerUnavailableError, match=rf"\({kind}\).*PostgreSQL.*postgresql\.md"):
        Ledger(url)
    assert os.listdir(tmp_path) == ["mountinfo"]  # noqa: PTH208
    monkeypatch.setenv(ONE_MACHINE, "1")
    with closing(Ledger(url)) as insisted:
        insisted.create("e", "k", {})
    monkeypatch.delenv(ONE_MACHINE)
    before = path.read_bytes()
    with pytest.raises(LedgerUnavailableError, match=f"{ONE_MACHINE}=1"):
        Ledger(url)
    assert path.read_bytes() == before
