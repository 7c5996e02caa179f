"""Which failures of a job are passing, and how many of them a submission survives."""

from __future__ import annotations

PASSING_CODES = (9707,)
"""The platform's codes of temporary failures.

IBM publishes no list of such codes. 9707 (temporary internal error) is known from other clients.
"""

MAX_PASSING_FAILURES = 3
"""How many jobs of a submission may fail in passing before no more are run."""


def is_passing_failure(reason: str, failures: int) -> bool:
    """Whether a failed job's submission gets another job.

    Args:
        reason: The platform's reason for the job's failure.
        failures: How many of the submission's jobs have failed in passing before.
    """
    passing = any(f"Error code {code};" in reason for code in PASSING_CODES)
    return passing and failures < MAX_PASSING_FAILURES
