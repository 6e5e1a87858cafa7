"""What a killed training has left to continue from."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UNREADABLE
from ..jobs import Job, same_inputs
from .training_config import KEPT, PROGRESS, RESUMES, epochs_of


@dataclass(frozen=True)
class Left:
    """What earlier tries of a training have left to continue from.

    Attributes:
        inputs: files for the next try: the epochs' numbers.
        links: the newest checkpoints, for the next try.
        epochs: that the newest one has behind it; 0 if there is none.
        place: the try that it is from.
        damaged: checkpoints that are not whole.
    """

    inputs: Mapping[str, bytes]
    links: Mapping[str, Path]
    epochs: int
    place: Path | None
    damaged: tuple[Path, ...]


def left_behind(job: Job) -> Left:
    """What tries of the same training, set aside since, have left beside the job's directory."""
    found, damaged = [], []
    for place in sorted(job.directory.parent.glob(f"{job.directory.name}.*-*")):
        if not same_inputs(job, place):
            continue
        for path in place.glob(RESUMES):
            if _is_whole(path):
                found.append((epochs_of(path), path))
            else:
                damaged.append(path)
    newest = {path.name: path for _, path in sorted(found)}  # of one epoch, one is as good
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
    """Whether a checkpoint is what was written, by its own checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (*UNREADABLE, zipfile.BadZipFile):
        return False
