"""README and docs: their code blocks, and the commands that they show."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
LANGUAGES = {"sh", "console", "yaml", "text", "python"}
"""`sh` and `console` (lines after `$ `) are commands; `text` is what nobody types as it stands."""


@dataclass(frozen=True)
class Block:
    """A fenced code block; `line` is that of its fence."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}, line {self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines, without comments; `\\` at a line's end continues it."""
        if self.language not in ("sh", "console"):
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        stripped = (" ".join(shlex.split(line, comments=True)) for line in lines)
        return [
            shlex.join(shlex.split(line, comments=True))
            for line, kept in zip(lines, stripped, strict=True)
            if kept
        ]


def blocks(page: Path) -> list[Block]:
    """All fenced code blocks of a page, those in lists among them."""
    found: list[Block] = []
    begun: tuple[int, str, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if fence and begun is None:
            begun, inside = (number, fence[1], fence[2]), []
        elif fence and begun is not None:
            found.append(Block(page, begun[0], begun[2], "\n".join(inside)))
            begun = None
        elif begun is not None:
            inside.append(line.removeprefix(begun[1]))
    assert begun is None, f"{page}: a code block is not closed"
    return found


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S)


def inline_commands(page: Path) -> Iterator[list[str]]:
    """The words of `phasewalk …` in the running text: a command, perhaps without its arguments."""
    for text in re.findall(r"`(phasewalk [^`]+)`", prose(page)):
        yield shlex.split(text)


def words(commands: Sequence[str]) -> list[list[str]]:
    """The words of each command that is phasewalk's own."""
    split = [shlex.split(command) for command in commands]
    return [one for one in split if one[0] == "phasewalk"]
