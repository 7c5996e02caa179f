"""Find the experiment that a name stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from urllib.parse import quote

from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import ExperimentBegan, NameGiven, OpenedByRun
from session_block.records.versions import CURRENT, FIRST, Versions
from session_block.tags import SubmissionTag, name_tag, uid_of, uid_tag

MAX_NAME_LENGTH = 120
_NAMES = "@names"
"""The pseudo-experiment whose facts say which UIDs a name has had."""


@dataclass(frozen=True)
class Identity:
    """An experiment's name, its number among experiments of that name, and its unique ID.

    Attributes:
        resumed: The experiment existed before it was opened now.
        lost: The ledger had lost it; it was found by its jobs at the platform.
        versions: The versions of the rules that recognise its jobs, if they were read from the
            jobs' tags.
    """

    name: str
    number: int
    uid: str
    resumed: bool = False
    lost: bool = False
    versions: Versions | None = None

    def __str__(self) -> str:
        return f"{self.name!r} (number {self.number})" if self.number > 1 else repr(self.name)

    @property
    def tags(self) -> list[str]:
        """The tags of all jobs of this experiment: its name, for people, and its UID."""
        return [name_tag(self.name), uid_tag(self.uid)]


@dataclass(frozen=True)
class Lost:
    """An experiment that is known only from its jobs' tags at the platform.

    Attributes:
        uid: Its unique ID.
        number: Its number among experiments of its name.
        versions: The versions of the rules that recognise its jobs.
    """

    uid: str
    number: int
    versions: Versions


def lost_among(tags: Iterable[Sequence[str]]) -> list[Lost]:
    """Return the experiments that the tags of these jobs name, in the order of the jobs."""
    found: dict[str, Lost] = {}
    for one in tags:
        uid = uid_of(tuple(one))
        if uid is None:
            continue
        parsed = (SubmissionTag.parse(tag) for tag in one)
        tag = next((tag for tag in parsed if tag is not None and tag.uid == uid), None)
        if tag is None:
            found.setdefault(uid, Lost(uid, 1, FIRST))
        else:
            versions = Versions(tag.identity, tag.fingerprint, tag.version)
            found[uid] = Lost(uid, tag.number, versions)
    return list(found.values())


def identify(
    ledger: Ledger,
    name: str | None,
    *,
    fresh: bool = False,
    uid: str | None = None,
    flow_run_id: str | None = None,
    find_lost: Callable[[str], Sequence[Lost]] = lambda _: (),
) -> Identity:
    """Return the experiment that a name stands for; create it if it is new.

    Args:
        ledger: Where names are kept.
        name: The user's name; ``None`` to use the flow run's ID.
        fresh: Start the next experiment of this name.
        uid: Take the experiment of this name with this UID.
        flow_run_id: The outermost flow run, if there is one. It always opens the experiment that it
            first opened by a name, so that its retries continue that experiment.
        find_lost: Returns the experiments of a name that have jobs at the platform. Called only if
            the ledger knows no name at all, as after the loss of a disk, or if it does not know
            this UID.

    Raises:
        InvalidInputError: There is no name, or it is not a valid one, or the ledger is empty and
            the platform shows several experiments of this name.
    """
    name = _checked(flow_run_id if name is None else name)
    names = _Names(ledger, name, find_lost)
    if flow_run_id is None or uid is not None:
        return names.identity(*names.choose(fresh=fresh, uid=uid))
    journal = Journal(ledger, _NAMES)
    known = journal.get(OpenedByRun, flow_run_id, name)
    if known is not None:
        return names.identity(known, existed=True)
    found, existed = names.choose(fresh=fresh, uid=None)
    chosen, _ = journal.record(
        OpenedByRun(
            flow_run_id=flow_run_id,
            name=name,
            uid=found.uid,
            number=found.number,
            lost=found.lost,
            versions=found.versions,
        )
    )
    return names.identity(chosen, existed=existed)


class _Names:
    """The experiments that a name has stood for."""

    def __init__(
        self, ledger: Ledger, name: str, find_lost: Callable[[str], Sequence[Lost]]
    ) -> None:
        self._journal = Journal(ledger, _NAMES)
        self._name = name
        self._find_lost = find_lost

    def identity(self, given: NameGiven | OpenedByRun, existed: bool) -> Identity:
        versions = given.versions
        return Identity(
            self._name,
            given.number,
            given.uid,
            resumed=existed,
            lost=given.lost,
            versions=None if versions is None else Versions(*versions),
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
            found = self._lost(uid) if uid or not (fresh or known) else None
            given, ours = self._journal.record(
                NameGiven(
                    name=self._name,
                    place=number,
                    uid=found.uid if found else self._journal.environment.new_id()[:16],
                    number=max(number, found.number) if found else number,
                    lost=found is not None,
                    versions=list(astuple(found.versions)) if found else None,
                )
            )
            if ours:
                return given, found is not None

    def _lost(self, uid: str | None) -> Lost | None:
        """Return the experiment that the platform shows: by UID, or by name for an empty ledger."""
        if uid is None and (self._journal.count(NameGiven) or self._journal.count(OpenedByRun)):
            return None
        found = self._find_lost(self._name)
        if uid is not None:
            one = next((one for one in found if one.uid == uid), None)
            return one or Lost(uid, 1, CURRENT)
        if len(found) > 1:
            raise InvalidInputError(
                f"The ledger is empty, and the platform shows jobs of {len(found)} experiments "
                f"named {self._name!r}: {', '.join(one.uid for one in found)}. Continue one of "
                "them with uid=, or start a new experiment with fresh=True."
            )
        return found[0] if found else None


def begin(journal: Journal, identity: Identity, backend: str | None) -> ExperimentBegan:
    """Record the first fact of an experiment unless there is one; return the recorded fact.

    Raises:
        LedgerVersionError: A newer version of this package began it.
        LedgerError: The ledger cannot be read or trusted.
    """
    began = journal.get(ExperimentBegan)
    if began is None:
        versions = identity.versions or CURRENT
        versions.check_known(str(identity))
        journal.ledger.require_schema(versions.schema)
        began, _ = journal.record(
            ExperimentBegan(
                name=identity.name,
                number=identity.number,
                backend=backend,
                identity_version=versions.identity,
                fingerprint_version=versions.fingerprint,
                tags_version=versions.tags,
            )
        )
    began.versions.check_known(str(identity))
    return began


def opened_by(ledger: Ledger, flow_run_id: str) -> list[Identity]:
    """Return the experiments that an outermost flow run opened."""
    return [
        Identity(one.name, one.number, one.uid, resumed=True)
        for one in Journal(ledger, _NAMES).all(OpenedByRun, flow_run_id)
    ]


def flow_runs_of(ledger: Ledger, uid: str) -> list[str]:
    """Return the IDs of the outermost flow runs that opened an experiment, oldest first."""
    opened = Journal(ledger, _NAMES).all(OpenedByRun)
    return [one.flow_run_id for one in opened if one.uid == uid]


def known_experiments(ledger: Ledger) -> list[Identity]:
    """Return every named experiment in a ledger, oldest first."""
    return [
        Identity(one.name, one.number, one.uid, resumed=True, lost=one.lost)
        for one in Journal(ledger, _NAMES).all(NameGiven)
    ]


def _checked(name: str | None) -> str:
    if name is None:
        raise InvalidInputError(
            "Outside a flow run an experiment needs a name, so that it can be found again: "
            "experiment('h2-scan')."
        )
    if not name.strip() or len(quote(name, safe="")) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidInputError(
            f"{name!r} cannot name an experiment: use 1 to {MAX_NAME_LENGTH} printable characters "
            "(fewer if they are not ASCII)."
        )
    return name
