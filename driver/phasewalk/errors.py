"""Exceptions.

    PhasewalkError          every error that a user may see; `exit_code` 1
    ├── InputError          the user can correct it (a setting, a file, a program); exit code 2
    │   ├── ParseError      a file that cannot be read; names it and, if known, the line
    │   ├── EngineMissing   a program or library that is not installed or not compatible
    │   └── StoreError      the campaign directory: locked, foreign, read-only, full
    ├── EngineFailed        a program was started and failed; names its directory and last lines
    │   ├── NotConverged    a calculation that did not converge
    │   └── Killed          killed from outside (memory, node, signal); may be repeated
    ├── GateFailed          a deployed model failed a check; says which, and by how much
    ├── TooPoor             a generation whose force errors are too large for MD
    ├── NothingLeft         too few frames or labels are left to continue a round
    ├── OutOfTime           the allocation ends before the next job would; exit code 75
    └── Interrupted         Ctrl-C or SIGTERM; exit code 130

Every message is one line: problem, place, limit, and what to do.
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(RecursionError, MemoryError, EOFError),
)
"""Exceptions that code may raise if a file does not have the expected content."""
MAX_MESSAGE = 500


class PhasewalkError(Exception):
    """Base of all errors that are shown to the user as one line."""

    exit_code = 1


class InputError(PhasewalkError):
    """An error that the user can correct; nothing was started."""

    exit_code = 2


class ParseError(InputError):
    """A file whose content cannot be read."""

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        """Name the file and, if known, its line (counted from 1)."""
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {brief(message)}")
        self.path = path
        self.line = line


def brief(what: object) -> str:
    """Any text, such as that of a damaged file, as one printable line of limited length."""
    line = " ".join(str(what).split())
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:MAX_MESSAGE]} …"


class EngineMissing(InputError):
    """A program, library or package that is missing or has the wrong version."""


class StoreError(InputError):
    """The campaign directory cannot be used as asked."""


class EngineFailed(PhasewalkError):
    """A program was started and failed."""


class NotConverged(EngineFailed):
    """A calculation did not converge; its results are not used."""


class Killed(EngineFailed):
    """A program was killed from outside, which says nothing about its input."""


class GateFailed(PhasewalkError):
    """A deployed model failed its validation."""


class TooPoor(PhasewalkError):
    """The force errors of a generation are too large for MD."""


class NothingLeft(PhasewalkError):
    """Too few frames or labels are left to continue the round."""


class OutOfTime(PhasewalkError):
    """The allocation of a scheduler ends before the next job would; to be continued in another."""

    exit_code = 75


class Interrupted(PhasewalkError):
    """The user or the system requested a stop."""

    exit_code = 130


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "no space left; free some and run the same command again, nothing was lost"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "not writable; choose another --dir or change its permissions"
        else:
            hint = error.strerror or str(error)
        raise StoreError(f"{path}: {hint}") from error
