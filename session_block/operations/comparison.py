"""Compare two experiments, request by request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from session_block.ledger.store import Ledger
from session_block.pubs.encoding import plain_values
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import Intent
from session_block.records.overviews import overview
from session_block.records.usage import recorded_usage
from session_block.records.views import ExperimentView


@dataclass(frozen=True)
class Side:
    """One experiment's submission at a position in the order of its requests.

    Examples:
        >>> for name in ("one-day", "next-day"):
        ...     with block.experiment(name) as experiment:
        ...         result = experiment.run_sampler([circuit], shots=1000)
        >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
        >>> comparison = compare_submissions(ledger, one, other)
        >>> comparison.pairs[0].left.state, comparison.pairs[0].left.generations
        ('result', 1)
    """

    submission: str
    fingerprint: str | None
    label: str | None
    state: str
    job_id: str | None
    generations: int


@dataclass(frozen=True)
class Pair:
    """What two experiments requested at the same position.

    Attributes:
        number: The position, counted from 1.
        left: The first experiment's submission; ``None`` where it made fewer requests.
        right: The second experiment's submission, likewise.
        same_request: Whether content and label are equal.
        same_result: Whether the values are equal; ``None`` unless both have a result.
        largest_difference: The largest absolute difference between expectation values; ``None``
            unless both results have them in the same shapes.

    Examples:
        >>> for name in ("one-day", "next-day"):
        ...     with block.experiment(name) as experiment:
        ...         result = experiment.run_sampler([circuit], shots=1000)
        >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
        >>> comparison = compare_submissions(ledger, one, other)
        >>> [(pair.number, pair.same_request, pair.same_result) for pair in comparison.pairs]
        [(1, True, True)]
    """

    number: int
    left: Side | None
    right: Side | None
    same_request: bool
    same_result: bool | None
    largest_difference: float | None


@dataclass(frozen=True)
class Comparison:
    """Two experiments side by side.

    Attributes:
        experiments: The overview of each, with ``usage_seconds``, the recorded part of its usage
            (``None`` if nothing of it is recorded), and ``usage_complete``, whether that is all.
        pairs: Their submissions, in the order of their requests.

    Examples:
        >>> for name in ("one-day", "next-day"):
        ...     with block.experiment(name) as experiment:
        ...         result = experiment.run_sampler([circuit], shots=1000)
        >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
        >>> comparison = compare_submissions(ledger, one, other)
        >>> len(comparison.pairs), comparison.first_difference
        (1, None)
    """

    experiments: tuple[dict[str, Any], dict[str, Any]]
    pairs: tuple[Pair, ...]

    @property
    def first_difference(self) -> int | None:
        """The first position where their requests differ; ``None`` if none do.

        Examples:
            >>> for name in ("one-day", "next-day"):
            ...     with block.experiment(name) as experiment:
            ...         result = experiment.run_sampler([circuit], shots=1000)
            >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
            >>> comparison = compare_submissions(ledger, one, other)
            >>> comparison.first_difference is None  # they asked for the same
            True
        """
        return next((pair.number for pair in self.pairs if not pair.same_request), None)

    def described(self) -> dict[str, Any]:
        """Return it as JSON values.

        Examples:
            >>> for name in ("one-day", "next-day"):
            ...     with block.experiment(name) as experiment:
            ...         result = experiment.run_sampler([circuit], shots=1000)
            >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
            >>> comparison = compare_submissions(ledger, one, other)
            >>> comparison.described()["same_requests"]
            1
        """
        return {
            "experiments": list(self.experiments),
            "same_requests": sum(pair.same_request for pair in self.pairs),
            "same_results": sum(pair.same_result is True for pair in self.pairs),
            "different_results": sum(pair.same_result is False for pair in self.pairs),
            "first_different_request": self.first_difference,
            "submissions": [asdict(pair) for pair in self.pairs],
        }


def compare_submissions(ledger: Ledger, left: Identity, right: Identity) -> Comparison:
    """Compare the requests and results of two experiments. Touches no network.

    Examples:
        >>> for name in ("one-day", "next-day"):
        ...     with block.experiment(name) as experiment:
        ...         result = experiment.run_sampler([circuit], shots=1000)
        >>> one, other = (Experiment.load(name).identity for name in ("one-day", "next-day"))
        >>> comparison = compare_submissions(ledger, one, other)
        >>> [(pair.same_request, pair.same_result) for pair in comparison.pairs]
        [(True, True)]
    """
    mine, theirs = _Experiment(ledger, left), _Experiment(ledger, right)
    places = range(max(len(mine.rows), len(theirs.rows)))
    return Comparison(
        experiments=(mine.at_a_glance, theirs.at_a_glance),
        pairs=tuple(_pair(place, mine, theirs) for place in places),
    )


class _Experiment:
    """One of the two, as the ledger records it."""

    def __init__(self, ledger: Ledger, identity: Identity) -> None:
        self._view = ExperimentView(identity, ledger)
        journal = Journal(ledger, identity.uid)
        self._fingerprints = {
            one.submission: one.fingerprint for one in journal.all(Intent) if one.generation == 1
        }
        self.rows = self._view.submissions()
        usage = recorded_usage(journal)
        self.at_a_glance = {
            **overview(ledger, identity).described(),
            "usage_seconds": usage.known_seconds,
            "usage_complete": usage.complete,
        }

    def side(self, place: int) -> Side | None:
        if place >= len(self.rows):
            return None
        row = self.rows[place]
        return Side(
            submission=row["submission"],
            fingerprint=self._fingerprints[row["submission"]],
            label=row["label"],
            state=row["state"],
            job_id=row["job_id"],
            generations=row["generations"],
        )

    def values(self, place: int) -> list[dict[str, Any]] | None:
        if place >= len(self.rows):
            return None
        result = self._view.result(self.rows[place]["submission"])
        return None if result is None else plain_values(result)


def _pair(place: int, mine: _Experiment, theirs: _Experiment) -> Pair:
    left, right = mine.side(place), theirs.side(place)
    same_request = (
        left is not None
        and right is not None
        and (left.fingerprint, left.label) == (right.fingerprint, right.label)
    )
    found, others = mine.values(place), theirs.values(place)
    if found is None or others is None:
        return Pair(place + 1, left, right, same_request, None, None)
    difference = _largest_difference(found, others)
    return Pair(place + 1, left, right, same_request, found == others, difference)


def _largest_difference(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> float | None:
    found = []
    for mine, theirs in zip(left, right, strict=False):
        if "evs" not in mine or "evs" not in theirs:
            return None
        one, other = np.asarray(mine["evs"]), np.asarray(theirs["evs"])
        if one.shape != other.shape:
            return None
        found.append(float(np.max(np.abs(one - other), initial=0.0)))
    return max(found, default=None)
