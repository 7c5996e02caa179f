from __future__ import annotations

from dataclasses import replace

from session_block.local_platform.workloads import session_lifecycle
from session_block.local_platform.workloads.session_lifecycle import (
    CLOSED_COST_LIMIT,
    CLOSED_EARLY,
    CLOSED_MAX_TIME,
    CLOSED_UNUSED,
    CREATED,
    INACTIVATED,
    JobFacts,
    Session,
)

NONE = JobFacts()
QUEUED = JobFacts(queued=1)
RUNNING = JobFacts(running=1)


def new(**changes: object) -> Session:
    """Return a session opened at 0 with 1000 s of maximum and 60 s of interactive time."""
    session = Session(
        id="s",
        mode="dedicated",
        backend="ibm_manila",
        instance="crn",
        account="account",
        max_ttl=1000,
        interactive_ttl=60,
        created_at=0.0,
    )
    return session_lifecycle.opened(replace(session, **changes))  # type: ignore[arg-type]


def after_one_job(start: float = 10.0, end: float = 20.0) -> Session:
    """Return a session whose only job so far ran from ``start`` to ``end``."""
    session = session_lifecycle.job_started(new(), start)
    return session_lifecycle.job_ended(session, JobFacts(idle_since=end), end)


def states(session: Session) -> list[tuple[str, float]]:
    """Return a session's transitions."""
    return [(entry.status, entry.timestamp) for entry in session.timestamps]


def test_stays_open_until_its_first_job_runs() -> None:
    """A session with a queued job stays open, and its maximum time does not run."""
    session = session_lifecycle.advance(new(), QUEUED, 5000.0)
    assert session.state == "open"
    assert session_lifecycle.remaining_seconds(session, 5000.0) == 1000


def test_becomes_active_when_a_job_runs() -> None:
    """The first running job makes the session active and starts its maximum time."""
    session = session_lifecycle.job_started(new(), 10.0)
    assert (session.state, session.started_at, session.activated_at) == ("active", 10.0, 10.0)
    assert session_lifecycle.remaining_seconds(session, 110.0) == 900


def test_rests_after_the_interactive_time() -> None:
    """An idle session is inactive from the moment its interactive time was over, however late."""
    session = session_lifecycle.advance(after_one_job(), JobFacts(idle_since=20.0), 500.0)
    assert states(session) == [("open", 0.0), ("active", 10.0), ("inactive", 80.0)]


def test_a_queued_job_keeps_it_active() -> None:
    """A session with a queued job does not go inactive."""
    session = session_lifecycle.advance(after_one_job(), replace(QUEUED, idle_since=20.0), 500.0)
    assert session.state == "active"


def test_becomes_active_again() -> None:
    """The next job wakes an inactive session, and only active time counts as usage."""
    session = session_lifecycle.advance(after_one_job(), JobFacts(idle_since=20.0), 500.0)
    session = session_lifecycle.job_started(session, 600.0)
    assert session.state == "active"
    assert session.started_at == 10.0
    assert session.activated_at == 600.0
    assert session_lifecycle.elapsed_seconds(session, RUNNING, 605.0) == 70.0 + 5.0


def test_closes_at_its_maximum_time() -> None:
    """A session closes at its maximum time after the first start, also while inactive."""
    session = session_lifecycle.advance(after_one_job(), JobFacts(idle_since=20.0), 9999.0)
    assert states(session)[-2:] == [("inactive", 80.0), ("closed", 1010.0)]
    assert not session.accepting_jobs
    assert session_lifecycle.elapsed_seconds(session, NONE, 9999.0) == 70.0


def test_a_running_job_outlives_the_maximum_time() -> None:
    """Usage of a session that closed around a running job goes on until that job ends."""
    session = session_lifecycle.advance(session_lifecycle.job_started(new(), 10.0), RUNNING, 1500.0)
    assert (session.state, session.closed_at) == ("closed", 1010.0)
    assert session_lifecycle.elapsed_seconds(session, RUNNING, 1500.0) == 1490.0
    session = session_lifecycle.job_ended(session, JobFacts(idle_since=1600.0), 1600.0)
    assert session.state == "closed"
    assert session_lifecycle.elapsed_seconds(session, NONE, 9999.0) == 1590.0


def test_an_unused_session_closes_after_half_an_hour() -> None:
    """A session without a job closes 30 minutes after it was opened."""
    assert session_lifecycle.advance(new(), NONE, 1799.0).state == "open"
    assert session_lifecycle.advance(new(), NONE, 9999.0).closed_at == 1800.0


def test_close_waits_for_pending_jobs() -> None:
    """A session that takes no more jobs closes when the last pending one ends."""
    session = session_lifecycle.job_started(new(), 10.0)
    session = session_lifecycle.stop_accepting(session, RUNNING, 15.0)
    assert (session.state, session.accepting_jobs) == ("active", False)
    session = session_lifecycle.job_ended(session, JobFacts(idle_since=20.0), 20.0)
    assert (session.state, session.closed_at) == ("closed", 20.0)


def test_close_is_immediate_without_pending_jobs() -> None:
    """A session that takes no more jobs and has none closes at once."""
    session = session_lifecycle.stop_accepting(after_one_job(), JobFacts(idle_since=20.0), 30.0)
    assert (session.state, session.closed_at) == ("closed", 30.0)
    assert session_lifecycle.elapsed_seconds(session, NONE, 99.0) == 20.0


def test_closed_is_final() -> None:
    """Nothing changes a closed session."""
    session = session_lifecycle.advance(new(), NONE, 9999.0)
    assert session_lifecycle.advance(session, QUEUED, 10**6) == session
    assert session_lifecycle.stop_accepting(session, NONE, 10**6) == session


def test_a_closed_one_takes_the_flag_and_stays_closed() -> None:
    """``accepting_jobs`` of a session that has ended goes back and forth, and nothing follows."""
    closed = session_lifecycle.advance(new(), NONE, 9999.0)
    again = session_lifecycle.accept_again(closed)
    assert again == replace(closed, accepting_jobs=True)
    assert session_lifecycle.advance(again, NONE, 10**6) == again
    assert session_lifecycle.stop_accepting(again, NONE, 10**6) == closed


def test_the_reason_follows_the_state() -> None:
    """IBM's words where they are known; from being about to rest until the next job, idling."""
    assert new().state_reason == "session_created" == CREATED
    session = session_lifecycle.advance(
        replace(after_one_job(), pending_seconds=5.0), JobFacts(idle_since=20.0), 82.0
    )
    assert session.state == "pending_inactive"
    assert session.state_reason == "session_inactivated_by_interactive_ttl" == INACTIVATED
    assert session_lifecycle.job_started(session, 83.0).state_reason == CREATED
    closed = session_lifecycle.stop_accepting(session, NONE, 83.0)
    assert closed.state_reason == "session_closed_early" == CLOSED_EARLY


def test_guessed_reasons_do_not_look_like_those_of_ibm() -> None:
    """Every end has its own reason, and a program can tell a guess from a word of IBM's."""
    guesses = {CLOSED_MAX_TIME, CLOSED_COST_LIMIT, CLOSED_UNUSED}
    assert len(guesses) == 3
    assert all(" " in guess and "_" not in guess for guess in guesses)
    assert session_lifecycle.advance(new(), NONE, 9999.0).state_reason == CLOSED_UNUSED
    assert session_lifecycle.advance(after_one_job(), NONE, 9999.0).state_reason == CLOSED_MAX_TIME
    limited = session_lifecycle.expire(after_one_job(), NONE, 30.0, CLOSED_COST_LIMIT)
    assert limited.state_reason == CLOSED_COST_LIMIT
    assert session_lifecycle.expire(limited, NONE, 31.0) == limited


def test_a_batch_is_charged_by_its_jobs() -> None:
    """A batch's usage is the sum of its jobs' usage, not wall-clock time."""
    session = replace(after_one_job(), mode="batch")
    assert session_lifecycle.elapsed_seconds(session, JobFacts(usage_seconds=3.5), 999.0) == 3.5


def test_looking_more_often_changes_nothing() -> None:
    """A session advanced at every second ends like one advanced once."""
    facts = JobFacts(idle_since=20.0)
    session = after_one_job()
    for second in range(20, 1200):
        session = session_lifecycle.advance(session, facts, float(second))
    assert session == session_lifecycle.advance(after_one_job(), facts, 1199.0)


def test_pending_states_last_as_long_as_they_are_set_to() -> None:
    """A session rests and closes by way of the pending states, if these take time."""
    session = replace(after_one_job(), pending_seconds=5.0)
    idle = JobFacts(idle_since=20.0)
    assert session_lifecycle.advance(session, idle, 82.0).state == "pending_inactive"
    session = session_lifecycle.advance(session, idle, 9999.0)
    assert states(session)[2:] == [
        ("pending_inactive", 80.0),
        ("inactive", 85.0),
        ("pending_closed", 1010.0),
        ("closed", 1015.0),
    ]
    assert session_lifecycle.elapsed_seconds(session, NONE, 9999.0) == 70.0


def test_a_job_wakes_a_session_that_is_about_to_rest() -> None:
    """A job that starts while its session is pending_inactive makes it active again."""
    session = replace(after_one_job(), pending_seconds=5.0)
    session = session_lifecycle.advance(session, JobFacts(idle_since=20.0), 82.0)
    session = session_lifecycle.job_started(session, 83.0)
    assert session.state == "active"
    assert session_lifecycle.elapsed_seconds(session, RUNNING, 84.0) == 70.0 + 1.0


def test_a_pending_end_waits_for_the_running_job() -> None:
    """A session that is pending_closed closes when its running job has ended, not before."""
    session = replace(session_lifecycle.job_started(new(), 10.0), pending_seconds=5.0)
    session = session_lifecycle.advance(session, RUNNING, 1500.0)
    assert (session.state, session.closed_at, session.ended) == ("pending_closed", None, True)
    assert session_lifecycle.due(session, RUNNING) is None
    session = session_lifecycle.job_ended(session, JobFacts(idle_since=1600.0), 1600.0)
    assert (session.state, session.closed_at) == ("closed", 1600.0)
    assert session_lifecycle.elapsed_seconds(session, NONE, 9999.0) == 1590.0


def test_a_pending_end_is_not_charged() -> None:
    """Usage ends with the last job, or with the session if none runs, not when it is closed."""
    session = replace(after_one_job(), pending_seconds=500.0)
    idle = JobFacts(idle_since=20.0)
    closed = session_lifecycle.stop_accepting(session, idle, 30.0)
    assert closed.state == "pending_closed"
    assert session_lifecycle.elapsed_seconds(closed, NONE, 400.0) == 20.0
    closed = session_lifecycle.advance(closed, idle, 9999.0)
    assert (
        closed.closed_at,
        session_lifecycle.elapsed_seconds(closed, NONE, 9999.0),
    ) == (
        530.0,
        20.0,
    )
    session = session_lifecycle.job_started(session, 1005.0)
    session = session_lifecycle.advance(session, RUNNING, 1020.0)
    assert (session.state, session.closed_at) == ("pending_closed", None)
    assert session_lifecycle.elapsed_seconds(session, RUNNING, 1020.0) == 10.0 + 1000.0
    session = session_lifecycle.job_ended(session, JobFacts(idle_since=1030.0), 1030.0)
    assert session.state == "pending_closed"
    assert session_lifecycle.elapsed_seconds(session, NONE, 1400.0) == 10.0 + 1010.0
    session = session_lifecycle.advance(session, JobFacts(idle_since=1030.0), 9999.0)
    assert (
        session.closed_at,
        session_lifecycle.elapsed_seconds(session, NONE, 9999.0),
    ) == (
        1510.0,
        1020.0,
    )


def test_says_when_it_changes_next() -> None:
    """The next timed transition is known beforehand."""
    assert session_lifecycle.due(new(), NONE) == 1800.0
    assert session_lifecycle.due(new(), QUEUED) is None
    assert session_lifecycle.due(after_one_job(), JobFacts(idle_since=20.0)) == 80.0
    assert session_lifecycle.due(session_lifecycle.job_started(new(), 10.0), RUNNING) == 1010.0
    closed = session_lifecycle.expire(after_one_job(), NONE, 30.0)
    assert (closed.state, closed.state_reason) == ("closed", CLOSED_MAX_TIME)
    assert session_lifecycle.due(closed, NONE) is None
