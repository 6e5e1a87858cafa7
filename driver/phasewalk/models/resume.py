"""Checkpoints from which an interrupted training continues."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UNREADABLE
from ..jobs import Job, same_inputs
from .training_config import KEPT, PROGRESS, RESUMES, epochs_of


@dataclass(frozen=True)
class Left:
    """Files of earlier attempts at a training, from which it can continue.

    Attributes:
        inputs: files for the next attempt: the progress of the finished epochs.
        links: the newest checkpoints, for the next attempt.
        epochs: number of finished epochs in the newest one; 0 if there is none.
        place: directory of the attempt that wrote it.
        damaged: damaged checkpoints.
    """

    inputs: Mapping[str, bytes]
    links: Mapping[str, Path]
    epochs: int
    place: Path | None
    damaged: tuple[Path, ...]


def left_behind(job: Job) -> Left:
    """Files of earlier attempts at the same training, set aside next to the job's directory."""
    found, damaged = [], []
    for place in sorted(job.directory.parent.glob(f"{job.directory.name}.*-*")):
        if not same_inputs(job, place):
            continue
        for path in place.glob(RESUMES):
            if _is_whole(path):
                found.append((epochs_of(path), path))
            else:
                damaged.append(path)
    newest = {path.name: path for _, path in sorted(found)}  # those of one epoch are equivalent
    kept = [newest[name] for name in sorted(newest)[-KEPT:]]
    if not kept:
        return Left({}, {}, 0, None, tuple(damaged))
    links = {path.name: path for path in kept}
    last = kept[-1]
    progress, inputs = last.parent / PROGRESS, {}
    if progress.is_file():
        inputs[PROGRESS] = progress.read_bytes()
    return Left(inputs, links, epochs_of(last), last.parent, tuple(damaged))


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint is undamaged, by its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (*UNREADABLE, zipfile.BadZipFile):
        return False
