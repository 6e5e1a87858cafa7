"""The files that a PLUMED input reads and writes.

Files that PLUMED reads are in the directory of the campaign file and are copied for all walkers
under the same name. Files that PLUMED writes get a different name for each walker, because all
walkers of a segment share a directory. It is an error if a key may name a file and it is not known
whether PLUMED reads or writes it. Keys are those of the manual of PLUMED 2.11.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import InputError
from .plumed import Action, Edit, Word, parse

_READ = re.compile(
    r"REFERENCE(_?[0-9]+)?|STRUCTURE|TEMPLATE|GMM_FILE|ERR_FILE|OV_FILE|DATA_FILE|ATOM_NAMES_FILE"
    r"|NDX_FILE|CLUSTERS|KERNELFILE\w*|EIGENVECTORS|REF_FILE[0-9]*|PDBFILE|DELTAGFILE"
    r"|PARAMETERSFILE|HILLSFILES|HISTOFILES|\w+_RFILE"
)
_READ_BY = {("PCARMSD", "AVERAGE"), ("METAD", "TARGET"), ("METATOMIC", "MODEL")}
_READERS = {"CONSTANT", "EXTERNAL", "CALIBER", "READ", "READMASSCHARGE", "REFERENCE_GRID",
            "PYTORCH_MODEL", "LOAD"}  # fmt: skip
"""Actions whose FILE is read."""
_WRITTEN = re.compile(r"FILE|WFILE|\w+_WFILE|OUTHILLS|OUTHISTO")
_DEFAULTS = {"DUMPGRID": "density", "DUMPCUBE": "density", "DUMPCONTOUR": "density",
             "DUMPVECTOR": "density"}  # fmt: skip
"""Default output files of actions."""
_OURS = {"METAD", "PRINT"}
"""Actions whose FILE is set by `plumed.rewrite`."""
_ASIDE = {"INCLUDE", "UNITS"}


def read(text: str) -> Mapping[str, Action]:
    """The files that PLUMED reads, by name, with the first action that reads each."""
    found: dict[str, Action] = {}
    labels = {action.label for action in parse(text)}
    for action, word in _words(text):
        value = word.value or ""
        if _reads(action, word.key) and value and not _is_number(value) and value not in labels:
            for name in value.split(","):
                found.setdefault(name, action)
    return found


def contents(text: str, folder: Path) -> Mapping[str, bytes]:
    """Content of each file that PLUMED reads, by name; without those with an absolute path.

    Args:
        text: PLUMED input.
        folder: directory of the campaign file.

    Raises:
        InputError: a file is missing, unreadable, or not below the directory.
    """
    found = {}
    for name, action in read(text).items():
        path = folder / name
        key = f"PLUMED text, line {action.line}, {action.name}: {name}"
        if action.name == "LOAD" and not path.is_file():
            continue  # a library on the search path of the loader
        if not Path(name).is_absolute() and ".." in PurePosixPath(name).parts:
            raise InputError(
                f"{key}: outside the directory of the campaign file; put the file into that "
                "directory"
            )
        if not path.is_file():
            raise InputError(
                f"{key}: file not found in the directory of the campaign file ({path})"
            )
        if Path(name).is_absolute():
            continue
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{key}: cannot be read ({error.strerror})") from error
    return found


def renamed(text: str, prefix: str) -> list[Edit]:
    """Edits that add `prefix` to the names of output files, except those of METAD and PRINT.

    Raises:
        InputError: two actions write the same file.
    """
    edits: list[Edit] = []
    owners: dict[str, int] = {}
    for action in parse(text):
        if action.name in _OURS:
            continue
        written = [word for word in action.words if _writes(action, word.key) and word.value]
        names = [PurePosixPath(word.value or "").name for word in written]
        edits += [
            (word.start, word.end, f"{word.text.partition('=')[0]}={prefix}{name}")
            for word, name in zip(written, names, strict=True)
        ]
        if action.name in _DEFAULTS and not written:
            end, names = action.name_word.end, [_DEFAULTS[action.name]]
            edits.append((end, end, f" FILE={prefix}{names[0]}"))
        for name in names:
            if owners.setdefault(name, action.line) != action.line:
                raise InputError(
                    f"PLUMED text, line {action.line}, {action.name}: the action on line "
                    f"{owners[name]} also writes the file {name}; use different names"
                )
    return edits


def writes(action: Action) -> bool:
    """Whether an action only writes a file and is not used by other actions."""
    if action.name in _DEFAULTS or action.name.startswith(("PRINT", "DUMP")):
        return True
    return action.label is None and any(_writes(action, word.key) for word in action.words)


def check(text: str) -> None:
    """Raise InputError if a key may name a file and it is not known whether PLUMED reads it."""
    for action, word in _words(text):
        known = _reads(action, word.key) or _writes(action, word.key)
        if re.search("FILE(?!_FMT)", word.key) and word.value and not known:
            raise InputError(
                f"PLUMED text, line {action.line}, {action.name}: {word.key} is not supported, "
                "because it is not known whether PLUMED reads or writes this file; remove it"
            )
    renamed(text, "")


def _words(text: str) -> Iterator[tuple[Action, Word]]:
    return (
        (action, word)
        for action in parse(text)
        if action.name not in _ASIDE
        for word in action.words
    )


def _reads(action: Action, key: str) -> bool:
    if key == "FILE":
        return action.name in _READERS
    return bool(_READ.fullmatch(key)) or (action.name, key) in _READ_BY


def _writes(action: Action, key: str) -> bool:
    return bool(_WRITTEN.fullmatch(key)) and not _reads(action, key)


def _is_number(value: str) -> bool:
    try:
        [float(word) for word in value.split(",")]
    except ValueError:
        return False
    return True
