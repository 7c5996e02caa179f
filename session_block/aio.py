"""Async twins: blocking calls, made in threads for the coroutines that await them.

IBM's client is synchronous. So a twin runs the blocking call of the same name in its own daemon
thread, with the caller's context variables; the event loop is not blocked.

If the coroutine is cancelled, its call is *abandoned*: the coroutine ends at once, the call gives
back what it held, and the thread ends at its next pause, or before it submits anything more. A
request that is being sent at that moment still arrives, and is recorded.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Call:
    """A blocking call that can be abandoned by the coroutine that awaits it.

    Attributes:
        asker: The asyncio task that awaits the call, or the ID of the thread that makes it
            directly.
    """

    def __init__(self, asker: object) -> None:
        self.asker = asker
        self._lock = threading.Lock()
        self._abandoned = threading.Event()
        self._undo: list[Callable[[], object]] = []

    def abandon(self) -> None:
        """Give back everything that the call holds, and make it end soon."""
        with self._lock:
            self._abandoned.set()
            while self._undo:
                self._undo.pop()()

    def end_if_abandoned(self, pause_seconds: float = 0) -> None:
        """End the call if it is abandoned, even in the middle of a pause.

        Args:
            pause_seconds: Seconds to wait for that.

        Raises:
            asyncio.CancelledError: The call is abandoned.
        """
        if self._abandoned.wait(pause_seconds):
            raise asyncio.CancelledError(
                "Nobody waits for this call any more. A submitted job continues."
            )

    @contextmanager
    def holding(
        self,
        take: Callable[[], T],
        give_back: Callable[[T], object],
        *,
        unless: tuple[type[Exception], ...] = (),
    ) -> Iterator[T]:
        """Hold something, and give it back if the call fails, or at once if it is abandoned.

        Args:
            take: Takes it.
            give_back: Gives back what was taken; never called twice.
            unless: Errors after which it is kept.

        Raises:
            asyncio.CancelledError: The call is abandoned already.
        """
        with self._lock:
            self.end_if_abandoned()
            taken = take()
            undo = partial(give_back, taken)
            self._undo.append(undo)
        try:
            yield taken
        except BaseException as error:
            with self._lock:
                if undo in self._undo:
                    self._undo.remove(undo)
                    if not isinstance(error, unless):
                        undo()
            raise


class _Thread(threading.local):
    call: Call | None = None


_thread = _Thread()


def current() -> Call:
    """Return the call that this thread makes."""
    return _thread.call or Call(threading.get_ident())


def pause(seconds: float) -> None:
    """Sleep; an abandoned call ends here.

    Raises:
        asyncio.CancelledError: The call is abandoned.
    """
    if _thread.call is None:
        time.sleep(seconds)
    else:
        _thread.call.end_if_abandoned(seconds)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await a blocking call that runs in its own thread; cancelling abandons the call."""
    call, future, context = Call(asyncio.current_task()), Future[T](), copy_context()
    future.set_running_or_notify_cancel()

    def make() -> None:
        _thread.call = call
        try:
            answer = context.run(function, *args, **kwargs)
        except StopIteration as error:
            # An asyncio future refuses to hold a StopIteration.
            future.set_exception(RuntimeError(f"A call in a thread raised {error!r}."))
        except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
            future.set_exception(error)
        else:
            future.set_result(answer)

    threading.Thread(target=make, name="session-block-twin", daemon=True).start()
    try:
        return await asyncio.wrap_future(future)
    except BaseException:
        call.abandon()
        raise


def answered(answer: T | Coroutine[Any, Any, T]) -> T:
    """Return Prefect's answer; in an async run, a notebook and their threads it is a coroutine.

    Where an event loop runs already, another thread waits for the coroutine, and this one for that.
    """
    if not isinstance(answer, Coroutine):
        return answer
    coroutine: Coroutine[Any, Any, T] = answer

    def wait() -> T:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(coroutine)

    if not _in_event_loop():
        return wait()
    context = copy_context()
    with ThreadPoolExecutor(1, "session-block-answer") as thread:
        return thread.submit(context.run, wait).result()


def async_twin(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make the async twin of a blocking method. It calls a subclass's override if there is one."""

    async def twin(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        blocking: Callable[P, T] = getattr(self, method.__name__)
        return await in_thread(blocking, *args, **kwargs)

    return _named_after(method, twin)


def async_twin_of_function(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make the async twin of a blocking function."""

    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await in_thread(function, *args, **kwargs)

    return _named_after(function, twin)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _named_after(blocking: Callable[..., Any], twin: F) -> F:
    name = blocking.__name__
    update_wrapper(twin, blocking)
    twin.__name__ = f"a{name}"
    twin.__qualname__ = blocking.__qualname__.removesuffix(name) + twin.__name__
    twin.__doc__ = f"Async twin of :meth:`{name}`: the same, but awaited."
    _, heading, example = inspect.cleandoc(blocking.__doc__ or "").partition("\nExamples:\n")
    if heading:
        awaited = re.sub(rf"((?:\w+\.)*)\b{name}\(", rf"await \1a{name}(", example)
        twin.__doc__ += f"\n{heading}{awaited}"
    return twin
