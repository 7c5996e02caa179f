"""How long a purchase waits for Prefect's word whether the flow run is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from session_block import prefect_context
from session_block.sessions import stops

CANCELLED_AT = datetime(2026, 11, 30, tzinfo=UTC)
SLOW_SECONDS = 0.8


def test_a_slow_answer_is_waited_for_and_after_one_in_vain_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow server's word counts for the purchase that asks; an outage delays only one."""
    answer = threading.Event()

    def slowly(_: Sequence[str]) -> dict[str, datetime]:
        answer.wait(SLOW_SECONDS)
        return {"run": CANCELLED_AT}

    monkeypatch.setattr(prefect_context, "cancelled_since", slowly)
    assert stops._Cancellations().since(["run"], 0.0) == {"run": CANCELLED_AT}

    monkeypatch.setattr(stops, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(stops, "_OUTAGE_PATIENCE_SECONDS", 30.0)
    asked = stops._Cancellations()
    assert asked.since(["run"], 0.0) == {}
    assert asked._patience_seconds == 30.0
    answer.set()
    assert asked._thread is not None
    asked._thread.join()
    assert asked.since(["run"], 0.1) == {"run": CANCELLED_AT}
    assert asked._patience_seconds == 0.01


def test_an_ageing_answer_is_renewed_in_the_background_and_an_old_one_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Purchases in a row wait for no answer; one after a pause waits, and learns of the stop."""
    may_answer, cancelled = threading.Event(), False
    may_answer.set()

    def ask(_: Sequence[str]) -> dict[str, datetime]:
        assert may_answer.wait(30)
        return {"run": CANCELLED_AT} if cancelled else {}

    monkeypatch.setattr(prefect_context, "cancelled_since", ask)
    asked = stops._Cancellations()
    assert asked.since(["run"], 0.0) == {}
    first = asked._thread

    assert asked.since(["run"], 0.4 * stops.ASK_PREFECT_SECONDS) == {}
    assert asked._thread is first  # young enough

    may_answer.clear()
    cancelled = True
    assert asked.since(["run"], 0.6 * stops.ASK_PREFECT_SECONDS) == {}  # and does not wait
    assert asked._thread is not first

    threading.Timer(0.2, may_answer.set).start()
    assert asked.since(["run"], 1.1 * stops.ASK_PREFECT_SECONDS) == {"run": CANCELLED_AT}
