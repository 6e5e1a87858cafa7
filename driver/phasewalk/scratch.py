"""Temporary folders, with a check of the free space."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

NEEDED_BYTES = 20_000_000


@contextlib.contextmanager
def folder(what: str, *, within: Path | None = None, keep_failed: bool = False) -> Iterator[Path]:
    """A temporary folder, deleted at the end.

    Args:
        what: its purpose; part of its name.
        within: where it is; None: TMPDIR.
        keep_failed: keep it after an error, since messages refer to files in it.

    Raises:
        InputError: there is no folder for temporary files, or it is full.
    """
    place = _make(what, within)
    try:
        yield place
    except BaseException:
        if not keep_failed:
            shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


def _make(what: str, within: Path | None) -> Path:
    how = "set TMPDIR to a writable folder with enough space"
    if within is not None:
        how = f"{within}: set `scratch` of the site file to a folder that can be written"
    try:
        place = Path(tempfile.mkdtemp(prefix=f"phasewalk-{what}-", dir=within))
    except OSError as error:
        raise InputError(f"no folder for temporary files ({error.strerror}); {how}") from error
    free = shutil.disk_usage(place).free
    if free < NEEDED_BYTES:
        place.rmdir()
        raise InputError(
            f"{place.parent}: {free / 1e6:.0f} MB left for temporary files, "
            f"{NEEDED_BYTES / 1e6:.0f} are needed; free some, or {how}"
        )
    return place
