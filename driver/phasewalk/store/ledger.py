"""What a campaign costs: labels, core-hours and wall time, failures and idle moments counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .records import EARLIER, FAILED, KIND, Record, by_round
from .records_names import LABEL

SECONDS_PER_HOUR = 3600.0
PAUSE_S = 60.0
"""A longer time without any engine is no part of a run: it was stopped, or waited for."""


def costs(records: Sequence[Record], reference: str) -> dict[str, Any]:
    """The ledger of a campaign with this reference, for JSON.

    Returns:
        `reference`, `labels`: the account of all labels, `rounds`: one of each round,
        `core_hours`: of all stages, by stage. An account has labels done, reused (not
        computed again), failed for good, `failed_tries` by kind, wall `seconds` of all tries (those
        side by side add up), `core_hours`, and the mean and longest `seconds` of a label.
    """
    made = [record for record in records if record.stage == LABEL]
    return {
        "labels": _account(made),
        "rounds": {str(n): _account(mine) for n, mine in sorted(by_round(made).items())},
        "reference": reference,
        "core_hours": _core_hours(records),
    }


def _tries(record: Record) -> list[Mapping[str, Any]]:
    """All runs of a task, the last one included."""
    last = {"seconds": record.seconds, "cores": record.cores, **record.outputs}
    return [*record.outputs.get(EARLIER, ()), last]


def _account(records: Iterable[Record]) -> dict[str, Any]:
    mine = list(records)
    tries = [one for record in mine for one in _tries(record)]
    done = [record for record in mine if FAILED not in record.outputs]
    paid = [record.seconds for record in done if not record.outputs.get("reused")]
    kinds = Counter(str(one.get(KIND, "")) for one in tries if FAILED in one)
    return {
        "done": len(done),
        "reused": len(done) - len(paid),
        "failed": len(mine) - len(done),
        "failed_tries": dict(kinds),
        "seconds": round(sum(one["seconds"] for one in tries), 2),
        "core_hours": round(sum(map(_hours, tries)), 5),
        "mean_seconds": round(sum(paid) / len(paid), 2) if paid else None,
        "longest_seconds": max(paid, default=None),
    }


def _hours(one: Mapping[str, Any]) -> float:
    return float(one["seconds"]) * int(one["cores"]) / SECONDS_PER_HOUR


def _core_hours(records: Sequence[Record]) -> dict[str, float]:
    found: dict[str, float] = {}
    for record in records:
        hours = sum(map(_hours, _tries(record)))
        found[record.stage] = round(found.get(record.stage, 0.0) + hours, 5)
    return {stage: hours for stage, hours in found.items() if hours}


def timeline(records: Sequence[Record]) -> dict[str, float]:
    """Wall time of a campaign, for JSON, from when its engines ran.

    Returns:
        `wall_seconds`: from the first to the last engine, pauses between runs left out;
        `idle_seconds`: of these, those in which no engine ran; `idle_share`: their share.
    """
    ends = [
        (one.get("time", record.time), one["seconds"])
        for record in records
        for one in (
            {"time": record.time, "seconds": record.seconds},
            *record.outputs.get(EARLIER, ()),
        )
    ]
    spans = sorted((end - seconds, end) for end, seconds in ends if seconds > 0)
    busy = idle = 0.0
    reached: float | None = None
    for start, end in spans:
        gap = 0.0 if reached is None else max(0.0, start - reached)
        idle += gap if gap <= PAUSE_S else 0.0
        busy += max(0.0, end - (start if reached is None else max(start, reached)))
        reached = end if reached is None else max(reached, end)
    wall = busy + idle
    return {
        "wall_seconds": round(wall, 2),
        "idle_seconds": round(idle, 2),
        "idle_share": round(idle / wall, 4) if wall else 0.0,
    }


@dataclass
class Meter:
    """Core-hours of a growing journal: only what has come since the last time is added.

    Attributes:
        since: the records that were added after the first n, in their order.
    """

    since: Callable[[int], Sequence[Record]]
    _count: int = 0
    _hours: float = 0.0
    _of: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> float:
        """Core-hours of all that was done so far."""
        for record in self.since(self._count):
            self._count += 1
            hours = sum(map(_hours, _tries(record)))
            # a task that is done again has what it cost before in its new record
            self._hours += hours - self._of.get(record.task, 0.0)
            self._of[record.task] = hours
        return self._hours


def line(account: Mapping[str, Any]) -> str:
    """An account in one line, for people; empty where nothing was computed."""
    tries = account["failed_tries"]
    if not account["seconds"] and not tries:
        return ""
    each = account["mean_seconds"]
    words = [f"labels took {account['core_hours']:.3g} core-hours"]
    if each is not None:
        words.append(f"{each:.1f} s each, the longest {account['longest_seconds']:.1f} s")
    if account["reused"]:
        words.append(f"{account['reused']} were there already")
    if tries:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tries.items()))
        words.append(f"failed tries: {kinds}")
    return "; ".join(words)
