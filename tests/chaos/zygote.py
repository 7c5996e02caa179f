"""A process that has imported everything, and forks one real process for each attempt.

It has no other threads, no HTTP client and no database connection, so a fork is as good as a start.
It reads orders as lines of JSON, and answers each with a line: the process ID of a new child, or
what became of one.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import traceback
from typing import Any

from . import child

STOPPED = "stopped"


def main() -> None:
    """Serve until the orders end."""
    tasks = os.listdir("/proc/self/task")  # noqa: PTH208
    if len(tasks) != 1:
        raise SystemExit(f"the zygote has {len(tasks)} threads, so it must not fork")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    # IBM's client looks at its callers' source for each request; the first time is the slow one.
    inspect.stack()
    _answer(os.getpid())
    for line in sys.stdin.buffer:
        order = json.loads(line)
        _answer(_wait(order["wait"]) if "wait" in order else _fork(order))


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = child.WRONG
    try:
        _redirect(order["log"])
        # Whoever ordered this process may want to know it before it does anything.
        signal.sigwait({signal.SIGUSR1})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        code = child.run(order)
    except BaseException:  # noqa: BLE001 - the log has it, and the exit code says so
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int | str:
    """Return a child's exit code as soon as it has ended, or that it was stopped."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    return STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def _redirect(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)


def _answer(what: int | str) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
