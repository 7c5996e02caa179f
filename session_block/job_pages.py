"""Where a person can look at a job."""

from __future__ import annotations

from urllib.parse import urlsplit

from session_block.account import is_loopback

_IBM_HOSTS = ".cloud.ibm.com"
_IBM_WORKLOADS = "https://quantum.cloud.ibm.com/workloads/"


def job_page(url: str | None, job_id: str) -> str | None:
    """Return the address of a job's page, or ``None`` where there is none.

    Args:
        url: Where its platform is reached.
        job_id: The job.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(_IBM_HOSTS):
        return f"{_IBM_WORKLOADS}{job_id}"
    return f"{parts.scheme}://{parts.netloc}/#{job_id}" if is_loopback(url) else None
