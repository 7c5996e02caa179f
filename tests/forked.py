"""A child that is forked, not started."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from support import wait_until

_CHILD_SECONDS = 30


class Child:
    """A forked process that calls a function and ends; it may be waited for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                told = {"value": call()}
            except BaseException as error:  # noqa: BLE001 - told to the parent
                told = {"error": f"{type(error).__name__}: {error}"}
            os.write(write, json.dumps(told).encode())
            os._exit(0)
        os.close(write)
        self._read = read

    def answer(self) -> dict[str, Any]:
        """Wait for what the function returned or raised."""
        ended = False

        def has_ended() -> bool:
            nonlocal ended
            ended = ended or os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
            return ended

        try:
            wait_until(has_ended, seconds=_CHILD_SECONDS, what="the child ends")
        finally:
            if not ended:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        with os.fdopen(self._read) as told:
            return dict(json.loads(told.read()))
