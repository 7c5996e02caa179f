"""The client, without what it asks again before each job, and without looking at its callers.

Before it sends a job the client asks for the instance's usage and for the backend's status, only to
warn of them; and for each request it walks the whole stack to find out which library makes it. In a
session both are billed. So it asks at most once a minute, and does not tell who calls it, unless
the environment says that it shall (``USAGE_DATA_OPT_OUT=False``).
"""

from __future__ import annotations

import os
import time
from typing import Any, Self

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

REMEMBERED_SECONDS = 60.0
"""For so long a warning, and a backend's status, are not asked for again."""

_OPT_OUT = "USAGE_DATA_OPT_OUT"


class LeanService(QiskitRuntimeService):  # type: ignore[misc]  # untyped
    """The client's service."""

    _usage_checked_at = -REMEMBERED_SECONDS

    def __init__(self, **account: Any) -> None:
        os.environ.setdefault(_OPT_OUT, "True")
        super().__init__(**account)

    def _check_instance_usage(self) -> None:
        if time.monotonic() - self._usage_checked_at >= REMEMBERED_SECONDS:
            super()._check_instance_usage()
            self._usage_checked_at = time.monotonic()


class LeanBackend(IBMBackend):  # type: ignore[misc]  # untyped
    """The client's backend, whose status is up to a minute old."""

    _known_status: tuple[float, Any] | None = None

    @classmethod
    def of(cls, backend: IBMBackend) -> Self:
        """Return a backend of the client's as one of these."""
        backend.__class__ = cls
        lean: Self = backend
        return lean

    def status(self) -> Any:
        """Return the backend's status, asked for once a minute."""
        known = self._known_status
        if known is None or time.monotonic() - known[0] >= REMEMBERED_SECONDS:
            return self.status_now()
        return known[1]

    def status_now(self) -> Any:
        """Return the backend's status, asked for now."""
        status = super().status()
        self._known_status = (time.monotonic(), status)
        return status
