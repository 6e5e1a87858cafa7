"""Costs on a site, from the journal: by kind of work, by partition, and for each allocation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from ..moment import duration
from ..where import Pool, Where, from_json
from .ledger import SECONDS_PER_HOUR
from .records import EARLIER, FAILED, WHERE, Record

KINDS = ("label", "segment", "train", "compile", "evaluate")
"""Kinds of work in the order in which they are shown."""
LAST_ROUNDS = 3
"""Number of rounds from whose times that of the others is estimated."""


@dataclass
class Tally:
    """Sums over jobs that have ended.

    Attributes:
        done, failed: number of jobs; tries of one task count separately.
        core_s, gpu_s: core- and GPU-seconds, of failed ones too.
        lost: number of times that jobs lost their node or were preempted, and were started again.
        waited: number of jobs whose time in the queue is known.
        waited_s, longest_s: sum and maximum of these times.
    """

    done: int = 0
    failed: int = 0
    lost: int = 0
    core_s: float = 0.0
    gpu_s: float = 0.0
    waited: int = 0
    waited_s: float = 0.0
    longest_s: float = 0.0

    def add(self, run: "Run") -> None:
        """Take in a job that has ended."""
        self.failed += run.failed
        self.done += not run.failed
        self.lost += run.where.losses or 0
        self.core_s += run.cores * run.seconds
        self.gpu_s += run.where.gpus * run.seconds
        if (queued_s := run.where.queued_s) is not None:
            self.waited += 1
            self.waited_s += queued_s
            self.longest_s = max(self.longest_s, queued_s)

    def as_dict(self) -> dict[str, Any]:
        """The data for JSON; times in the queue are null if none is known."""
        return {
            "done": self.done,
            "failed": self.failed,
            "lost": self.lost,
            "core_hours": round(self.core_s / SECONDS_PER_HOUR, 5),
            "gpu_hours": round(self.gpu_s / SECONDS_PER_HOUR, 5),
            "queue_mean_s": round(self.waited_s / self.waited, 1) if self.waited else None,
            "queue_longest_s": round(self.longest_s, 1) if self.waited else None,
        }


@dataclass(frozen=True)
class Run:
    """A job that has ended: where, for how long, on how many cores, and if it failed."""

    where: Where
    seconds: float
    cores: int
    failed: bool
    ended: float


@dataclass
class Use:
    """How an allocation was used.

    Attributes:
        pool: the allocation.
        began, until: start of the allocation, or of its first job, and end of its last job so far.
        core_s, gpu_s: core- and GPU-seconds of its jobs.
    """

    pool: Pool
    began: float
    until: float
    core_s: float = 0.0
    gpu_s: float = 0.0

    def add(self, run: Run) -> None:
        """Take in a job; one in the background has no cores of its own."""
        started = run.where.started or run.ended - run.seconds
        self.began = min(self.began, started)
        self.until = max(self.until, started + run.seconds)
        self.core_s += run.where.cores * run.seconds
        self.gpu_s += run.where.gpus * run.seconds

    def as_dict(self, until: float | None = None) -> dict[str, Any]:
        """The data for JSON; shares of its cores' and GPUs' time in which no job had them."""
        pool, lasted = self.pool, (until or self.until) - self.began
        return {
            "number": pool.number,
            "nodes": pool.nodes,
            "cores": pool.cores,
            "gpus": pool.gpus,
            "seconds": round(lasted, 1),
            "idle_share": _idle(self.core_s, pool.cores * lasted),
            "gpu_idle_share": _idle(self.gpu_s, pool.gpus * lasted),
        }


def _idle(busy_s: float, all_s: float) -> float | None:
    return round(max(0.0, 1 - busy_s / all_s), 4) if all_s > 0 else None


@dataclass
class Accounts:
    """Costs of a growing journal.

    Attributes:
        kinds, partitions: by kind of work, and by partition (empty: none).
        uses: of allocations, by number.
        begun: when each round had its first record.
    """

    kinds: dict[str, Tally] = field(default_factory=dict)
    partitions: dict[str, Tally] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    begun: dict[int, float] = field(default_factory=dict)
    _tasks: set[str] = field(default_factory=set)

    def add(self, records: Iterable[Record]) -> "Accounts":
        """Take in further records."""
        for record in records:
            self.begun.setdefault(record.round, record.time)
            # The record of a repeated task includes its earlier runs, which may be known already.
            for run in _runs(record, last=record.task in self._tasks):
                self._add(run)
            self._tasks.add(record.task)
        return self

    def _add(self, run: Run) -> None:
        where = run.where
        self.kinds.setdefault(where.kind, Tally()).add(run)
        self.partitions.setdefault(where.partition, Tally()).add(run)
        if where.pool is not None:
            self.use(where.pool, run.ended - run.seconds).add(run)

    def use(self, pool: Pool, at: float) -> Use:
        """The use of an allocation, which may be a new one."""
        began = at if pool.began is None else pool.began
        return self.uses.setdefault(pool.number, Use(pool, began, began))

    def expected_end(self, round_: int, rounds: int, at: float) -> float | None:
        """When the campaign ends if its rounds take as long as the last ones; None if not known.

        Args:
            round_: the present round.
            rounds: number of rounds; 0 if it is not known.
            at: the time, seconds since 1970.
        """
        begun = self.begun
        known = [n for n in range(1, round_) if n in begun and n + 1 in begun]
        if not known or not rounds or round_ > rounds:
            return None
        each = median(begun[n + 1] - begun[n] for n in known[-LAST_ROUNDS:])
        this = max(at, begun.get(round_, at) + each)
        return round(this + (rounds - round_) * each, 1)

    def by_partition(self) -> list[dict[str, Any]]:
        """The ledger by partition, for JSON."""
        return [{"partition": name, **one.as_dict()} for name, one in self.partitions.items()]

    def allocations(self) -> list[dict[str, Any]]:
        """The allocations that have ended, or run, for JSON."""
        return [use.as_dict() for use in self.uses.values()]


def _runs(record: Record, *, last: bool) -> Iterator[Run]:
    """The runs of a task on a site; only the last one if the others are known."""
    earlier = () if last else record.outputs.get(EARLIER, ())
    for one in (*earlier, _last(record)):
        if one.get(WHERE):
            where = from_json(one[WHERE])
            ended = one.get("time", record.time)
            yield Run(where, float(one["seconds"]), int(one["cores"]), FAILED in one, ended)


def _last(record: Record) -> Mapping[str, Any]:
    failed = {FAILED: True} if record.failed else {}
    return {
        "seconds": record.seconds,
        "cores": record.cores,
        "time": record.time,
        WHERE: record.where,
        **failed,
    }


def spent(records: Sequence[Record]) -> dict[str, Any]:
    """What several records cost together: seconds, cores, and where, without times in a queue."""
    last = records[-1].where if records else None
    return {
        "seconds": round(sum(record.seconds for record in records), 3),
        "cores": max((record.cores for record in records), default=0),
        "where": last and replace(from_json(last), submitted=None, started=None),
    }


Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
"""Title, columns and rows."""


def tables(site: Mapping[str, Any] | None) -> list[Table]:
    """Costs by partition and use of allocations: titles, columns and rows, of JSON."""
    if site is None:
        return []
    partitions = [
        (
            one["partition"] or "(none)",
            one["done"],
            one["failed"],
            one["core_hours"],
            one["gpu_hours"],
            _seconds(one["queue_mean_s"]),
            _seconds(one["queue_longest_s"]),
        )
        for one in site["partitions"]
    ]
    allocations = [
        (
            one["number"] or "this machine",
            one["nodes"],
            one["cores"],
            one["gpus"],
            one["seconds"] / 3600,
            percent(one["idle_share"]),
            percent(one["gpu_idle_share"]),
        )
        for one in site["allocations"]
    ]
    columns = ("partition", "jobs done", "failed", "core-hours", "GPU-hours")
    waits = ("mean time in the queue", "longest")
    uses = ("allocation", "nodes", "cores", "GPUs", "hours", "cores idle", "GPUs idle")
    found: list[Table] = [
        ("Cost by partition", (*columns, *waits), partitions),
        ("Allocations", uses, allocations),
    ]
    return [table for table in found if table[2]]


def _seconds(value: float | None) -> str:
    return "–" if value is None else duration(value)


def percent(share: float | None) -> str:
    """A share as text."""
    return "–" if share is None else f"{100 * share:.0f} %"
