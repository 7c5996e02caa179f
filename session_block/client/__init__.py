"""The one place that touches ``qiskit_ibm_runtime``'s service, and what is not public of it.

Not public, since there is no public way: the page-wise job listing (the public one may loop for
ever on a wrong count), the listing of workloads, attaching to a session that no job has used yet
(``Session.from_id`` needs its backend, and changes the service's active instance), a failed job's
reason while its results cannot be read, and the certificates and proxies of requests after the
first, for access tokens too (``service``). ``tests/client/test_client.py`` notices when one of them
changes.
"""

from session_block.client.backends import BackendChoice
from session_block.client.connection import Connection
from session_block.client.jobs import JobMetrics, ListedJob, is_known_to_have_failed, reason_of
from session_block.client.sessions import ListedSession

__all__ = [
    "BackendChoice",
    "Connection",
    "JobMetrics",
    "ListedJob",
    "ListedSession",
    "is_known_to_have_failed",
    "reason_of",
]
