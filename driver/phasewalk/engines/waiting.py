"""Jobs that wait for free machines, and which of them is next; the work per job does not grow."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..jobs import Job

PATIENCE = 8
"""Number of later jobs that may start before a waiting job; then it is the next to start."""


class Machines(Protocol):
    """What is asked of `processes.Machines` here."""

    def alike(self, job: Job) -> Any:
        """Jobs for which this is equal have the same placements."""
        ...

    def weight(self, job: Job) -> float:
        """How large a job is."""
        ...

    def place(self, job: Job, before: Job | None) -> Any | None:
        """Where a job can start now without delaying another; None if it cannot."""
        ...


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
    which `PATIENCE` later ones have started is next: until it fits, only those start that do not
    delay it. Later jobs have overtaken the oldest waiting one at least as often as any other, so
    that only it is looked at.

    Attributes:
        machines: on which they run.
    """

    machines: Machines
    _waits: dict[Path, _Entry] = field(default_factory=dict)
    _sizes: dict[Any, deque[_Entry]] = field(default_factory=dict)
    """Alike jobs in the order in which they were added; the first one waits."""
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
        self._sizes.setdefault(self.machines.alike(job), deque()).append(entry)

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

    def __contains__(self, directory: Path) -> bool:
        """Whether the job of a directory waits."""
        return directory in self._waits

    def jobs(self) -> list[Job]:
        """All waiting jobs, in the order in which they were added."""
        return [entry.job for entry in self._waits.values()]

    def oldest(self) -> Job | None:
        """The job that was added first; None if none waits."""
        return self._order[0].job if self._order else None

    def start(self) -> tuple[Job, Any] | None:
        """Remove and return the job to start now, with its placement; None if none fits."""
        if not self._waits:
            return None
        oldest = self._order[0]
        before = oldest.job if self._overtook >= PATIENCE else None
        if before is not None and (placed := self.machines.place(before, None)) is not None:
            return self._started(oldest, placed)
        first = [entries[0] for entries in self._sizes.values()]
        first = [one for one in first if before is None or one is not oldest]
        for one in sorted(first, key=lambda one: (-self.machines.weight(one.job), one.number)):
            if (placed := self.machines.place(one.job, before)) is not None:
                return self._started(one, placed)
        return None

    def _started(self, entry: _Entry, placement: Any) -> tuple[Job, Any]:
        entry.started = True
        self._overtook += 1
        self._remove(entry.job.directory)
        return entry.job, placement

    def _remove(self, directory: Path) -> None:
        entry = self._waits.pop(directory)
        entry.waits = False
        size = self.machines.alike(entry.job)
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
