"""The job of phasewalk itself in the queue of a cluster, as its files say; nothing is asked there.

Its folder is named by the campaign directory, and so is the job, by which it is found in the queue.
It has the number of the job (`submitted.json`), and, once that has started, when this was and what
has become of it (`state.json`).
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from .errors import ParseError
from .files import read as read_file
from .moment import duration

FOLDER = "phasewalk-slurm"
"""Folder of the files of batch jobs, beside campaign directories."""
NUMBER, STATE, CANCELLED = "submitted.json", "state.json", "cancelled"
"""Files: number of the job; what has become of it; that `phasewalk cancel` was called."""


@dataclass(frozen=True)
class State:
    """What the job of phasewalk itself writes of itself.

    Attributes:
        number: of the job.
        started: its last start, seconds since 1970.
        ended: why it has ended, and what comes next; empty if it has not.
    """

    number: str
    started: float
    ended: str = ""


@dataclass(frozen=True)
class Submitted:
    """The last job of phasewalk itself for a campaign directory.

    Attributes:
        number: of the job.
        state: queued: it has not been started; started: it has, and has written no end; ended.
        since: when it was submitted or, if it has been, started; seconds since 1970.
        says: why it has ended.
    """

    number: str
    state: Literal["queued", "started", "ended"]
    since: float
    says: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Number:
    id: str


def name_of(root: Path) -> str:
    """Name of the job: that of the campaign directory, and what tells it from others."""
    path = root.resolve()
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", path.name.removesuffix(".run"))[:40]
    return f"phasewalk-{plain}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def folder_of(root: Path) -> Path:
    """Folder of its files."""
    return root.absolute().parent / FOLDER / name_of(root)


def read(root: Path) -> Submitted | None:
    """The last job that was submitted for a campaign directory.

    Returns None if there is none, it was cancelled by `phasewalk cancel`, or its files cannot be
    read.
    """
    folder = folder_of(root)
    try:
        number = read_file(folder / NUMBER, _Number).id
        since = (folder / NUMBER).stat().st_mtime
    except (OSError, ParseError):
        return None
    if (folder / CANCELLED).exists():
        return None
    try:
        state = read_file(folder / STATE, State)
    except ParseError:
        state = None
    if state is None or state.number != number:
        return Submitted(number, "queued", round(since, 1))
    return Submitted(number, "ended" if state.ended else "started", state.started, state.ended)


def about(root: Path) -> dict[str, Any] | None:
    """The same as data for JSON."""
    found = read(root)
    return None if found is None else found.as_dict()


def waits(state: Mapping[str, Any]) -> bool:
    """Whether, by the state of a campaign, it does not run, but its job waits in the queue."""
    own = state["submitted"]
    return not state["running"] and own is not None and own["state"] == "queued"


def lines(state: Mapping[str, Any]) -> list[str]:
    """What the state of a campaign says of the job, if it neither runs nor has finished."""
    own = state["submitted"]
    if own is None or state["running"] or (state["finished"] and not waits(state)):
        return []
    return [line(Submitted(**own), quote(state["directory"]))]


def line(found: Submitted, directory: str, at: float | None = None) -> str:
    """What it does, and what to do, for a campaign that does not run.

    Args:
        found: the job.
        directory: the campaign directory, quoted for a shell.
        at: the time, seconds since 1970; None: now.
    """
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.since))
    job = f"phasewalk itself, job {found.number},"
    ask = f"squeue --job {found.number}"
    if found.state == "queued":
        waits = duration(max(0.0, (time.time() if at is None else at) - found.since))
        return (
            f"{job} waits in the queue of Slurm since {moment} ({waits}), unless it was "
            f"cancelled there: {ask} shows why. It needs nothing; end it with: phasewalk cancel "
            f"{directory}"
        )
    if found.state == "started":
        return (
            f"{job} was started at {moment}, but does not run the campaign: it is just starting, "
            f"was put back into the queue ({ask}), or was killed; then continue with phasewalk "
            "submit"
        )
    return f"{job} has ended: {found.says}"
