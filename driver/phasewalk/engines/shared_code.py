"""Code in the cache: plugins and compiled networks, used only if they are what this user put there.

A cache may be a group's. Labels in it are data, and are read as such. A library or a compiled
network is code that runs as whoever loads it: it is used only if its hash is the one that was
written beside it, and nobody but this user (or root) could have written either.

    FOLDER/NAME…       what was built
    FOLDER/sha256.json the hash of each, written last

Where a folder is another user's, one's own is beside it, with one's number in its name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ParseError
from ..files import file_hash, read, write_file

HASHES = "sha256.json"
OTHERS_MAY_WRITE = 0o022
ROOT = 0


def own(folder: Path) -> Path:
    """The folder, or where this user's own is if another's stands there."""
    mine = folder.with_name(f"{folder.name}-u{os.getuid()}")
    if mine.exists():
        return mine
    return folder if not folder.exists() or not _not_mine(folder) else mine


def seal(folder: Path, names: Sequence[str]) -> None:
    """Write down what the files are; nobody else may write here from now on.

    Raises:
        StoreError: the folder cannot be written.
    """
    for path in (folder, *(folder / name for name in names)):
        path.chmod(path.stat().st_mode & ~OTHERS_MAY_WRITE)
    hashes = {name: file_hash(folder / name) for name in names}
    write_file(folder / HASHES, json.dumps(hashes, indent=1).encode())
    (folder / HASHES).chmod(0o644)


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Keep files.

    Raises:
        StoreError: the folder cannot be written.
    """
    for name, content in files.items():
        write_file(folder / name, content)
    seal(folder, list(files))


def why_not(folder: Path, names: Sequence[str]) -> str:
    """Why what is there is not used, in words; empty if it is this user's, as it was written."""
    try:
        hashes = read(folder / HASHES, dict[str, str])
        for path in (folder, folder / HASHES, *(folder / name for name in names)):
            if reason := _not_mine(path):
                return reason
        for name in names:
            if file_hash(folder / name) != hashes[name]:
                return f"{folder / name} is not what was built: damaged, or changed"
    except (OSError, LookupError, ParseError) as error:
        return f"{folder}: it is not known what was built ({error})"
    return ""


def _not_mine(path: Path) -> str:
    """Why somebody else may have written a file or folder; empty if nobody could."""
    status = path.stat()
    if status.st_uid not in (os.getuid(), ROOT):
        return f"{path} is another user's"
    if status.st_mode & OTHERS_MAY_WRITE:
        return f"{path} can be written by others"
    return ""


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder if it is not there yet."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(there, os.W_OK)
