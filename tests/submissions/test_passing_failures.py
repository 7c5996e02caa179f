"""Passing failures: which codes they have, and how many of them a submission survives."""

from __future__ import annotations

from session_block.submissions.passing_failures import MAX_PASSING_FAILURES, is_passing_failure


def test_only_listed_codes_pass_by_themselves() -> None:
    """A longer code that begins alike is another one."""
    assert is_passing_failure("Error code 9707; Temporary Internal Error", 0)
    assert not is_passing_failure("Error code 97075; something else", 0)


def test_the_next_failure_after_too_many_is_final() -> None:
    """As many jobs as the bound may fail; then no more are run."""
    reason = "Error code 9707; Temporary Internal Error"
    assert is_passing_failure(reason, MAX_PASSING_FAILURES - 1)
    assert not is_passing_failure(reason, MAX_PASSING_FAILURES)
