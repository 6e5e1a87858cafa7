"""Directories of the campaign that are made from those of several jobs, and deleted."""

import os
import shutil
from collections.abc import Mapping
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


def _link(source: Path, to: Path) -> None:
    if source.is_symlink():
        to.symlink_to(source.readlink())
        return
    try:
        os.link(source, to)
    except OSError:  # no hard links here
        shutil.copy2(source, to)
