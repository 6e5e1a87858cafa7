"""The directory of a job, with everything that its program reads."""

import contextlib
import os
import shutil
from pathlib import Path

from .. import jobs
from ..jobs import Finished, Job

SCRATCH = "tmp"
"""Name of a job's TMPDIR, in its directory, so that a killed program leaves no files elsewhere."""
TEXT = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Input and output of programs are UTF-8 in every locale."""
STOP_S = 300.0
"""Time in which a program stops by itself."""
OVER = "the time of its machines is over\n"
"""Content of a `Job.stop_file` that a launcher has written."""


def prepare(job: Job) -> Path:
    """Make the directory of a job with its inputs, links and copies; returns its TMPDIR."""
    write(job)
    scratch = job.directory.absolute() / SCRATCH
    scratch.mkdir(exist_ok=True)
    return scratch


def write(job: Job) -> None:
    """Make the directory of a job with its inputs, links and copies, without a TMPDIR."""
    job.directory.mkdir(parents=True, exist_ok=True)
    for name, content in job.inputs.items():
        _place(job, name).write_bytes(content)
    for name, target in job.links.items():
        path = _place(job, name)
        path.symlink_to(_link_path(path.parent, target))
    for name, source in job.copies.items():
        shutil.copyfile(source, job.directory / name)
    for name in (jobs.ENDED, Finished.STDOUT, Finished.STDERR):  # of a job before it
        (job.directory / name).unlink(missing_ok=True)


def stop_softly(job: Job) -> None:
    """Make a program stop by itself, unless it was asked to already."""
    with contextlib.suppress(FileExistsError), (job.directory / job.stop_file).open("x") as stream:
        stream.write(OVER)


def early_s(whole_s: float) -> float:
    """How long before the end of so much time programs are made to stop by themselves."""
    return min(STOP_S, 0.25 * whole_s)


def clear(job: Job) -> None:
    """Delete the temporary files of a job that has ended."""
    shutil.rmtree(job.directory / SCRATCH, ignore_errors=True)


def _place(job: Job, name: str) -> Path:
    """Path of a file in the directory of a job, whose folder is made if it is another one."""
    path = job.directory / name
    if path.parent != job.directory:
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _link_path(folder: Path, target: Path) -> str:
    """The path of the target of a link in a folder.

    It is relative, so that a campaign can be moved, unless the two share only the root directory.
    """
    here, there = folder.resolve(), target.resolve()
    if len(Path(os.path.commonpath([here, there])).parts) < 2:
        return str(target.absolute())
    return os.path.relpath(there, here)
