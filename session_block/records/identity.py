"""Find the experiment that a name stands for."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote
from weakref import WeakKeyDictionary

from session_block.errors import InvalidInputError, LabelRequiredError
from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import NAMES, ExperimentBegan, NameGiven, OpenedByRun
from session_block.records.places import RunPlace
from session_block.records.versions import CURRENT, FIRST, Versions
from session_block.references import Implementation
from session_block.settings import Settings
from session_block.tags import SubmissionTag, name_tag, owner_digest, uid_of, uid_tag

if TYPE_CHECKING:
    from session_block.client import ListedJob

MAX_NAME_LENGTH = 120


_UNNAMED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.[0-9a-f]{12})?")
"""The names of experiments without a name: by the second identity rule, and by the first."""

_FOUND_EMPTY: WeakKeyDictionary[Ledger, bool] = WeakKeyDictionary()
"""Whether this process found a ledger without any name: a flow run's may be lost even at first."""

_logger = logging.getLogger(__name__)


SHORT_UID = 8
"""So many characters of a UID stand for it; fewer might be a name that is not there."""


@dataclass(frozen=True)
class Identity:
    """An experiment's name, its number among experiments of that name, and its unique ID.

    Attributes:
        resumed: The experiment existed before it was opened now.
        lost: The ledger had lost it; it was found by its jobs at the platform.
        versions: The versions of the rules that recognise its jobs, if they were read from the
            jobs' tags.
        family: Its family of primitives, if that was told from its jobs.
        opened_in: The subflows on the way to where it is opened, in words; only for an experiment
            without a name that is opened in a subflow.
        taken_from: Digest of the other owner whose it was when it was taken by its UID.
        as_latest: It was taken for the latest one of its name, as this ledger knows them.

    Examples:
        >>> identity = block.experiment("bell-pairs").identity
        >>> identity.name, str(identity).startswith("'bell-pairs'"), len(identity.uid)
        ('bell-pairs', True, 16)
    """

    name: str
    number: int
    uid: str
    resumed: bool = False
    lost: bool = False
    versions: Versions | None = None
    family: Implementation | None = None
    opened_in: str | None = None
    taken_from: str | None = None
    as_latest: bool = False

    def __str__(self) -> str:
        return f"{self.name!r} (number {self.number})" if self.number > 1 else repr(self.name)

    @property
    def named(self) -> bool:
        """Whether somebody chose the name, so that others may choose it too.

        Examples:
            >>> block.experiment("bell-pairs").identity.named
            True
        """
        return not _UNNAMED.fullmatch(self.name)

    @property
    def anew(self) -> str:
        """How to start another experiment instead, for messages.

        Examples:
            >>> block.experiment("bell-pairs").identity.anew
            'with fresh=True'
        """
        if not self.named:
            return "in a new flow run, or with experiment(key=...)"
        return "with fresh=True"

    @property
    def more(self) -> str:
        """How to submit more after the experiment is finished, as a sentence for messages.

        Examples:
            >>> block.experiment("bell-pairs").identity.more
            'Go on with it with extend=True, or start a new experiment with fresh=True.'
        """
        if _UNNAMED.fullmatch(self.name):
            return f"Start a new experiment {self.anew}."
        return f"Go on with it with extend=True, or start a new experiment {self.anew}."

    @property
    def tags(self) -> list[str]:
        """The tags of all jobs of this experiment: its name, for people, and its UID.

        Examples:
            >>> job = experiment.submit_sampler([circuit])
            >>> tags = experiment.service.job(job.job_id).tags
            >>> set(experiment.identity.tags) <= set(tags)
            True
        """
        return [name_tag(self.name), uid_tag(self.uid)]


@dataclass(frozen=True)
class Lost:
    """An experiment that is known only from its jobs at the platform.

    Attributes:
        uid: Its unique ID.
        number: Its number among experiments of its name.
        versions: The versions of the rules that recognise its jobs.
        family: The family of primitives that its first job belongs to, if that is known.
        other_owner: Digest of its owner, if that is somebody else.
    """

    uid: str
    number: int
    versions: Versions
    family: Implementation | None = None
    other_owner: str | None = None


def lost_among(jobs: Iterable[ListedJob], owner: str | None = None) -> list[Lost]:
    """Return the experiments that these jobs' tags name, in the order of the jobs.

    An experiment is somebody else's only if that is certain: its jobs say whose they are, and none
    is this owner's.

    Args:
        jobs: The jobs, oldest first.
        owner: Digest of who asks; ``None`` if that is unknown.
    """
    found: dict[str, Lost] = {}
    families: dict[str, Implementation | None] = {}
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for job in jobs:
        uid = uid_of(job.tags)
        if uid is None:
            continue
        families[uid] = families.get(uid) or job.family
        parsed = (SubmissionTag.parse(tag) for tag in job.tags)
        tag = next((tag for tag in parsed if tag is not None and tag.uid == uid), None)
        if tag is None:
            found.setdefault(uid, Lost(uid, 1, FIRST))
        else:
            versions = Versions(tag.identity, tag.fingerprint, tag.version)
            found[uid] = Lost(uid, tag.number, versions)
            if tag.owner is not None:
                owners[uid].append(tag.owner)
    others = {uid: of[0] for uid, of in owners.items() if owner is not None and owner not in of}
    return [
        replace(one, family=families[one.uid], other_owner=others.get(one.uid))
        for one in found.values()
    ]


def identify(
    ledger: Ledger,
    name: str | None,
    *,
    fresh: bool = False,
    uid: str | None = None,
    place: RunPlace | None = None,
    block: str = "",
    find_lost: Callable[[str], Sequence[Lost]] = lambda _: (),
    find_newest: Callable[[str], Sequence[Lost]] = lambda _: (),
) -> Identity:
    """Return the experiment that a name stands for, or a place without one; create it if it is new.

    Args:
        ledger: Where names are kept.
        name: The user's name; ``None`` for the place. The ID of a flow run stands for the one
            experiment that it opened without a name.
        fresh: Start the next experiment of this name.
        uid: Take the experiment of this name with this UID.
        place: Where it is opened, if that is in a flow run. An outermost flow run always opens the
            experiment that it first opened by a name, so that its retries continue that one.
        block: What tells the Block from other Blocks that open experiments at this place.
        find_lost: Returns the experiments of a name that have jobs at the platform. Called if the
            ledger does not know the name, or this UID: it may have been lost, or restored from an
            older copy. For an experiment without a name, only if this process found the ledger
            without any name, or an earlier attempt of the flow run may have used another ledger.
        find_newest: Returns those among the newest jobs of a name. Called for ``fresh``.

    Raises:
        LabelRequiredError: There is neither a name nor a place.
        InvalidInputError: The name is not a valid one, or the ledger does not know it and the
            platform shows several experiments of it, or only those of other owners. Or a retried
            flow run wants a fresh one, and the platform shows one that it may have started.
    """
    opened_in = None
    if name is not None and uid is None and not fresh:
        name = _unnamed_of_run(ledger, name)
    if name is None and place is not None:
        name = _name_at(ledger, place, block, find_lost)
        opened_in = " / ".join(place.words) or None
    name = _checked(name)
    retried = place is not None and place.retried
    names = _Names(ledger, name, find_lost, find_newest, retried=retried)
    if place is None or uid is not None:
        as_latest = not fresh and uid is None
        return replace(names.identity(*names.choose(fresh=fresh, uid=uid)), as_latest=as_latest)
    journal = Journal(ledger, NAMES)
    known = journal.get(OpenedByRun, place.root, name)
    if known is not None:
        return replace(names.identity(known, existed=True), opened_in=opened_in)
    found, existed = names.choose(fresh=fresh, uid=None)
    chosen, _ = journal.record(
        OpenedByRun(
            flow_run_id=place.root,
            name=name,
            uid=found.uid,
            number=found.number,
            lost=found.lost,
            versions=found.versions,
            family=found.family,
            paths=list(place.paths) if opened_in else None,
            taken_from=found.taken_from,
        )
    )
    identity = names.identity(chosen, existed=existed)
    return replace(identity, opened_in=opened_in, as_latest=not fresh)


def check_is_latest(identity: Identity, ledger: Ledger, found: Iterable[Lost]) -> None:
    """Check that the platform shows no later experiment of this owner with the same name.

    Args:
        identity: The experiment that the ledger knows as the latest one of its name.
        ledger: The ledger.
        found: The experiments among the newest jobs of the name.

    Raises:
        InvalidInputError: It does, so the ledger was restored from an older copy, or the other one
            was started with another ledger.
    """
    later = [one for one in _unknown(ledger, identity.name, found) if one.number > identity.number]
    if later:
        raise InvalidInputError(
            f"The ledger knows number {identity.number} as the latest experiment "
            f"{identity.name!r}, and the platform shows a later one: {_listed(later)}. Was the "
            "ledger restored from an older copy? Nothing was submitted. Go on with the later one "
            f"with uid={later[-1].uid!r}, or with this one with uid={identity.uid!r}.",
            experiment=identity.uid,
        )


def _unknown(ledger: Ledger, name: str, found: Iterable[Lost]) -> list[Lost]:
    """Return those of this owner that the ledger does not know, in the order of their numbers."""
    known = {one.uid for one in Journal(ledger, NAMES).all(NameGiven, name)}
    unknown = [one for one in found if one.other_owner is None and one.uid not in known]
    return sorted(unknown, key=lambda one: one.number)


def _listed(found: Iterable[Lost]) -> str:
    return ", ".join(f"number {one.number} (uid={one.uid!r})" for one in found)


def _unnamed_of_run(ledger: Ledger, name: str) -> str:
    """Return the name of the experiment that a flow run with this ID opened without a name."""
    journal = Journal(ledger, NAMES)
    if journal.count(NameGiven, name):
        return name
    found = [one.name for one in opened_by(ledger, name) if one.name.startswith(f"{name}.")]
    check_one(name, found)
    return found[0] if found else name


def _name_at(
    ledger: Ledger, place: RunPlace, block: str, find_lost: Callable[[str], Sequence[Lost]]
) -> str:
    """Return the name of the experiment at a place: by the first identity rule if it has one."""
    first = place.root
    if Journal(ledger, NAMES).get(OpenedByRun, place.root, first) is not None:
        return first
    name = place.name(block)
    names = _Names(ledger, name, find_lost, lambda _: (), retried=place.retried)
    unknown = Journal(ledger, NAMES).get(OpenedByRun, place.root, name) is None
    return first if unknown and names.may_be_lost() and find_lost(first) else name


class _Names:
    """The experiments that a name has stood for."""

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        find_lost: Callable[[str], Sequence[Lost]],
        find_newest: Callable[[str], Sequence[Lost]],
        *,
        retried: bool,
    ) -> None:
        self._journal = Journal(ledger, NAMES)
        self._name = name
        self._find_lost = find_lost
        self._find_newest = find_newest
        self._retried = retried

    def identity(self, given: NameGiven | OpenedByRun, existed: bool) -> Identity:
        versions = given.versions
        return Identity(
            self._name,
            given.number,
            given.uid,
            resumed=existed,
            lost=given.lost,
            versions=None if versions is None else Versions(*versions),
            family=given.family,
            taken_from=given.taken_from,
        )

    def choose(self, *, fresh: bool, uid: str | None) -> tuple[NameGiven, bool]:
        """Return what the name stands for now, and whether that existed before."""
        while True:
            known = self._journal.all(NameGiven, self._name)
            if uid is not None:
                chosen = next((one for one in known if one.uid == uid), None)
                if chosen is not None:
                    return chosen, True
            latest = max(known, key=lambda one: one.number, default=None)
            if latest is not None and not fresh and uid is None:
                return latest, True
            number = 1 if latest is None else latest.number + 1
            if fresh:
                number = max(number, self._number_after_lost())
            found = self._lost(uid) if uid or not (fresh or known) else None
            given, ours = self._journal.record(
                NameGiven(
                    name=self._name,
                    place=number,
                    uid=found.uid if found else self._journal.environment.new_id()[:16],
                    number=max(number, found.number) if found else number,
                    lost=found is not None,
                    versions=list(astuple(found.versions)) if found else None,
                    family=found.family if found else None,
                    taken_from=found.other_owner if found and uid else None,
                )
            )
            if ours:
                return given, found is not None

    def may_be_lost(self) -> bool:
        """Whether the name may have experiments that only the platform shows."""
        if self._retried or not _UNNAMED.fullmatch(self._name):
            return True
        ledger = self._journal.ledger
        if ledger not in _FOUND_EMPTY:
            known = self._journal.count(NameGiven) or self._journal.count(OpenedByRun)
            _FOUND_EMPTY[ledger] = not known
        return _FOUND_EMPTY[ledger]

    def _lost(self, uid: str | None) -> Lost | None:
        """Return the experiment that the platform shows: by UID, or by name."""
        if uid is None and not self.may_be_lost():
            return None
        found = self._find_lost(self._name)
        if uid is not None:
            one = next((one for one in found if one.uid == uid), None)
            if one is None:
                raise InvalidInputError(
                    f"Neither the ledger nor the platform knows an experiment {self._name!r} with "
                    f"uid={uid!r}, so none is opened. Check the UID ('session-block experiments "
                    "list' shows them), or leave it out. The platform may show a job only some "
                    "time after it was sent: if the experiment's first one is that new, run again "
                    "in a minute."
                )
            return one
        if not _UNNAMED.fullmatch(self._name):
            found = self._own(found)
        if len(found) > 1:
            raise InvalidInputError(
                f"The ledger does not know {self._name!r}, and the platform shows jobs of "
                f"{len(found)} experiments of that name: {', '.join(one.uid for one in found)}. "
                "Continue one of them with uid=, or start a new experiment with fresh=True."
            )
        return found[0] if found else None

    def _number_after_lost(self) -> int:
        """Return the first number after those of experiments that only the platform shows."""
        found = self._find_newest(self._name)
        lost = _unknown(self._journal.ledger, self._name, found)
        if not lost:
            return 1
        if self._retried:
            raise InvalidInputError(
                f"The ledger does not know whether this flow run has started an experiment "
                f"{self._name!r}, and the platform shows some that the ledger does not know: "
                f"{_listed(lost)}. Was the ledger lost, or restored from an older copy? Nothing "
                "was submitted. Go on with one of them with uid=, or start another one in a new "
                "flow run."
            )
        _logger.warning(
            "The platform shows experiments %r that the ledger does not know: %s. A new one is "
            "started beside them. If you meant one of them, open it with uid=.",
            self._name,
            _listed(lost),
        )
        return 1 + max(one.number for one in lost)

    def _own(self, found: Sequence[Lost]) -> list[Lost]:
        """Return the experiments that are not somebody else's; refuse if only others' are."""
        own = [one for one in found if one.other_owner is None]
        if found and not own:
            uids = ", ".join(f"uid={one.uid!r}" for one in found)
            raise InvalidInputError(
                f"The ledger does not know {self._name!r}, and the platform shows jobs of that "
                f"name that another owner submitted: {uids}. Choose another name, or start your "
                "own experiment with fresh=True. If it is yours, set the Block's owner to the "
                "one it began with, which without a Block's owner is the account's IAM ID. To "
                "work in another owner's, take it by its uid: its session is then borrowed, and "
                "stays open."
            )
        return own


def begin(journal: Journal, identity: Identity, settings: Settings) -> ExperimentBegan:
    """Record the first fact of an experiment unless there is one; return the recorded fact.

    Args:
        journal: The experiment's journal.
        identity: The experiment.
        settings: The settings of the Block that opens it.

    Raises:
        LedgerVersionError: A newer version of this package began it.
        LedgerError: The ledger cannot be read or trusted.
    """
    began = journal.get(ExperimentBegan)
    if began is None:
        versions = identity.versions or CURRENT
        versions.check_known(str(identity))
        owner = settings.source.owner
        journal.ledger.require_schema(versions.schema)
        began, _ = journal.record(
            ExperimentBegan(
                name=identity.name,
                number=identity.number,
                backend=settings.plan.backend_name,
                identity_version=versions.identity,
                fingerprint_version=versions.fingerprint,
                tags_version=versions.tags,
                family=identity.family or settings.policies.implementation,
                block=settings.source.block,
                account=settings.source.account,
                instance=settings.source.instance,
                mode=settings.plan.mode,
                opened_in=identity.opened_in,
                owner=identity.taken_from or (owner_digest(owner) if owner else None),
                taken=identity.taken_from is not None,
            )
        )
    began.versions.check_known(str(identity))
    return began


def opened_by(ledger: Ledger, flow_run_id: str) -> list[Identity]:
    """Return the experiments that an outermost flow run opened."""
    return [
        Identity(one.name, one.number, one.uid, resumed=True)
        for one in Journal(ledger, NAMES).all(OpenedByRun, flow_run_id)
    ]


def flow_runs_of(ledger: Ledger, uid: str) -> list[str]:
    """Return the IDs of the outermost flow runs that opened an experiment, oldest first."""
    opened = Journal(ledger, NAMES).all(OpenedByRun)
    return [one.flow_run_id for one in opened if one.uid == uid]


def known_experiments(ledger: Ledger) -> list[Identity]:
    """Return every named experiment in a ledger, oldest first."""
    return [
        Identity(one.name, one.number, one.uid, resumed=True, lost=one.lost)
        for one in Journal(ledger, NAMES).all(NameGiven)
    ]


def experiments_called(ledger: Ledger, wanted: str) -> list[Identity]:
    """Return the experiments of this name or UID; if none, those that this flow run opened.

    If it opened none either, the one whose UID begins so.

    Raises:
        InvalidInputError: The UIDs of several begin so.
    """
    known = known_experiments(ledger)
    found = [one for one in known if wanted in (one.name, one.uid)]
    if found:
        return found
    uids = {one.uid for one in opened_by(ledger, wanted)}
    if uids:
        return [one for one in known if one.uid in uids]
    begun = [one for one in known if one.uid.startswith(wanted)]
    if len(wanted) < SHORT_UID or not begun:
        return []
    if len(begun) > 1:
        raise InvalidInputError(
            f"The UIDs of {len(begun)} experiments begin with {wanted!r}: "
            f"{', '.join(one.uid for one in begun)}. Give more of it."
        )
    return begun


def check_one(flow_run_id: str, names: Collection[str]) -> None:
    """Check that a flow run did not open several experiments.

    Raises:
        InvalidInputError: It did.
    """
    if len(names) > 1:
        raise InvalidInputError(
            f"Flow run {flow_run_id} opened {len(names)} experiments: {', '.join(names)}. Give one "
            "of these names."
        )


def _checked(name: str | None) -> str:
    if name is None:
        raise LabelRequiredError(
            "Outside a flow run an experiment needs a name, so that it can be found again: "
            "experiment('h2-scan'). A thread that a flow starts is outside, unless its work runs "
            "in contextvars.copy_context()."
        )
    if not name.strip() or len(quote(name, safe="")) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidInputError(
            f"{name!r} cannot name an experiment: use 1 to {MAX_NAME_LENGTH} printable characters "
            "(fewer if they are not ASCII)."
        )
    return name
