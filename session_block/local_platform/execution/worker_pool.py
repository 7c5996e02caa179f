"""A pool of worker processes that run jobs, so that the API stays responsive."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_SECONDS = 0.05
# One thread per worker, so that results do not depend on the machine and the API gets CPU time.
_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "QISKIT_PARALLEL": "FALSE",
}


class WorkerDiedError(RuntimeError):
    """A worker process ended before it answered."""


class WorkerPool:
    """Worker processes that start immediately and load their libraries in the background."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._attempts = size + 1
        self._stopped = False
        self._workers: set[_Worker] = set()
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(size):
            self._add()

    def run(self, request: Mapping[str, Any], abandoned: threading.Event) -> dict[str, Any] | None:
        """Run a job on the next free worker, and return the answer.

        If the worker dies, try another one. After one attempt more than the pool has workers, the
        job has failed.

        Returns:
            The worker's answer, or None if ``abandoned`` was set meanwhile.
        """
        line = json.dumps(request).encode() + b"\n"
        for _ in range(self._attempts):
            worker = self._take(abandoned)
            if worker is None:
                return None
            try:
                answer = worker.ask(line, abandoned)
            except WorkerDiedError:
                self._replace(worker)
                continue
            if answer is None:
                self._replace(worker)
                return None
            self._idle.put(worker)
            return answer
        text = "The process that ran the job died."
        return {"error": text, "trace": text}

    def stop(self) -> None:
        """Kill all workers, even in the middle of a job."""
        with self._lock:
            self._stopped = True
            workers = list(self._workers)
            self._workers.clear()
        for worker in workers:
            worker.end()

    def _take(self, abandoned: threading.Event) -> _Worker | None:
        while not abandoned.is_set():
            try:
                return self._idle.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        return None

    def _replace(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
        worker.end()
        self._add()

    def _add(self) -> None:
        with self._lock:
            if self._stopped:
                return
            worker = _Worker()
            self._workers.add(worker)
        self._idle.put(worker)


class _Worker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "session_block.local_platform.execution.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_SINGLE_THREADED},
        )

    def ask(self, line: bytes, abandoned: threading.Event) -> dict[str, Any] | None:
        """Return the worker's answer, or None if ``abandoned`` is set first.

        Raises:
            WorkerDiedError: The worker ended before it answered.
        """
        try:
            _pipe(self._process.stdin).write(line)
            _pipe(self._process.stdin).flush()
        except OSError as error:
            raise WorkerDiedError from error
        answers = _pipe(self._process.stdout)
        while not select.select([answers], [], [], _POLL_SECONDS)[0]:
            if abandoned.is_set():
                return None
        answer = answers.readline()
        if not answer.endswith(b"\n"):
            raise WorkerDiedError
        content: dict[str, Any] = json.loads(answer)
        return content

    def end(self) -> None:
        """Kill the process and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                _pipe(pipe).close()
            except BrokenPipeError:
                # The process ended with unread input.
                continue


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise WorkerDiedError
    return pipe
