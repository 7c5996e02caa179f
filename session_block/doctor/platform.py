"""Check a Block's credentials, instance and backend at the platform."""

from __future__ import annotations

from collections.abc import Iterator

from session_block.blocks.durations import max_time_seconds
from session_block.blocks.quantum_session import QuantumSession
from session_block.client import PLAN_WITHOUT_SESSIONS, BackendChoice, Connection
from session_block.doctor.check import Check, Verdict
from session_block.environment.durations import duration_seconds
from session_block.errors import SessionBlockError


def check_platform(block: QuantumSession) -> Iterator[Check]:
    """Check credentials, instance and backend; the others are skipped if the first fails."""
    try:
        account = block.credentials.account()
        connection = Connection(account).open()
    except SessionBlockError as error:
        yield Check("credentials", Verdict.FAILED, str(error), "See session-block setup --help")
        return
    yield Check("credentials", Verdict.OK, f"{account.url or 'IBM Quantum'} accepts them.")
    for check in (check_instance, check_plan, check_backend):
        try:
            yield check(block, connection)
        except SessionBlockError as error:
            what = check.__name__.removeprefix("check_")
            yield Check(what, Verdict.FAILED, str(error), "Change the Block, or try again.")


def check_instance(block: QuantumSession, connection: Connection) -> Check:
    """Check that the instance's plan offers what the Block needs, and that usage is left.

    Raises:
        ConnectionFailedError: The platform does not answer.
    """
    plan = connection.plan()
    allocation = connection.allocation()
    used = allocation.get("usage_consumed_seconds", 0)
    limit = allocation.get("usage_limit_seconds", allocation.get("usage_allocation_seconds"))
    spent = f"{used} s used" + (f" of {limit} s" if limit else "")
    found = f"{connection.instance} is on the {plan} plan, {spent}."
    if allocation.get("usage_limit_reached"):
        return Check(
            "instance",
            Verdict.FAILED,
            found,
            "Its usage is at the limit: raise the limit, or wait.",
        )
    if (plan, block.mode, block.without_sessions) == (PLAN_WITHOUT_SESSIONS, "session", "fail"):
        return Check(
            "instance",
            Verdict.FAILED,
            f"{found} This plan has no sessions.",
            "Set the Block's mode to 'batch' or 'job', or its without_sessions.",
        )
    return Check("instance", Verdict.OK, found)


def check_plan(block: QuantumSession, connection: Connection) -> Check:
    """Check that the instance's plan allows what the Block asks of a session.

    Raises:
        ConnectionFailedError: The platform does not answer.
    """
    caps = connection.plan_caps()
    told = {
        "sessions and batches of": caps.max_time,
        "active for": caps.active_time,
        "idle between jobs for": caps.interactive_time,
        "usage of": caps.usage,
    }
    known = [f"{what} {seconds} s" for what, seconds in told.items() if seconds is not None]
    if not known:
        return Check(
            "plan",
            Verdict.OK,
            "The platform does not say what the plan allows, so nothing is checked against it.",
        )
    found = f"The plan allows, at most: {', '.join(known)}."
    mode: str = block.mode
    longest = max_time_seconds(block.max_time)
    if mode == "session" and connection.plan() == PLAN_WITHOUT_SESSIONS:
        # Whatever runs instead is as long as the platform makes it.
        mode, longest = block.without_sessions, None
    left = duration_seconds(block.min_time_left, "min_time_left")
    refused = caps.why_not(longest, left) if mode in {"session", "batch"} else None
    if refused is not None:
        why, advice = refused
        return Check("plan", Verdict.FAILED, f"{found} But {why}.", f"{advice}.")
    return Check("plan", Verdict.OK, found)


def check_backend(block: QuantumSession, connection: Connection) -> Check:
    """Check that the Block's backend exists and is up.

    Raises:
        BackendNotFoundError: It does not exist.
        ConnectionFailedError: The platform does not answer.
    """
    name = block.backend_name
    if name is None:
        up = connection.backends.least_busy(block.min_num_qubits)
        if not up:
            return Check("backend", Verdict.WARNING, "None is up.", "Runs wait for one.")
        return Check("backend", Verdict.OK, f"Up, least busy first: {', '.join(up)}.")
    why = connection.backends.why_not_up(BackendChoice(name, calibration_id=block.calibration_id))
    if why is not None:
        advice = "Runs wait for it." if block.in_maintenance == "wait" else "Runs go elsewhere."
        return Check("backend", Verdict.WARNING, f"{name} runs no jobs now: {why}.", advice)
    return Check("backend", Verdict.OK, f"{name} is up.")
