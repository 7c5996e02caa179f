"""The platform's admin API, beside the quantum API: faults, clock, calibrations, counts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from session_block.errors import PlatformError
from session_block.local_platform.api.local_access import KEY_HEADER
from session_block.local_platform.workloads.session_lifecycle import (
    HowToEnd,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from session_block.local_platform.process.discovery import PlatformInfo

_TIMEOUT_SECONDS = 600.0


class Admin:
    """The admin API of the platform at an origin such as ``http://127.0.0.1:8000``.

    Every method raises PlatformError if the platform refuses the call or does not answer. Without
    the owner's key it refuses all but :meth:`now`. A key is that of one server process: after a new
    start, take the admin API anew.

    Examples:
        >>> from session_block.local_platform import Admin, find
        >>> admin = Admin.of(find())
        >>> admin.stats()["jobs"]["total"] >= 0
        True
    """

    def __init__(self, origin: str, owner_key: str = "") -> None:
        self._origin = origin
        self._owner_key = owner_key

    @classmethod
    def of(cls, info: PlatformInfo) -> Admin:
        """Return the admin API of a platform that was found.

        Examples:
            >>> from session_block.local_platform import Admin, find
            >>> Admin.of(find()).now() > 0
            True
        """
        return Admin(info.origin, info.owner_key)

    def stats(self) -> dict[str, Any]:
        """Return the counts of requests by route, and of jobs and sessions by state and tag.

        Examples:
            >>> before = platform.stats()["jobs"]["total"]
            >>> result = experiment.run_sampler([circuit])
            >>> platform.stats()["jobs"]["total"] - before
            1
        """
        return self._ask("GET", "stats")

    def jobs(self, *, limit: int = 200, offset: int = 0) -> list[dict[str, Any]]:
        """Return all jobs that the platform ever saw, deleted ones included, newest first.

        Examples:
            >>> job = experiment.submit_sampler([circuit])
            >>> newest = platform.jobs(limit=1)[0]
            >>> newest["id"] == job.job_id, newest["backend"]
            (True, 'ibm_manila')
        """
        return list(self._ask("GET", f"jobs?limit={limit}&offset={offset}")["jobs"])

    def sessions(self, *, limit: int = 200, offset: int = 0) -> list[dict[str, Any]]:
        """Return all sessions that the platform ever saw, newest first.

        Examples:
            >>> session_id = experiment.open_session()
            >>> session_id in [one["id"] for one in platform.sessions()]
            True
        """
        return list(self._ask("GET", f"sessions?limit={limit}&offset={offset}")["sessions"])

    def add_fault(self, **rule: Any) -> str:
        """Add a fault rule and return its ID; the documentation lists the fields of a rule.

        Examples:
            The platform accepts the next job, but its answer is lost. The job is found by its tag:

            >>> rule = platform.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
            >>> before = platform.stats()["jobs"]["total"]
            >>> experiment.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
            1000
            >>> platform.stats()["jobs"]["total"] - before
            1
        """
        return str(self._ask("POST", "faults", rule)["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return the fault rules, with how many calls each matched and how many it hit.

        Examples:
            >>> rule = platform.add_fault(kind="delay", method="POST", path="/jobs", seconds=0.1)
            >>> result = experiment.run_sampler([circuit])
            >>> [one["used"] for one in platform.faults() if one["id"] == rule]
            [1]
        """
        return list(self._ask("GET", "faults")["faults"])

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Remove one fault rule, or all of them.

        Examples:
            >>> rule = platform.add_fault(kind="maintenance", backend="ibm_fez")
            >>> platform.clear_faults(rule)
            >>> rule in [one["id"] for one in platform.faults()]
            False
        """
        self._ask("DELETE", "faults" if fault_id is None else f"faults/{fault_id}")

    def now(self) -> float:
        """Return the platform's time in Unix seconds.

        Examples:
            >>> first = platform.now()
            >>> platform.now() >= first
            True
        """
        return float(self._ask("GET", "clock")["moment"])

    def advance(self, seconds: float) -> float:
        """Advance the clock through everything due in these seconds; return the new Unix time.

        Examples:
            >>> before = platform.now()
            >>> platform.advance(10) - before >= 10  # and all that is due in them has happened
            True
        """
        return float(self._ask("POST", "clock", {"advance": seconds})["moment"])

    def end_session(self, session_id: str, by: HowToEnd) -> None:
        """End a session or batch without its client.

        Args:
            session_id: Its ID.
            by: ``close`` or ``cancel``, as a person does on IBM's page; ``max_time``, as if its
                maximum time were over; ``cost_limit``, as if its instance had reached its cost
                limit: the limit becomes what the instance has used, and all its sessions end.

        Examples:
            >>> session_id = experiment.open_session()
            >>> platform.end_session(session_id, by="close")  # as a person does on IBM's page
            >>> experiment.session_status()
            'Closed'
        """
        self._ask("POST", f"sessions/{session_id}/end", {"by": by})

    def set_usage_limit(self, instance: str, seconds: int | None) -> dict[str, Any]:
        """Give an instance another cost limit, and return its usage as the API shows it.

        If its usage has reached the limit, all its sessions and batches end at once.

        Args:
            instance: Its name or CRN.
            seconds: The limit in seconds of usage; None for no limit.

        Examples:
            >>> usage = platform.set_usage_limit("local-platform-eu", 600)
            >>> usage["usage_limit_seconds"]
            600
        """
        return self._ask("POST", "usage_limit", {"instance": instance, "seconds": seconds})

    def calibrate(
        self,
        backend: str,
        *,
        faulty_qubits: Sequence[int] = (),
        faulty_gates: Sequence[Sequence[Any]] = (),
    ) -> str:
        """Give a backend a new calibration and return its ID.

        A faulty gate is its name followed by its qubits, such as ``["cx", 0, 1]``.

        Examples:
            >>> faulty = {"faulty_qubits": [3], "faulty_gates": [["cx", 0, 1]]}
            >>> first = platform.calibrate("ibm_hanoi", **faulty)
            >>> second = platform.calibrate("ibm_hanoi")  # all is well again
            >>> first != second
            True
        """
        body = {
            "faulty_qubits": list(faulty_qubits),
            "faulty_gates": [list(gate) for gate in faulty_gates],
        }
        return str(self._ask("POST", f"backends/{backend}/calibration", body)["calibration_id"])

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the origin is the platform's
            f"{self._origin}/_local/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                KEY_HEADER: self._owner_key,
            },
        )
        # No proxy, even if the environment names one: the platform is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            raise PlatformError(f"the platform refused {method} {path}: {said}") from None
        except (urllib.error.URLError, OSError) as error:
            raise PlatformError(
                f"the platform at {self._origin} does not answer: {error}"
            ) from None
        content: dict[str, Any] = json.loads(text) if text else {}
        return content
