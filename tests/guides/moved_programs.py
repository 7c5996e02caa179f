"""IBM's guides and tutorials, rewritten: each program with the client alone, and durable.

Each program's docstring says what it is: the title and address of its source, how it uses the
client, and what was shrunk. ``python tests/guides/moved_programs.py`` writes the page's table from
that.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/how-to/real-programs.md"
_DOCSTRING = re.compile(
    r'"""(?P<title>[^\n]+)\.\n\n(?P<shape>.+?)\sShrunk: (?P<shrunk>.+?)\.\n\n'
    r'Source: (?P<address>https://quantum\.cloud\.ibm\.com/docs/\S+)\n"""\n',
    re.DOTALL,
)
_TABLE = re.compile(r"(?<=<!-- programs: begin -->\n).*(?=<!-- programs: end -->)", re.DOTALL)


@dataclass(frozen=True)
class Guide:
    """One program, twice."""

    name: str

    @property
    def bare(self) -> Path:
        """The program with ``qiskit-ibm-runtime`` alone."""
        return HERE / "bare" / f"{self.name}.py"

    @property
    def durable(self) -> Path:
        """The same program with ``session_block``."""
        return HERE / "durable" / f"{self.name}.py"

    def changed_lines(self) -> int:
        """Return how many lines were changed: what was replaced, or what replaces it, if more."""
        diff = difflib.ndiff(_lines(self.bare), _lines(self.durable))
        signs = [line[0] for line in diff]
        return max(signs.count("-"), signs.count("+"))

    def row(self) -> str:
        """Return the program's row of the page."""
        found = _DOCSTRING.match(self.bare.read_text())
        assert found is not None, f"{self.bare} does not name its source"
        told = {name: " ".join(text.split()) for name, text in found.groupdict().items()}
        return (
            f"| `{self.name}` | [{told['title']}]({told['address']}) | {told['shape']} "
            f"| {self.changed_lines()} | {told['shrunk']} |"
        )


GUIDES = [Guide(path.stem) for path in sorted((HERE / "bare").glob("*.py"))]


def page() -> str:
    """Return the page with the table as the programs tell it."""
    table = "".join(
        f"{row}\n"
        for row in (
            "| program | source | what it does | changed lines | shrunk |",
            "| --- | --- | --- | --- | --- |",
            *(guide.row() for guide in GUIDES),
        )
    )
    return _TABLE.sub(lambda _: table, PAGE.read_text())


def _lines(program: Path) -> list[str]:
    """Return a program's lines, without blank ones and comments."""
    return [
        line
        for line in program.read_text().splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


if __name__ == "__main__":
    PAGE.write_text(page())
