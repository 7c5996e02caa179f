"""Open, reattach to, look at and close sessions."""

from __future__ import annotations

from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.experiments.experiment import Experiment
from session_block.references import SessionRef
from session_block.tasks.handles import durable_task, remember, task_of, twin_task


@durable_task(name="open-session")
def open_session(
    block: str | QuantumSession,
    experiment: str | None = None,
    *,
    fresh: bool = False,
    extend: bool = False,
    key: str | None = None,
) -> SessionRef:
    """Open the experiment's session, or reattach to its open one.

    Args:
        block: Name of a ``QuantumSession`` Block, or the saved Block itself.
        experiment: The experiment's name; ``None`` for one that belongs to this place in the flow
            run: the subflows on the way down, and the Block. See
            :meth:`session_block.QuantumSession.experiment`.
        fresh: Start the next experiment of that name.
        extend: If the experiment is finished, go on with it: open its next chapter.
        key: In a subflow, what tells this call from others of the same flow, in place of its
            parameters.

    Returns:
        A reference for the other tasks. If the experiment is finished, it is ``sealed``: recorded
        results are replayed, and nothing is submitted.

    Raises:
        LabelRequiredError: There is no name, and no flow run in which the place can be counted.
        InvalidInputError: The experiment began with another account, instance, mode or backend.
        BackendNotFoundError: The instance has no such backend.
        ConnectionFailedError: The platform refused the credentials, or could not be reached.

    Examples:
        >>> from prefect import flow
        >>> @flow
        ... def bell_pairs(block: str) -> int:
        ...     session = open_session(block)
        ...     result = run_sampler(session, [circuit], shots=1000)
        ...     close_session(session)
        ...     return result[0].data.meas.num_shots
        >>> bell_pairs("my-session")
        1000

        Outside a flow, the experiment needs a name:

        >>> session = open_session("my-session", "bell-pairs")
        >>> session.experiment
        'bell-pairs'
    """
    opened = load_block(block).experiment(experiment, fresh=fresh, extend=extend, key=key)
    opened.open_session()
    return remember(opened)


@durable_task(name="reattach-session")
def reattach_session(
    block: str | QuantumSession,
    session_id: str,
    experiment: str | None = None,
    *,
    key: str | None = None,
) -> SessionRef:
    """Attach to an existing session by its ID.

    A session that this experiment did not open is borrowed: it is never closed or renewed.

    Args:
        block: Name of a ``QuantumSession`` Block for the session's instance and backend, or
            the saved Block itself.
        session_id: The session's ID.
        experiment: The experiment's name, or ``None``; see :func:`open_session`.
        key: In a subflow, what tells this call from others of the same flow.

    Raises:
        SessionNotFoundError: The instance has no session with this ID.
        SessionMismatchError: Its backend or mode differs from the Block's.
        SessionClosedError: It accepts no more jobs.

    Examples:
        >>> theirs = open_session("my-session", "their-experiment")
        >>> mine = reattach_session("my-session", theirs.session_id, "my-experiment")
        >>> mine.session_id == theirs.session_id, mine.borrowed
        (True, True)
    """
    opened = load_block(block).experiment(experiment, key=key)
    opened.borrow_session(session_id)
    return remember(opened)


session_details = task_of("session-details", Experiment.session_details)
session_status = task_of("session-status", Experiment.session_status)
session_usage = task_of("session-usage", Experiment.session_usage)
close_session = task_of("close-session", Experiment.finish)
cancel_session = task_of("cancel-session", Experiment.cancel_session)

aopen_session = twin_task(open_session)
areattach_session = twin_task(reattach_session)
asession_details = twin_task(session_details)
asession_status = twin_task(session_status)
asession_usage = twin_task(session_usage)
aclose_session = twin_task(close_session)
acancel_session = twin_task(cancel_session)
