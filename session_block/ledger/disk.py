"""The kind of disk that an SQLite ledger is on: a network file system is refused.

In WAL mode all of a database's processes share memory through a file beside it, so they must be on
one machine [docs: sqlite.org/wal.html]. On a network file system another machine would read stale
facts or write over new ones, without an error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from session_block.errors import LedgerUnavailableError

ONE_MACHINE = "SESSION_BLOCK_LEDGER_ON_ONE_MACHINE"
"""The environment variable by which a user says that only one machine uses the ledger, ever."""

MOUNTS = Path("/proc/self/mountinfo")
"""Linux's table of mounted file systems."""

NETWORK = frozenset(
    [
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fhgfs",
        "fuse.beegfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.davfs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.mount-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "webdavfs",
        "wekafs",
    ]
)
"""File systems that several machines can mount at once."""

SHARED_WITH_HOST = frozenset(
    [
        "9p",
        "drvfs",
        "fuse.grpcfuse",
        "fuse.osxfs",
        "fuse.vmhgfs-fuse",
        "prl_fs",
        "vboxsf",
        "virtiofs",
    ]
)
"""Folders of the machine that a virtual machine or sandbox runs on; most are used by one."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: Path, mounts: Path | None = None) -> str | None:
    """Return the type of the file system that holds a file, or would hold it.

    Args:
        path: The file; symbolic links are followed.
        mounts: The table of mounted file systems; by default this process's.

    Returns:
        Such as ``ext4``; ``None`` if the system has no such table.
    """
    try:
        table = (mounts or MOUNTS).read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    real = f"{path.resolve()}/"
    found, longest = None, -1
    for line in table.splitlines():
        place, _, source = line.partition(" - ")
        point = _ESCAPE.sub(_character, place.split()[4])
        # What is mounted later at the same place hides the earlier one.
        if len(point) >= longest and real.startswith(f"{point.rstrip('/')}/"):
            found, longest = source.split()[0], len(point)
    return found


def is_for_one_machine() -> bool:
    """Whether the user says that only one machine uses the ledger."""
    return os.environ.get(ONE_MACHINE, "").lower() in {"1", "true", "yes"}


def check_disk_of(path: Path, shown: str) -> None:
    """Check that a ledger's file is not on a network file system.

    Args:
        path: The file; it need not exist.
        shown: The ledger's name in messages.

    Raises:
        LedgerUnavailableError: It is.
    """
    kind = filesystem_of(path)
    if kind in NETWORK and not is_for_one_machine():
        raise LedgerUnavailableError(
            f"The ledger {shown} is on a network file system ({kind}), where SQLite does not work "
            "for several machines: facts could be lost without an error. Nothing was submitted. "
            "Set SESSION_BLOCK_LEDGER_URL to a file on a local disk, or to a PostgreSQL database "
            "(see docs/how-to/postgresql.md, also for how to move a ledger). If no other machine "
            f"ever uses this one, set {ONE_MACHINE}=1."
        )


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))
