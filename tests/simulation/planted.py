"""Planted faults: the product with one of its safeguards undone, which the worlds must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from session_block.client import failures
from session_block.client.jobs import Jobs
from session_block.costs.budget import Budget
from session_block.experiments import flow_places, occurrences, replay
from session_block.experiments.flow_attempts import FlowAttempts
from session_block.experiments.replay import ReplayGuard
from session_block.ledger.schema import Fact
from session_block.ledger.store import Ledger
from session_block.records import chapters, places
from session_block.records import identity as identities
from session_block.records.places import RunPlace
from session_block.records.sessions import SessionRecord
from session_block.records.submissions import Situation
from session_block.sessions import closing, decisions, stops
from session_block.sessions.decisions import Evidence, SessionFate
from session_block.sessions.opening import SessionOpener
from session_block.submissions import decisions as submission_decisions
from session_block.submissions import reconcile, results, settle, submit
from session_block.submissions.decisions import Action, Answer

from .ledgers import SimulatedStore

Plant = Callable[[], "Patches"]
Patches = list[tuple[Any, str, Any]]


def _intent_after_post() -> Patches:
    """The intent is recorded with its outcome: P3."""
    create, withheld = Ledger.create, dict[tuple[str, str], Any]()

    def late(self: Ledger, experiment: str, key: str, body: Any, payload: Any = None) -> Any:
        kind, _, rest = key.partition("/")
        if kind == "intent":
            withheld[experiment, rest] = body
            return Fact(experiment, key, body, "withheld", self.environment.now()), True
        if kind == "outcome" and (experiment, rest) in withheld:
            create(self, experiment, f"intent/{rest}", withheld.pop((experiment, rest)))
        return create(self, experiment, key, body, payload)

    return [(Ledger, "create", late)]


def _no_look_up() -> Patches:
    """Listings are empty: P2."""
    return [(Jobs, "_page", lambda *_, **__: [])]


def _overwrite() -> Patches:
    """The last writer wins: nobody is first any more."""
    insert = SimulatedStore.insert

    def last_wins(self: SimulatedStore, fact: Any) -> bool:
        self._disk.facts.pop((fact.experiment, fact.key), None)
        return insert(self, fact)

    return [(SimulatedStore, "insert", last_wins)]


def _submission_row(situation: Situation, answer: Answer, action: Action) -> Plant:
    def plant() -> Patches:
        table = {**submission_decisions.TABLE, (situation, answer): action}
        return [(submission_decisions, "TABLE", table)]

    return plant


def _session_row(evidence: Evidence, fate: SessionFate) -> Plant:
    return lambda: [(decisions, "TABLE", {**decisions.TABLE, evidence: fate})]


def _no_settle_window() -> Patches:
    """A listing is believed at once, however new the job."""
    return [
        (settle, "settle_window", lambda _: 0.0),
        (reconcile, "settle_window", lambda _: 0.0),
    ]


def _senders_are_dead() -> Patches:
    """Nobody waits for another sender."""
    return [(submit.SenderWatch, "may_still_send", lambda *_: False)]


def _five_hundreds_are_refusals() -> Patches:
    """A 5xx counts as a refusal."""
    refusal = failures.refusal

    def sure(error: BaseException, handled: BaseException | None = None) -> Any:
        return refusal(error, handled) or failures.Refusal("for-now", 429, str(error))

    return [(submit, "refusal", sure)]


def _resent_is_once() -> Patches:
    """A refusal after the client's own second try counts as definite."""
    return [(failures, "_was_sent_before", lambda _: False)]


def _proxies_are_ibm() -> Patches:
    """A proxy's page counts as IBM's refusal."""
    return [
        (failures, "_is_ibms_own", lambda _: True),
        (failures, "_INCONCLUSIVE", frozenset()),
    ]


def _no_stop_guard() -> Patches:
    """A stop is recorded and not kept."""
    return [(stops.StopGuard, "check", lambda _: None)]


def _closing_unsaid() -> Patches:
    """Nothing is recorded before we close a session."""
    return [(closing, "record_closing", lambda *_, **__: None)]


def _second_session() -> Patches:
    """Each process opens a session of its own."""
    return [(SessionOpener, "record_intent", lambda *_, **__: True)]


def _no_occurrences() -> Patches:
    """Equal requests are one."""
    return [(occurrences.Occurrences, "_next", lambda *_, **__: 1)]


def _restarts_count_on() -> Patches:
    """A new process counts equal requests on from those that are recorded."""
    choose = occurrences.Occurrences._choose

    def later(self: Any, fingerprint: str, asking: Any) -> int:
        return choose(self, fingerprint, asking) + getattr(self, "_planted", 0)

    read = ReplayGuard._read_records

    def reading(self: Any) -> None:
        read(self)
        self._planted = len(self._recorded)

    made = ReplayGuard.__init__

    def making(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self._occurrences._planted = self._planted

    return [
        (occurrences.Occurrences, "_choose", later),
        (ReplayGuard, "_read_records", reading),
        (ReplayGuard, "__init__", making),
    ]


def _no_twins_sought() -> Patches:
    """Nobody looks for twins."""
    return [(reconcile.Reconciler, "check_twins", lambda *_, **__: None)]


def _no_reconciliation() -> Patches:
    """A resumed experiment does not read the listing."""
    return [(reconcile.Reconciler, "ensure", lambda _: False)]


def _lost_names() -> Patches:
    """A name that the ledger does not know is new."""
    return [(identities._Names, "may_be_lost", lambda _: False)]


def _budget_counts_results() -> Patches:
    """A budget lets everything through."""
    return [(Budget, "why_not", lambda *_: None), (Budget, "why_no_more", lambda _: None)]


def _results_unstored() -> Patches:
    """A result is returned as it was fetched, and not as it was stored."""
    return [(results.ResultFetcher, "_store", lambda *given: given[-1])]


def _outcome_unread() -> Patches:
    """Whoever submits takes its own job, whatever the ledger says."""
    decide = settle.Settler.decide

    def mine(self: Any, outcome: Any) -> Any:
        decide(self, outcome)
        return outcome

    return [(settle.Settler, "decide", mine)]


def _one_place() -> Patches:
    """All subflows of a run are one place."""
    name = RunPlace.name
    return [(RunPlace, "name", lambda self, block: name(replace(self, paths=()), block))]


def _first_rank() -> Patches:
    """Equal calls of a subflow are one."""
    return [(places._Calls, "free_rank", lambda _: 1)]


def _nobody_asks() -> Patches:
    """The requests of subflows that share an experiment are told apart by their order alone."""
    return [(replay, "asker_here", lambda _: None)]


def _nobody_shares() -> Patches:
    """Each flow run that opens a name ends the experiment."""
    return [(flow_places, "shared_attempt", lambda: None)]


def _latest_attempt() -> Patches:
    """A process takes the latest attempt of its flow run for its own."""
    attempt = FlowAttempts.attempt

    def latest(_: Any, run: Any, states: Any) -> Any:
        return attempt(FlowAttempts(), run, states)

    return [(FlowAttempts, "attempt", latest), (FlowAttempts, "called", lambda *_: None)]


def _kept_unknown() -> Patches:
    """A lost ledger's calls, whose results are kept, are forgotten."""
    return [(flow_places._PrefectCaller, "kept_before", lambda *_: 0)]


def _askers_untold() -> Patches:
    """A lost ledger's requests may be those of any subflow."""
    return [(replay, "is_asker", lambda *_: True)]


def _chapters_of_nobody() -> Patches:
    """A chapter does not belong to the call that opened it."""
    extend = chapters.extend
    return [(chapters, "extend", lambda journal, _, number: extend(journal, None, number))]


def _never_diverged() -> Patches:
    """A changed program goes on."""
    return [(ReplayGuard, "_repeats", lambda *_, **__: True)]


def _borrowed_is_own() -> Patches:
    """A borrowed session is closed."""
    own = {"opened", "borrowed"}
    return [(SessionRecord, "opened", property(lambda self: self.kind in own))]


PLANTS: Mapping[str, Plant] = {
    "intent after the POST": _intent_after_post,
    "no look-up": _no_look_up,
    "the last writer wins": _overwrite,
    "no settle window": _no_settle_window,
    "senders count as dead": _senders_are_dead,
    "a 5xx counts as a refusal": _five_hundreds_are_refusals,
    "a repeated POST counts as one": _resent_is_once,
    "a proxy counts as IBM": _proxies_are_ibm,
    "no reconciliation": _no_reconciliation,
    "no search for twins": _no_twins_sought,
    "a lost name is new": _lost_names,
    "the loser keeps its job": _outcome_unread,
    "a result is not stored": _results_unstored,
    "equal requests are one": _no_occurrences,
    "a restart counts on": _restarts_count_on,
    "all subflows are one place": _one_place,
    "equal calls are one": _first_rank,
    "nobody asks": _nobody_asks,
    "nobody shares a name": _nobody_shares,
    "the latest attempt is mine": _latest_attempt,
    "a kept call is forgotten": _kept_unknown,
    "a found request is anybody's": _askers_untold,
    "a chapter is nobody's": _chapters_of_nobody,
    "a changed program goes on": _never_diverged,
    "a borrowed session is closed": _borrowed_is_own,
    "no budget": _budget_counts_results,
    "a session for each process": _second_session,
    "a stop is not kept": _no_stop_guard,
    "our own close is unsaid": _closing_unsaid,
    "closed early is replaced": _session_row(Evidence.CLOSED_EARLY, SessionFate.REPLACE),
    "the cost limit is replaced": _session_row(Evidence.COST_LIMIT, SessionFate.REPLACE),
    "an end by time is a stop": _session_row(Evidence.AT_ITS_END, SessionFate.STOP_ENDED_EARLY),
    "an orphan is bought again": _submission_row(
        Situation.INTENT_ORPHANED, Answer.NO_JOB_YET, Action.ABANDON
    ),
    "an orphan's job is not adopted": _submission_row(
        Situation.INTENT_ORPHANED, Answer.ONE_JOB, Action.ABANDON
    ),
}
"""Each planted fault by its name."""


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Undo one safeguard in a ``with`` block; ``None`` undoes none."""
    before = []
    for owner, attribute, value in [] if name is None else PLANTS[name]():
        before.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in reversed(before):
            setattr(owner, attribute, value)
