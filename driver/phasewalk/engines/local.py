"""Run jobs as child processes on this machine."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Job, Session
from .processes import Command, Outside, ProcessSession
from .waiting import needed


@dataclass
class Cores:
    """The cores of this machine; see `processes.Machines`. A job larger than it runs alone."""

    cores: int
    _taken: dict[Path, int] = field(default_factory=dict)

    def alike(self, job: Job) -> int:
        """Number of cores that must be free before it starts."""
        return needed(job)

    def weight(self, job: Job) -> float:
        """Number of cores that it gets."""
        return min(needed(job), self.cores)

    def place(self, job: Job, before: Job | None) -> int | None:
        """Number of cores of the job if they are free; nothing starts before a job that waits."""
        busy = sum(self._taken.values())
        if before is not None or (busy and busy + needed(job) > self.cores):
            return None
        return needed(job)

    def check(self, job: Job) -> None:
        """Each job can start."""

    def take(self, job: Job, placement: int) -> Command:
        """Occupy cores."""
        self._taken[job.directory] = placement
        return Command(job.command)

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a job."""
        self._taken[directory] = min(self._taken[directory], cores)

    def release(self, directory: Path) -> None:
        """Free the cores of a job."""
        self._taken.pop(directory, None)

    def note(self, happened: Outside) -> None:
        """Nothing happens from outside."""

    def where(self, job: Job) -> None:
        """Jobs on this machine need not be told where they are."""

    def check_time(self, waiting: Job | None) -> None:
        """There is no time limit."""


class LocalSession(ProcessSession):
    """Jobs as child processes on cores of this machine."""

    def __init__(self, cores: int) -> None:
        super().__init__(Cores(cores))


@dataclass(frozen=True)
class LocalLauncher:
    """Runs jobs as child processes, as many at a time as `cores` allow.

    Attributes:
        cores: number of cores.
        walker_gpus: number of GPUs; None if it is not known.
    """

    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    walker_gpus: int | None = None

    @property
    def here(self) -> bool:
        """Its jobs run on this machine."""
        return True

    @property
    def scratch(self) -> Path | None:
        """Temporary folders are where the system has them."""
        return None

    @property
    def walkers(self) -> None:
        """All walkers are in one launch."""

    def session(self) -> Session:
        """Open a session."""
        return LocalSession(self.cores)
