"""What the tries of a task ask for: a retry repeats its requests before it makes new ones."""

from __future__ import annotations

import threading
from collections import defaultdict

from session_block.prefect_context import TaskAttempt


class TaskTries:
    """The requests of each try of each task run, in one opening of an experiment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self._askers: defaultdict[TaskAttempt, set[object]] = defaultdict(set)

    def note(self, task: TaskAttempt, submission: str, asker: object) -> None:
        """Note a request of a task's try.

        Args:
            task: The task run and its try.
            submission: The request's submission.
            asker: The thread or asyncio task that asks.
        """
        with self._lock:
            self._asked[task.task_run_id][task.run_count].add(submission)
            self._askers[task].add(asker)

    def unasked(self, task: TaskAttempt) -> set[str]:
        """Return what earlier tries asked for and this one has not; nothing if it asks at once.

        Limit: the threads of one try have no order, so nothing can be told of them.
        """
        with self._lock:
            if len(self._askers[task]) > 1:
                return set()
            tries = self._asked[task.task_run_id]
            earlier = (asked for count, asked in tries.items() if count < task.run_count)
            return set().union(*earlier) - tries[task.run_count]
