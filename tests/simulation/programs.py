"""What users write: requests one after another, in threads, in flows and their subflows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

Path = tuple[int, ...]
"""Where in a tree of flows code runs: the number of each call on the way down."""

Key = tuple[Path, str, object]
"""One request of a program: its flow's path, what it runs, and its label or its rank there."""


@dataclass(frozen=True)
class Step:
    """One request of a program.

    Attributes:
        content: What it runs.
        follows: Whether what it runs depends on the result before, as an optimiser's does.
        label: The user's label.
    """

    content: str
    follows: bool = False
    label: str | None = None

    def asks(self, before: float) -> str:
        """Return what it runs after a result."""
        return f"{self.content}({before!r})" if self.follows else self.content


@dataclass(frozen=True)
class Threads:
    """Requests that threads make at once."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Call:
    """A call of a subflow.

    Attributes:
        retries: How often Prefect itself runs it again after an error.
        keep: Whether Prefect keeps its result.
    """

    flow: str
    parameters: dict[str, Any]
    body: Body
    retries: int = 0
    keep: bool = False


Body = tuple["Step | Threads | Call", ...]


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        body: What it does.
        flow: The name of its flow; ``None`` for a script.
        named: Whether its experiment has a name. Subflows then share it.
        later: What it does in later chapters, each once the one before is finished.
        finishes: Whether it says itself that its experiment is finished, before its flow ends.
    """

    body: Body
    flow: str | None = None
    named: bool = True
    later: tuple[Body, ...] = ()
    finishes: bool = False

    @property
    def has_calls(self) -> bool:
        """Whether it calls subflows."""
        return any(isinstance(one, Call) for one in self.body)

    @property
    def shared(self) -> bool:
        """Whether several flow runs open one experiment."""
        return self.named and self.has_calls

    @property
    def in_order(self) -> bool:
        """Whether it makes one request after another, in one flow or script, without labels."""
        steps = [one for one in self.body if isinstance(one, Step) and one.label is None]
        return len(steps) == len(self.body) and not self.later


@dataclass
class Keys:
    """Names the requests of one flow by their order."""

    path: Path
    _seen: dict[str, int] = field(default_factory=dict)

    def of(self, step: Step, asked: str) -> Key:
        """Return the key of the next request."""
        if step.label is not None:
            return (self.path, asked, step.label)
        self._seen[asked] = self._seen.get(asked, 0) + 1
        return (self.path, asked, self._seen[asked])


def steps_of(body: Body) -> Iterator[Step]:
    """Yield the requests of a body and of its subflows."""
    for one in body:
        match one:
            case Step():
                yield one
            case Threads():
                yield from one.steps
            case Call():
                yield from steps_of(one.body)


def changed(body: Body, share: float) -> Body:
    """Return a body as somebody changes it between two attempts."""
    steps = list(body)
    index = int(share * len(steps))
    match int(share * 1000) % 3:
        case 0:
            steps.insert(index, Step(f"inserted {share:.3f}"))
        case 1:
            del steps[index]
        case _:
            steps[index] = Step(f"changed {share:.3f}")
    return tuple(steps)


def draw_program(drawn: random.Random, kind: str | None = None) -> Program:
    """Draw a program: a script, a flow, a tree of flows; with chapters or threads."""
    if kind is None:
        kind = drawn.choice(["script", "script", "script", "flow", "tree", "tree", "chapters"])
    match kind:
        case "script" if drawn.random() < 0.15:
            threads = Threads(tuple(Step(f"thread {one}") for one in range(drawn.randint(2, 4))))
            return Program((threads, *draw_steps(drawn)[:3]))
        case "script":
            return Program(draw_steps(drawn))
        case "flow":
            return Program(draw_steps(drawn), flow="main", named=drawn.random() < 0.5)
        case "tree":
            named = drawn.random() < 0.5
            return Program(_draw_tree(drawn, labels=not named), flow="main", named=named)
    first = draw_steps(drawn)
    more = tuple(Step(f"later {one}") for one in range(drawn.randint(1, 3)))
    finishes = drawn.random() < 0.5
    if drawn.random() < 0.5:
        return Program(first, flow="main", later=(more,), finishes=finishes)
    if drawn.random() < 0.5:
        more = (*_steps(drawn, 2, labels=False), *more)  # some equal to those of the first chapter
    return Program(first, flow="main", later=((*first, *more),), finishes=finishes)


def _draw_tree(drawn: random.Random, *, labels: bool) -> Body:
    """Draw a flow that calls subflows: different ones, equal ones and nested ones."""
    bodies = [_steps(drawn, drawn.randint(1, 3), labels=labels) for _ in range(2)]
    if drawn.random() < 0.3:
        inner = Call("inner", {"number": 1}, _steps(drawn, 1, labels=labels))
        bodies[1] = (*bodies[1], inner)
    body: list[Step | Threads | Call] = []
    equal = drawn.random() < 0.3
    for _ in range(drawn.randint(3, 5) if equal else drawn.randint(1, 4)):
        number = 0 if equal else drawn.randrange(2)
        call = Call(
            "child" if equal else drawn.choice(["child", "child", "other"]),
            {"number": number},
            bodies[number],
            retries=drawn.choice([0, 0, 1]),
            keep=drawn.random() < 0.4,
        )
        body.append(call)
        if drawn.random() < 0.4:
            body += _steps(drawn, 1, labels=False)
    return tuple(body)


def _steps(drawn: random.Random, number: int, *, labels: bool) -> tuple[Step, ...]:
    chosen = [one for one in draw_steps(drawn) if isinstance(one, Step)][:number]
    return tuple(chosen if labels else (replace(one, label=None) for one in chosen))


def draw_steps(drawn: random.Random) -> Body:
    """Draw requests: independent ones, equal ones, an optimiser's, some with labels."""
    kind = drawn.choice(["optimiser", "sweep", "equal", "mixed"])
    number = drawn.randint(2, 7)
    match kind:
        case "optimiser":
            return tuple(Step("energy", follows=True) for _ in range(number))
        case "sweep":
            return tuple(Step(f"point {index}") for index in range(number))
        case "equal":
            return tuple(Step("the same") for _ in range(number))
    return tuple(
        Step(
            drawn.choice(["a", "b", "c"]),
            follows=drawn.random() < 0.3,
            label=f"label {index}" if drawn.random() < 0.3 else None,
        )
        for index in range(number)
    )
