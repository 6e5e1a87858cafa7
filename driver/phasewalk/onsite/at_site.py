"""What a campaign does on a site: by its launcher's events, or from its directory alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import moment
from ..jobs import ENDED, Event, Finished, Queued, Started
from ..moment import JobNow, Now, SiteNow, WorkNow
from ..store import SECONDS_PER_HOUR, Record, site_ledger
from ..where import MARK, Pool

MOST_JOBS = 100
"""Maximum number of jobs that are listed."""
LATE_S, LATE_STEP_S = 900.0, 60.0
"""Time without an event after which a job is not wanted any more; in an allocation."""


@dataclass
class AtSite:
    """The jobs of a site that wait or run, as events say, and what the others cost.

    Attributes:
        since: returns the records of the journal after the first n.
        root: campaign directory, to which places are relative.
    """

    since: Callable[[int], Sequence[Record]] = lambda count: ()
    root: Path | None = None
    _jobs: dict[Path, JobNow] = field(default_factory=dict)
    _seen: dict[Path, float] = field(default_factory=dict)
    _accounts: site_ledger.Accounts = field(default_factory=site_ledger.Accounts)
    _count: int = 0
    _pool: Pool | None = None

    def __bool__(self) -> bool:
        """Whether jobs wait or run there."""
        return bool(self._jobs)

    def see(self, event: Event, at: float) -> None:
        """Record an event at a time, seconds since 1970."""
        directory, where = event.job.directory, event.where
        if where is None or isinstance(event, Finished):
            self._forget(directory)
            return
        waits = isinstance(event, Queued)
        said = where.submitted if waits else where.started if isinstance(event, Started) else None
        seconds = 0.0 if isinstance(event, Started) else event.seconds
        self._jobs[directory] = JobNow(
            event.job.name,
            not waits,
            self._place(directory),
            round(said or at - seconds, 1),
            event.why if isinstance(event, Queued) else "",
            replace(where, cores=where.cores or event.job.cores),
        )
        self._seen[directory] = at
        self._pool = where.pool or self._pool

    def now(self, at: float, round_: int = 0, rounds: int = 0) -> SiteNow | None:
        """What is known at a time; None if no job has been on a site.

        Args:
            at: the time, seconds since 1970.
            round_: the present round.
            rounds: number of rounds; 0 if it is not known.
        """
        new = self.since(self._count)
        self._count += len(new)
        self._accounts.add(new)
        self._drop_late(at)
        if not self._jobs and not self._accounts.kinds:
            return None
        found = summed(self._jobs.values(), self._accounts, at, self._pool)
        return replace(found, ends=self._accounts.expected_end(round_, rounds, at))

    def _drop_late(self, at: float) -> None:
        """Forget jobs that were cancelled, of which there are no more events."""
        for directory, job in list(self._jobs.items()):
            if at - self._seen[directory] > (LATE_STEP_S if job.where.pool else LATE_S):
                self._forget(directory)

    def _forget(self, directory: Path) -> None:
        self._jobs.pop(directory, None)
        self._seen.pop(directory, None)

    def _place(self, directory: Path) -> str:
        inside = self.root is not None and directory.is_relative_to(self.root)
        return str(directory.relative_to(self.root) if inside and self.root else directory)


def collect(
    root: Path, records: Sequence[Record], doing: Now | None, at: float
) -> dict[str, Any] | None:
    """What a campaign does and has done on a site, for JSON; None without one.

    Args:
        root: campaign directory.
        records: its journal.
        doing: what it does now; None if it does not run, or has not written that lately.
        at: the time, seconds since 1970.
    """
    accounts, last = site_ledger.Accounts().add(records), doing or moment.last(root)
    site = None if last is None else last.site
    if site is None and not accounts.kinds:
        return None
    if site is None or doing is None:  # what is in a queue goes on without the run
        own = [_looked_at(root, job) for job in (site.jobs if site else ()) if not job.where.pool]
        left = summed([job for job in own if job is not None], accounts, at)
        site = replace(left, at=site.at if site else left.at)
    ledger = {"partitions": accounts.by_partition(), "allocations": accounts.allocations()}
    return {**moment.finite(asdict(site)), **ledger}


def _looked_at(root: Path, job: JobNow) -> JobNow | None:
    """A job as its directory says; None if it has ended, or nobody waits for it any more."""
    place = root / job.place
    if (place / ENDED).exists() or not (place / MARK).exists():
        return None
    output = place / Finished.STDOUT
    if job.running or not output.exists():
        return job
    return replace(job, running=True, why="", since=round(output.stat().st_mtime, 1))


def summed(
    jobs: Iterable[JobNow], accounts: site_ledger.Accounts, at: float, pool: Pool | None = None
) -> SiteNow:
    """Jobs that wait or run, and those that have ended, by kind of work.

    Args:
        jobs: those that wait or run.
        accounts: of those that have ended.
        at: the time, seconds since 1970.
        pool: the allocation in which they run now.
    """
    found = sorted(jobs, key=lambda job: (not job.running, job.since))
    kinds = dict.fromkeys([*site_ledger.KINDS, *accounts.kinds, *(job.where.kind for job in found)])
    work = [
        _work(kind, [job for job in found if job.where.kind == kind], accounts, at)
        for kind in kinds
    ]
    shown = tuple(one for one in work if one.queued or one.running or one.done or one.failed)
    idle = _idle(found, accounts, at, pool) if pool is not None else {}
    return SiteNow(round(at, 1), shown, tuple(found[:MOST_JOBS]), pool, **idle)


def _work(kind: str, jobs: Sequence[JobNow], accounts: site_ledger.Accounts, at: float) -> WorkNow:
    running = [job for job in jobs if job.running]
    waiting = [job for job in jobs if not job.running]
    ended = accounts.kinds.get(kind, site_ledger.Tally()).as_dict()
    seconds = [(max(0.0, at - job.since), job.where) for job in running]
    core_h = sum(s * where.cores for s, where in seconds) / SECONDS_PER_HOUR
    gpu_h = sum(s * where.gpus for s, where in seconds) / SECONDS_PER_HOUR
    lost = ended["lost"] + sum(job.where.losses or 0 for job in jobs)
    waits_s = max((at - job.since for job in waiting), default=None)
    return WorkNow(
        **{**ended, "kind": kind, "queued": len(waiting), "running": len(running), "lost": lost}
        | {"core_hours": round(ended["core_hours"] + core_h, 5)}
        | {"gpu_hours": round(ended["gpu_hours"] + gpu_h, 5)},
        waits_s=None if waits_s is None else round(max(0.0, waits_s), 1),
        why=", ".join(dict.fromkeys(job.why for job in waiting if job.why)),
        nodes=tuple(dict.fromkeys(job.where.nodes for job in running if job.where.nodes)),
    )


def _idle(
    jobs: Sequence[JobNow], accounts: site_ledger.Accounts, at: float, pool: Pool
) -> Mapping[str, float | None]:
    """Idle shares of an allocation, with the jobs that run."""
    before = accounts.uses.get(pool.number)
    began = at if pool.began is None else pool.began
    use = replace(before) if before else site_ledger.Use(pool, began, began)
    for job in jobs:
        if job.running and job.where.pool == pool:
            ran = site_ledger.Run(job.where, max(0.0, at - job.since), 0, False, at)
            use.add(ran)
    shares = use.as_dict(until=at)
    return {name: shares[name] for name in ("idle_share", "gpu_idle_share")}
