"""The program of a worker process: reads jobs from standard input, one JSON object per line.

It exits when its input closes, even in the middle of a job. So it never outlives the server,
however the server died.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from dataclasses import asdict
from typing import Any, BinaryIO


def main() -> None:
    """Serve until standard input closes."""
    # Libraries may print, so redirect standard output away from the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.nice(5)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()

    # This import takes seconds. It comes here so that the thread already watches the input.
    from session_block.local_platform.execution import programs
    from session_block.local_platform.execution.refusals import ProgramFailedError

    while True:
        request = programs.Request(**json.loads(requests.get()))
        try:
            answer: dict[str, Any] = asdict(programs.run(request))
        except ProgramFailedError as error:
            answer = {
                "error": error.reason,
                "trace": traceback.format_exc(),
                "state": error.state,
                "code": error.code,
                "solution": error.solution,
                "is_free": error.is_free,
            }
        except Exception as error:  # noqa: BLE001 - any error means that the job failed
            message = f"{type(error).__name__}: {error}"
            answer = {"error": message, "trace": traceback.format_exc()}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _read(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
