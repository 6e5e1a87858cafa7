"""Jobs that wait for free cores, and which of them is next; the work per job does not grow."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Job

PATIENCE = 8
"""Number of later jobs that may start before a waiting job; then it is the next to start."""


@dataclass
class _Entry:
    """A job with its number in the order in which jobs were added."""

    job: Job
    number: int
    waits: bool = True
    started: bool = False


@dataclass
class Waiting:
    """Waiting jobs.

    The next one is the largest that fits; of equal ones, the one that was added first. A job before
    which `PATIENCE` later ones have started is next, even if it does not fit yet. Later jobs have
    overtaken the oldest waiting one at least as often as any other, so that only it is looked at.

    Attributes:
        cores: of the machine.
    """

    cores: int
    _waits: dict[Path, _Entry] = field(default_factory=dict)
    _sizes: dict[int, deque[_Entry]] = field(default_factory=dict)
    """Needed cores → jobs in the order in which they were added; the first one waits."""
    _order: deque[_Entry] = field(default_factory=deque)
    """All jobs in that order; the first one waits."""
    _added: int = 0
    _overtook: int = 0
    """Number of started jobs in `_order`, that is of those that overtook the oldest."""

    def __len__(self) -> int:
        """Number of waiting jobs."""
        return len(self._waits)

    def add(self, job: Job) -> None:
        """Add a job."""
        entry = _Entry(job, self._added)
        self._added += 1
        self._waits[job.directory] = entry
        self._order.append(entry)
        self._sizes.setdefault(needed(job), deque()).append(entry)

    def cancel(self, directory: Path) -> None:
        """Remove the job of a directory, if it waits."""
        if directory in self._waits:
            self._remove(directory)

    def clear(self) -> None:
        """Remove all jobs."""
        self._waits.clear()
        self._sizes.clear()
        self._order.clear()
        self._overtook = 0

    def start(self, busy: int) -> Job | None:
        """Remove and return the job to start now; None if none fits.

        Args:
            busy: number of cores of running jobs.
        """
        first = [entries[0] for entries in self._sizes.values()]
        candidates = [self._order[0]] if self._overtook >= PATIENCE else first
        # A job larger than the machine runs alone.
        fits = [one for one in candidates if not busy or busy + needed(one.job) <= self.cores]
        if not fits:
            return None
        chosen = max(fits, key=lambda one: (min(needed(one.job), self.cores), -one.number))
        chosen.started = True
        self._overtook += 1
        self._remove(chosen.job.directory)
        return chosen.job

    def _remove(self, directory: Path) -> None:
        entry = self._waits.pop(directory)
        entry.waits = False
        size = needed(entry.job)
        _drop_first(self._sizes[size])
        if not self._sizes[size]:
            del self._sizes[size]
        self._overtook -= sum(one.started for one in _drop_first(self._order))


def needed(job: Job) -> int:
    """Number of cores that must be free before a job starts."""
    return 0 if job.background else job.cores


def _drop_first(entries: deque[_Entry]) -> list[_Entry]:
    """Remove and return the entries before the first one that waits."""
    dropped = []
    while entries and not entries[0].waits:
        dropped.append(entries.popleft())
    return dropped
