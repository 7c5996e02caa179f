"""The chapters of an experiment: more of a finished one, under the same name and UID.

The first chapter needs no fact but the seal. A later one is opened when the one before is sealed.
It belongs to the call that opened it, so that a retry of the flow run goes on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import (
    Asker,
    ChapterOfRun,
    ChapterOpened,
    ChapterSealed,
    Hold,
    Intent,
    Sealed,
)
from session_block.records.states import SubmissionState
from session_block.records.submissions import FACTS, fold_all

_logger = logging.getLogger(__name__)


def latest_chapter(journal: Journal) -> int:
    """Return the number of an experiment's latest chapter, counted from 1."""
    return 1 + journal.count(ChapterOpened)


def is_sealed(journal: Journal) -> bool:
    """Whether an experiment is finished: its latest chapter is sealed."""
    # Most are not sealed at all, and this is asked before every new request.
    if not journal.has(Sealed):
        return False
    opened = journal.count(ChapterOpened)
    return not opened or journal.has(ChapterSealed, 1 + opened)


def chapter_report(journal: Journal, chapter: int) -> dict[str, Any] | None:
    """Return the report that a chapter was sealed with; ``None`` if it is not sealed."""
    sealed = journal.get(Sealed) if chapter == 1 else journal.get(ChapterSealed, chapter)
    return None if sealed is None else dict(sealed.report)


def extend(journal: Journal, asker: Asker | None, number: int) -> int:
    """Open the next chapter, unless the latest one is open, or this call has opened one before.

    Args:
        journal: The experiment's journal.
        asker: The flow run that calls; ``None`` outside a flow run.
        number: Which of its calls for this experiment it is, counted from 1.

    Returns:
        The number of the chapter to go on with.
    """
    if asker is not None:
        known = journal.get(ChapterOfRun, asker.run, asker.path, number)
        if known is not None:
            return known.chapter
    chapter = latest_chapter(journal)
    if is_sealed(journal):
        chapter += 1
        root = None if asker is None else asker.run
        journal.record(ChapterOpened(chapter=chapter, flow_run_id=root))
    if asker is not None:
        own = ChapterOfRun(flow_run_id=asker.run, path=asker.path, number=number, chapter=chapter)
        chapter = journal.record(own)[0].chapter
    return chapter


def seal(identity: Identity, journal: Journal, report: Mapping[str, Any]) -> dict[str, Any]:
    """Seal the latest chapter; return its report, the first one ever given.

    If a later chapter bought nothing, a warning says so.
    """
    chapter = latest_chapter(journal)
    if chapter == 1:
        first, _ = journal.record(Sealed(report=dict(report)))
        return dict(first.report)
    sealed, ours = journal.record(ChapterSealed(chapter=chapter, report=dict(report)))
    if ours and not any(one.chapter == chapter for one in journal.all(Intent)):
        _logger.warning(
            "Chapter %d of experiment %s bought nothing: all its requests were answered from the "
            "records of earlier chapters. To measure again, make more requests, or start a new "
            "experiment with fresh=True.",
            chapter,
            identity,
        )
    return dict(sealed.report)


def seal_settled(identity: Identity, journal: Journal) -> None:
    """Seal an experiment, unless one of its submissions waits for an operator."""
    held = held_submissions(journal)
    if not held:
        seal(identity, journal, {})
        return
    _logger.warning(
        "Experiment %s is not finished: %s held (%s). Run 'session-block submissions list "
        "--held' to see what to decide, and then run the experiment again.",
        identity,
        "a submission is" if len(held) == 1 else f"{len(held)} submissions are",
        ", ".join(held),
    )


def held_submissions(journal: Journal) -> list[str]:
    """Return the IDs of the submissions that wait for an operator."""
    # Counting is cheap, and few experiments ever have a hold; folding reads all the facts.
    if not journal.count(Hold):
        return []
    recorded = fold_all(journal.several(*FACTS)).values()
    return [one.id for one in recorded if one.state is SubmissionState.HELD]
