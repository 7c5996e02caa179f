"""Describe who carries out an intent, and decide whether that sender may still be at work.

A sender is gone when its attempt has returned, when its process is known to be dead, or when its
deadline has passed by the waiter's own clock. So a paused process counts as gone too, and finds its
generation decided when it wakes. There are no heartbeats.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from session_block.environment.environment import Environment
from session_block.records.keys import Sender
from session_block.records.submissions import Submission

SUBMIT_DEADLINE = "SESSION_BLOCK_SUBMIT_DEADLINE_SECONDS"

SUBMIT_DEADLINE_SECONDS = 960.0
"""Longer than the client waits for the answer to a POST (900 s)."""


_logger = logging.getLogger(__name__)


@contextmanager
def sending(environment: Environment) -> Iterator[Sender]:
    """Yield a live sender; it counts as gone when the ``with`` block ends."""
    token = f"{environment.own_token}{environment.new_id()[:16]}"
    with environment.lock:
        environment.live_attempts.add(token)
    try:
        yield _sender(token, environment)
    finally:
        with environment.lock:
            environment.live_attempts.discard(token)


def sender_here(environment: Environment) -> Sender:
    """Describe this process, for as long as it lives."""
    return _sender(environment.own_token, environment)


def _sender(token: str, environment: Environment) -> Sender:
    process = environment.process()
    return Sender(
        token=token,
        machine=process.machine,
        boot=process.boot,
        pid=process.pid,
        started=process.started,
    )


def is_another_running(sender: Sender, environment: Environment) -> bool:
    """Whether the sender is another process that runs now. ``True`` is certain, ``False`` is not.

    Of another machine's or container's processes nothing can be seen from here.
    """
    if sender.token.startswith(environment.own_token) or sender.started is None:
        return False
    return _is_in_sight(sender, environment) and environment.may_be_running(
        sender.pid, sender.started
    )


def may_be_alive(sender: Sender, environment: Environment) -> bool:
    """Whether the sender may still be at work. ``False`` is certain, ``True`` is not."""
    if sender.token.startswith(environment.own_token):
        with environment.lock:
            return sender.token in environment.live_attempts
    if not _is_in_sight(sender, environment):
        return True
    return environment.may_be_running(sender.pid, sender.started)


def _is_in_sight(sender: Sender, environment: Environment) -> bool:
    """Whether the end of a sender could be seen from here.

    Not on another machine or in another container. After a restart of this machine neither: that
    looks the same where hosts or containers share a name. Limit: a running virtual machine that was
    copied has all the marks of the first one.
    """
    me = environment.process()
    return me.sees_others and (sender.machine, sender.boot) == (me.machine, me.boot)


class SenderWatch:
    """Gives senders a deadline, counted from when this process first saw their intent.

    The deadline matters for a sender on another machine, which cannot be seen to be dead.

    Args:
        environment: Provides clock and processes.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._first_seen: dict[tuple[str, int], float] = {}

    def may_still_send(self, recorded: Submission) -> bool:
        """Whether somebody may still send the latest generation's request."""
        latest = recorded.latest
        if latest is None or latest.outcome is not None or latest.held:
            return False
        if latest.intent.sender is None:
            # Restored or adopted: its job was sent before, so nobody will send it now.
            return False
        now, sender = self._environment.monotonic(), latest.intent.sender
        deadline = float(os.environ.get(SUBMIT_DEADLINE, SUBMIT_DEADLINE_SECONDS))
        if (recorded.id, latest.number) not in self._first_seen:
            self._first_seen[recorded.id, latest.number] = now
            if deadline > 0 and not _is_in_sight(sender, self._environment):
                _logger.warning(
                    "Submission %s was being sent by process %d on %s. Whether that has ended "
                    "cannot be seen from here, so this waits up to %.0f s for its job.",
                    recorded.id,
                    sender.pid,
                    sender.machine,
                    deadline,
                )
        first_seen = self._first_seen[recorded.id, latest.number]
        return now - first_seen < deadline and may_be_alive(sender, self._environment)
