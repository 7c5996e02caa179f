"""The only place that uses ``qiskit_ibm_runtime``'s service, and its private parts.

These private parts are used, because there is no public way: the paged job listing (the public one
may loop forever on a wrong count), the listing of workloads, what a primitive sends
(``programs``), how it decodes results (``results``), attaching to a session that has had no
job yet (``Session.from_id`` needs its backend, and changes the service's active instance), a failed
job's reason if its results cannot be read, the addresses and the version of IBM's API
(``addresses``), where accounts are saved and which is the default (``saved_accounts``), and the
certificates and proxies of requests after the
first, including those for access tokens (``service``). ``tests/client/test_client.py`` fails if one
of them changes.
"""

from session_block.client.backends import BackendChoice
from session_block.client.connection import Connection, at_once
from session_block.client.jobs import JobMetrics, ListedJob, is_known_to_have_failed, reason_of
from session_block.client.plans import PLAN_WITHOUT_SESSIONS, PlanCaps
from session_block.client.programs import Program, send_program
from session_block.client.results import EXECUTOR, decoded, post_processors, raw_result
from session_block.client.sessions import ListedSession

__all__ = [
    "EXECUTOR",
    "PLAN_WITHOUT_SESSIONS",
    "BackendChoice",
    "Connection",
    "JobMetrics",
    "ListedJob",
    "ListedSession",
    "PlanCaps",
    "Program",
    "at_once",
    "decoded",
    "is_known_to_have_failed",
    "post_processors",
    "raw_result",
    "reason_of",
    "send_program",
]
