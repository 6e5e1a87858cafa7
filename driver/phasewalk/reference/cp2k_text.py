"""CP2K's input as lines: comments and ignored sections are removed before it is parsed."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, brief

COMMENTS = "!#"
DROPPED = ("MOTION", "PRINT", "EXT_RESTART", "VIBRATIONAL_ANALYSIS")
"""Sections of the user's run that are not used; print keys are added again."""
MAX_DEPTH = 20
"""Limit for files that include each other."""
_INCLUDE = re.compile(r"@INCLUDE\s+(.+)", re.IGNORECASE)
_FORTRAN = re.compile(r"(?<=\s)([-+]?\d+\.?\d*)[dD]([-+]?\d+)(?=\s|$)")


@dataclass(frozen=True)
class Line:
    """A line without its comment; `number` is its line number in its file, from 1."""

    text: str
    path: Path
    number: int

    @property
    def where(self) -> str:
        """File and line number, for messages."""
        return f"{self.path}, line {self.number}"


def input_text(path: Path) -> str:
    """The text of a file: UTF-8 with or without a byte-order mark, else Latin-1 (in comments).

    Raises:
        InputError: there is no such file, or it is not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise InputError(f"{path}: cannot be read (not text, or UTF-16); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def lines_of(text: str, path: Path) -> list[Line]:
    """The lines of an input and of included files, without comments and ignored sections.

    An @INCLUDE with a variable in its name, or of a file that does not exist, is left to the
    parser, because it may be in a branch that is not used.
    """
    return list(_without_dropped(_included(text, path, path.parent, 0)))


def _included(text: str, path: Path, folder: Path, depth: int) -> Iterator[Line]:
    if depth > MAX_DEPTH:
        raise InputError(f"{path}: files include each other to a depth of more than {MAX_DEPTH}")
    for number, raw in enumerate(text.splitlines(), start=1):
        line = Line(without_comment(raw), path, number)
        asked = _INCLUDE.match(line.text.strip())
        name = asked[1].strip().strip("'\"") if asked else ""
        if name and "$" not in name and (folder / name).is_file():
            yield from _included(input_text(folder / name), folder / name, folder, depth + 1)
        else:
            yield line


def without_comment(raw: str) -> str:
    """A line without its comment and trailing blanks; tabs are replaced by blanks.

    A quotation mark starts a quoted string only at the beginning of a word and if it is closed on
    the same line; a quoted string contains no comments.
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
    """Replace ignored sections, which the parser may not know (newer prints), by blank lines."""
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
    """The name of the section that a line opens, "END" if it closes one, else ""."""
    words = text.split()
    return words[0][1:].upper() if words and words[0].startswith("&") else ""


def joined(lines: Sequence[Line]) -> str:
    """The text for the parser, with Fortran exponents replaced (1.0d-6 → 1.0e-6)."""
    return "\n".join(_FORTRAN.sub(r"\1e\2", line.text) for line in lines) + "\n"


def inside(lines: Sequence[Line], at: Line) -> str:
    """The section that contains a line, and the line that opens it, for messages."""
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
    """The first error in the nesting of sections, with line numbers; None if there is none."""
    open_: list[tuple[str, Line]] = []
    for line in lines:
        name = section(line.text)
        if name != "END":
            open_ += [(name, line)] if name else []
            continue
        if not open_:
            return f"{line.where}: &END without an open section"
        begun, since = open_.pop()
        words = line.text.split()
        if len(words) > 1 and words[1].upper() != begun:
            return (
                f"{line.where}: {brief(line.text)} closes &{begun}, which is opened in line "
                f"{since.number}"
            )
    if open_:
        name, line = open_[-1]
        return f"{line.where}: section &{name} is not closed; add &END {name}"
    return None
