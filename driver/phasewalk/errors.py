"""What can go wrong, as one tree.

    PhasewalkError          every error that a user may see; `exit_code` 1
    ├── InputError          the user can mend it (a setting, a file, a program); exit code 2
    │   ├── ParseError      a file that cannot be read; names it and, where known, the line
    │   ├── EngineMissing   a program or library that is not installed or does not fit
    │   └── StoreError      the campaign directory: locked, foreign, read-only, full
    ├── EngineFailed        a program was started and failed; names its directory and last lines
    ├── GateFailed          a deployed model is not what it should be; says what, and by how much
    ├── NothingLeft         a round has too little left to go on with
    └── Interrupted         Ctrl-C or SIGTERM; exit code 130

Every message says what, where, the limit, and what to do next, in one line.
"""

from pathlib import Path


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
        super().__init__(f"{where}: {message}")
        self.path = path
        self.line = line


class EngineMissing(InputError):
    """A program, library or package that is absent or of the wrong version."""


class StoreError(InputError):
    """The campaign directory cannot be used as asked."""


class EngineFailed(PhasewalkError):
    """A program was started and did not do its work."""


class GateFailed(PhasewalkError):
    """A deployed model failed its proof."""


class NothingLeft(PhasewalkError):
    """Too few frames or labels are left for the round to go on."""


class Interrupted(PhasewalkError):
    """The user (or the system) asked for a stop."""

    exit_code = 130
