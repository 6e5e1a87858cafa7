"""Code in the cache: plugins and compiled networks, used only if this user has written them.

A cache may be shared by a group. Its labels are data, but a plugin or a compiled network is code
that runs with the rights of the user who loads it. It is used only if its hash equals the one that
was written with it, and if only this user or root could have written either.

    FOLDER/NAME…       plugin or compiled network
    FOLDER/sha256.json the hash of each file, written last

If FOLDER belongs to another user, a folder next to it is used, with the user's number in its name.
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
    """The folder, or this user's own folder next to it if it belongs to another user."""
    mine = folder.with_name(f"{folder.name}-u{os.getuid()}")
    if mine.exists():
        return mine
    return folder if not folder.exists() or not _not_mine(folder) else mine


def seal(folder: Path, names: Sequence[str]) -> None:
    """Record the hashes of the files and remove write permission for other users.

    Raises:
        StoreError: the folder cannot be written.
    """
    for path in (folder, *(folder / name for name in names)):
        path.chmod(path.stat().st_mode & ~OTHERS_MAY_WRITE)
    hashes = {name: file_hash(folder / name) for name in names}
    write_file(folder / HASHES, json.dumps(hashes, indent=1).encode())
    (folder / HASHES).chmod(0o644)


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files and record their hashes.

    Raises:
        StoreError: the folder cannot be written.
    """
    for name, content in files.items():
        write_file(folder / name, content)
    seal(folder, list(files))


def why_not(folder: Path, names: Sequence[str]) -> str:
    """Why the files are not used; empty if this user wrote them and they are unchanged."""
    try:
        hashes = read(folder / HASHES, dict[str, str])
        for path in (folder, folder / HASHES, *(folder / name for name in names)):
            if reason := _not_mine(path):
                return reason
        for name in names:
            if file_hash(folder / name) != hashes[name]:
                return f"{folder / name} is damaged or was changed (its checksum differs)"
    except (OSError, LookupError, ParseError) as error:
        return f"{folder}: its list of checksums cannot be read ({error})"
    return ""


def _not_mine(path: Path) -> str:
    """Why another user may have written a file or folder; empty if only this user or root could."""
    status = path.stat()
    if status.st_uid not in (os.getuid(), ROOT):
        return f"{path} belongs to another user"
    if status.st_mode & OTHERS_MAY_WRITE:
        return f"{path} can be written by other users"
    return ""


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which need not exist yet."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(there, os.W_OK)
