"""What can go wrong, as one tree.

    PhasewalkError          every error that a user may see; `exit_code` 1
    ├── InputError          the user can mend it (a setting, a file, a program); exit code 2
    │   ├── ParseError      a file that cannot be read; names it and, where known, the line
    │   ├── EngineMissing   a program or library that is not installed or does not fit
    │   └── StoreError      the campaign directory: locked, foreign, read-only, full
    ├── EngineFailed        a program was started and failed; names its directory and last lines
    │   ├── NotConverged    a calculation that did not converge
    │   └── Killed          ended from outside (memory, node, signal): worth another try
    ├── GateFailed          a deployed model is not what it should be; says what, and by how much
    ├── TooPoor             a generation that has learned too little to walk with
    ├── NothingLeft         a round has too little left to go on with
    └── Interrupted         Ctrl-C or SIGTERM; exit code 130

Every message says what, where, the limit, and what to do next, in one line.
"""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError),
    *(RecursionError, MemoryError),
)
"""What code may raise that takes a file to hold what it should."""
MAX_MESSAGE = 500


class PhasewalkError(Exception):
    """Base of all errors that are shown to the user as one line."""

    exit_code = 1


class InputError(PhasewalkError):
    """Something that the user can mend; nothing was started."""

    exit_code = 2


class ParseError(InputError):
    """A file whose content cannot be understood."""

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        """Name the file and, where known, its line (counted from 1)."""
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {brief(message)}")
        self.path = path
        self.line = line


def brief(what: object) -> str:
    """Any text, a damaged file's above all, as one printable line that fits on a screen."""
    line = " ".join(str(what).split())
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    return shown if len(shown) <= MAX_MESSAGE else f"{shown[:MAX_MESSAGE]} …"


class EngineMissing(InputError):
    """A program, library or package that is absent or of the wrong version."""


class StoreError(InputError):
    """The campaign directory cannot be used as asked."""


class EngineFailed(PhasewalkError):
    """A program was started and did not do its work."""


class NotConverged(EngineFailed):
    """A calculation that did not converge: its numbers are worth nothing."""


class Killed(EngineFailed):
    """A program that was ended from outside: what it did says nothing about its model."""


class GateFailed(PhasewalkError):
    """A deployed model failed its proof."""


class TooPoor(PhasewalkError):
    """A generation has learned too little to be sent walking."""


class NothingLeft(PhasewalkError):
    """Too few frames or labels are left for the round to go on."""


class Interrupted(PhasewalkError):
    """The user (or the system) asked for a stop."""

    exit_code = 130


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a StoreError that names the file."""
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
