"""A program whose process is forked again and again while it works; the children read, and die."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from session_block import crashpoints
from session_block.experiments.experiment import Experiment

CHILD_SECONDS = 20.0
"""A child that takes longer hangs, as on a lock that nobody will release."""

_PAUSE_SECONDS = 0.2


@contextmanager
def forked_meanwhile(experiment: Experiment) -> Iterator[None]:
    """Fork children, one after another, until the ``with`` block ends.

    Raises:
        RuntimeError: A child hung, or failed otherwise than as it was to.
    """
    done, wrong = threading.Event(), list[str]()

    def fork() -> None:
        for number in count():
            if done.wait(_PAUSE_SECONDS):
                return
            child = os.fork()
            if child == 0:
                _work(experiment, number)
            code = _end_of(child)
            if code not in {0, -signal.SIGKILL}:
                wrong.append(f"child {number} ended with {code}")

    thread = threading.Thread(target=fork)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if wrong:
            raise RuntimeError(f"forked children went wrong: {wrong}")


def _work(experiment: Experiment, number: int) -> None:
    """Use ledger and platform, and end: normally, through the ``with`` block, or killed."""
    code = 1
    faulthandler.enable()  # tells where it hangs
    try:
        crashpoints._lock = threading.Lock()  # the fork may have cut off its holder
        for name in (crashpoints.CRASH_AT, crashpoints.CRASH_LOG):
            os.environ.pop(name, None)
        with experiment:
            assert experiment.usage().jobs is not None
        if number % 3 == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        code = 0
    finally:
        os._exit(code)


def _end_of(child: int) -> int:
    until = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGABRT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
