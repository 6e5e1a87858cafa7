"""Directories of the campaign that are made from those of several jobs, packed, and deleted."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from ..errors import named
from .directory import Store


def gather(store: Store, name: str, files: Mapping[str, Path]) -> Path:
    """Make a directory of a task from files of others, which stay where they are.

    It is there only if it is complete; one of an interrupted run is moved away. Files are hard
    links if the file system has them, and symbolic links keep their relative targets.

    Args:
        store: open for writing.
        name: of the directory.
        files: name in the directory, which may have a folder → file.
    """
    path = store.workplace(name)
    part = path.with_name(f".{path.name}.gathering")
    with named(part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for to, source in files.items():
            (part / to).parent.mkdir(exist_ok=True)
            _link(source, part / to)
        part.rename(path)
    return path


def drop(store: Store, name: str) -> None:
    """Delete a file or directory of the campaign; it is no error if there is none."""
    store.beat()
    path = store.root / name
    with named(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def pack(store: Store, name: str, places: Sequence[Path]) -> None:
    """Move directories into a ZIP archive, or into the one that is there.

    The archive is complete before a directory is deleted, so that a kill in between loses nothing.
    Symbolic links are left out. A file that is there with another content gets a number.

    Args:
        store: open for writing.
        name: of the archive.
        places: directories, with different names.
    """
    if not places:
        return
    store.beat()
    path = store.root / name
    part = path.with_name(f".{path.name}.part")
    with named(path):
        part.unlink(missing_ok=True)
        if path.exists():
            shutil.copyfile(path, part)
        with zipfile.ZipFile(part, "a", zipfile.ZIP_DEFLATED) as archive:
            known = set(archive.namelist())
            for place in places:
                for file in sorted(place.rglob("*")):
                    if file.is_file() and not file.is_symlink():
                        _add(archive, known, file, str(file.relative_to(place.parent)))
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
        for place in places:
            shutil.rmtree(place)
        for folder in {place.parent for place in places}:
            with contextlib.suppress(OSError):  # others are still there
                folder.rmdir()


def _add(archive: zipfile.ZipFile, known: Set[str], file: Path, name: str) -> None:
    """Add a file, unless an interrupted run has done so."""
    content, number, to = file.read_bytes(), 1, name
    while to in known:
        if archive.read(to) == content:
            return
        number += 1
        to = f"{name}.{number}"
    archive.writestr(to, content)


def _link(source: Path, to: Path) -> None:
    if source.is_symlink():
        to.symlink_to(source.readlink())
        return
    try:
        os.link(source, to)
    except OSError:  # no hard links here
        shutil.copy2(source, to)
