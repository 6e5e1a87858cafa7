"""Which waiting jobs go into one batch job: short labels together, for a short queue."""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cluster import SiteSettings
from ..jobs import Job
from .batches import Plan, kind_of
from .scripts import needs

PACKED = ("label", "atom")
"""Kinds of jobs that share a batch job."""


@dataclass(frozen=True)
class Wait:
    """A job that is to be submitted.

    Attributes:
        job: the job.
        tries: number of times that it will have been submitted, without those after a loss.
        losses: number of times that Slurm has lost its node or preempted it.
        staged: its files are in its directory, since it has been submitted, but was not started.
        alone: it shares no batch job.
    """

    job: Job
    tries: int = 1
    losses: int = 0
    staged: bool = False
    alone: bool = False


@dataclass
class Times:
    """Mean wall time of the jobs of each kind that have ended."""

    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, job: Job, seconds: float) -> None:
        """Take in a job that has ended."""
        total, count = self._sums.get(job.kind, (0.0, 0))
        self._sums[job.kind] = total + seconds, count + 1

    def mean(self, job: Job) -> float | None:
        """That of jobs like this one; None if none has ended."""
        total, count = self._sums.get(job.kind, (0.0, 0))
        return total / count if count else None


@dataclass
class Line:
    """Jobs in the order in which they are submitted."""

    _waits: deque[Wait] = field(default_factory=deque)
    _here: dict[Path, Wait] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._here)

    def add(self, wait: Wait, *, first: bool = False) -> None:
        """Add a job, at the end or as the next."""
        self._here[wait.job.directory] = wait
        (self._waits.appendleft if first else self._waits.append)(wait)

    def remove(self, directory: Path) -> Wait | None:
        """Remove the job of a directory; None if there is none."""
        return self._here.pop(directory, None)  # `_waits` is cleaned when it is read

    def clear(self) -> None:
        """Remove all."""
        self._waits.clear()
        self._here.clear()

    def next(self, site: SiteSettings, times: Times, *, free: int) -> list[Wait]:
        """Remove and return the jobs of the next batch job; empty if none waits.

        Args:
            site: of the jobs.
            times: of earlier jobs.
            free: number of batch jobs that may be submitted now; short labels are packed only as
                far as there are more of them, or to fill `pack_cores`.
        """
        first = self._pop()
        if first is None:
            return []
        found, most = [first], self._most(first, site, times, free)
        while len(found) < most:
            other = self._pop()
            if other is None:
                break
            if not _alike(first, other, site):
                self.add(other, first=True)
                break
            found.append(other)
        return found

    def _most(self, wait: Wait, site: SiteSettings, times: Times, free: int) -> int:
        if wait.alone or wait.job.kind not in PACKED or not site.pack_min:
            return 1
        # A node that is given as a whole costs the same with one label as with all that fit.
        node, mean = beside(wait.job, site), times.mean(wait.job)
        if mean is None:
            return node
        fit = math.floor(site.pack_min * 60 / max(mean, 1.0)) * node
        return max(node, min(fit, math.ceil((len(self._here) + 1) / max(free, 1))))

    def _pop(self) -> Wait | None:
        while self._waits:
            wait = self._waits.popleft()
            if self._here.get(wait.job.directory) is wait:
                del self._here[wait.job.directory]
                return wait
        return None


def plan(members: list[Wait], site: SiteSettings) -> Plan:
    """How jobs share a batch job: each has the whole time limit of its kind."""
    job = members[0].job
    need = needs(job, site.place_of(job))
    if len(members) == 1:
        return Plan(need)
    count = min(beside(job, site), len(members))
    longer = replace(need.times(count), minutes=need.minutes + site.pack_min)
    return Plan(longer, count, site.pack_min)


def beside(job: Job, site: SiteSettings) -> int:
    """Number of jobs that run side by side in a batch job."""
    need = needs(job, site.place_of(job))
    return max(1, (site.pack_cores or 0) // need.cores) if need.nodes == 1 else 1


def _alike(one: Wait, other: Wait, site: SiteSettings) -> bool:
    """Whether two jobs can share a batch job."""
    if other.alone or other.job.kind not in PACKED or kind_of(one.job) != kind_of(other.job):
        return False
    place = site.place_of(one.job)
    return needs(one.job, place) == needs(other.job, place)
