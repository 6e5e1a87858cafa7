"""CP2K's input as lines: comments and what this program drops are taken out before it is parsed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, brief

COMMENTS = "!#"
DROPPED = ("MOTION", "PRINT", "EXT_RESTART", "VIBRATIONAL_ANALYSIS")
"""Of the user's own run; prints are put in."""
MAX_DEPTH = 20
"""Files that include each other in a ring would never end."""
_INCLUDE = re.compile(r"@INCLUDE\s+(.+)", re.IGNORECASE)
_FORTRAN = re.compile(r"(?<=\s)([-+]?\d+\.?\d*)[dD]([-+]?\d+)(?=\s|$)")


@dataclass(frozen=True)
class Line:
    """A line without its comment; `number` counts from 1 in its own file."""

    text: str
    path: Path
    number: int

    @property
    def where(self) -> str:
        """File and line, for people."""
        return f"{self.path}, line {self.number}"


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 with or without a byte-order mark, else Latin-1 (in comments).

    Raises:
        InputError: no such file, or no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise InputError(f"{path}: cannot be read (no text, or UTF-16); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def lines_of(text: str, path: Path) -> list[Line]:
    """The lines of an input, and of what it includes, without comments and dropped sections.

    An include whose name holds a variable, or that is not there, is left to the parser: it may
    stand in a branch that is not taken.
    """
    return list(_without_dropped(_included(text, path, path.parent, 0)))


def _included(text: str, path: Path, folder: Path, depth: int) -> Iterator[Line]:
    if depth > MAX_DEPTH:
        raise InputError(f"{path}: files include each other more than {MAX_DEPTH} deep")
    for number, raw in enumerate(text.splitlines(), start=1):
        line = Line(without_comment(raw), path, number)
        asked = _INCLUDE.match(line.text.strip())
        name = asked[1].strip().strip("'\"") if asked else ""
        if name and "$" not in name and (folder / name).is_file():
            yield from _included(read_text(folder / name), folder / name, folder, depth + 1)
        else:
            yield line


def without_comment(raw: str) -> str:
    """A line without its comment and trailing blanks, tabs as blanks.

    A quotation mark opens a text only at the beginning of a word and where it is closed again on
    the line; inside such a text nothing is a comment.
    """
    line, at = raw.expandtabs(1), 0
    while at < len(line):
        if line[at] in COMMENTS:
            return line[:at].rstrip()
        if line[at] in "'\"" and (at == 0 or line[at - 1].isspace()):
            end = line.find(line[at], at + 1)
            at = end if end > 0 else at
        at += 1
    return line.rstrip()


def _without_dropped(lines: Iterator[Line]) -> Iterator[Line]:
    """Blank lines for sections that are dropped, and that the parser may refuse (newer prints)."""
    open_: list[Line] = []
    for line in lines:
        word = section(line.text)
        inside = bool(open_) or word in DROPPED
        if inside and word == "END":
            wrong = unbalanced([*open_[-1:], line])
            if wrong:
                raise InputError(wrong)
            open_.pop()
        elif inside and word:
            open_.append(line)
        yield Line("", line.path, line.number) if inside else line
    if open_:
        raise InputError(str(unbalanced(open_)))


def section(text: str) -> str:
    """The name of the section that a line opens, "END" where it closes one, else ""."""
    words = text.split()
    return words[0][1:].upper() if words and words[0].startswith("&") else ""


def joined(lines: Sequence[Line]) -> str:
    """The text for the parser, with exponents that it reads (1.0d-6 → 1.0e-6)."""
    return "\n".join(_FORTRAN.sub(r"\1e\2", line.text) for line in lines) + "\n"


def inside(lines: Sequence[Line], at: Line) -> str:
    """In which section a line stands, and where that was opened, for people."""
    open_: list[tuple[str, Line]] = []
    for line in lines:
        if line == at:
            break
        name = section(line.text)
        if name == "END":
            del open_[-1:]
        elif name:
            open_.append((name, line))
    return f"in &{open_[-1][0]} (line {open_[-1][1].number})" if open_ else "outside all sections"


def unbalanced(lines: Sequence[Line]) -> str | None:
    """What is wrong with the nesting of sections, with lines; None where nothing is."""
    open_: list[tuple[str, Line]] = []
    for line in lines:
        name = section(line.text)
        if name != "END":
            open_ += [(name, line)] if name else []
            continue
        if not open_:
            return f"{line.where}: &END closes nothing: no section is open there"
        begun, since = open_.pop()
        words = line.text.split()
        if len(words) > 1 and words[1].upper() != begun:
            return (
                f"{line.where}: {brief(line.text)} closes &{begun}, which was opened in line "
                f"{since.number}"
            )
    if open_:
        name, line = open_[-1]
        return f"{line.where}: section &{name} is not closed; add &END {name}"
    return None
