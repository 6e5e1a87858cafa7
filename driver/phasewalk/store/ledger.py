"""Costs of a campaign: labels, core-hours and wall time, including failures and idle time."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .records import EARLIER, FAILED, KIND, WHERE, Record, by_round
from .records_names import LABEL

SECONDS_PER_HOUR = 3600.0
PAUSE_S = 60.0
"""A longer time without a running engine counts as a pause between two runs."""


def costs(records: Sequence[Record], reference: str) -> dict[str, Any]:
    """Costs of a campaign with this reference, for JSON.

    Returns:
        `reference`; `labels`: costs of all labels; `rounds`: the same for each round;
        `core_hours` of each stage. The costs of labels are: number of labels done, reused (not
        computed again) and finally failed; `failed_tries` by kind; wall `seconds` summed over all
        tries, also parallel ones; `core_hours`; mean and longest `seconds` of a label.
    """
    made = [record for record in records if record.stage == LABEL]
    return {
        "labels": _account(made),
        "rounds": {str(n): _account(mine) for n, mine in sorted(by_round(made).items())},
        "reference": reference,
        "core_hours": core_hours(records),
    }


def _tries(record: Record) -> list[Mapping[str, Any]]:
    """All runs of a task, including the last one."""
    last: dict[str, Any] = {"seconds": record.seconds, "cores": record.cores}
    if record.failed:
        last |= {FAILED: record.outputs[FAILED], KIND: record.outputs.get(KIND, "")}
    return [*record.outputs.get(EARLIER, ()), last]


def _account(records: Iterable[Record]) -> dict[str, Any]:
    labels = list(records)
    tries = [one for record in labels for one in _tries(record)]
    done = [record for record in labels if FAILED not in record.outputs]
    computed = [record.seconds for record in done if not record.outputs.get("reused")]
    kinds = Counter(str(one.get(KIND, "")) for one in tries if FAILED in one)
    return {
        "done": len(done),
        "reused": len(done) - len(computed),
        "failed": len(labels) - len(done),
        "failed_tries": dict(kinds),
        "seconds": round(sum(one["seconds"] for one in tries), 2),
        "core_hours": round(sum(map(_hours, tries)), 5),
        "mean_seconds": round(sum(computed) / len(computed), 2) if computed else None,
        "longest_seconds": max(computed, default=None),
    }


def _hours(one: Mapping[str, Any]) -> float:
    return float(one["seconds"]) * int(one["cores"]) / SECONDS_PER_HOUR


def core_hours(records: Sequence[Record]) -> dict[str, float]:
    """Core-hours of each stage, of all runs of its tasks; without stages that took none."""
    found: dict[str, float] = {}
    for record in records:
        hours = sum(map(_hours, _tries(record)))
        found[record.stage] = round(found.get(record.stage, 0.0) + hours, 5)
    return {stage: hours for stage, hours in found.items() if hours}


def timeline(records: Sequence[Record]) -> dict[str, float]:
    """Wall time of a campaign, for JSON, from the times at which engines ran.

    Returns:
        `wall_seconds`: from the first to the last engine, without pauses between runs;
        `idle_seconds`: the part in which no engine ran; `idle_share`: the same as a fraction. Time
        in which a job waited in a queue is no pause.
    """
    ends = [
        (one.get("time", record.time), one["seconds"], one.get(WHERE))
        for record in records
        for one in (
            {"time": record.time, "seconds": record.seconds, WHERE: record.where},
            *record.outputs.get(EARLIER, ()),
        )
    ]
    spans = sorted(
        (end - seconds, end, (where or {}).get("submitted", end))
        for end, seconds, where in ends
        if seconds > 0
    )
    busy = idle = 0.0
    reached: float | None = None
    for start, end, submitted in spans:
        gap = 0.0 if reached is None else max(0.0, start - reached)
        queued = min(gap, max(0.0, start - submitted))
        idle += gap if gap <= PAUSE_S else queued
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
    """Core-hours of a growing journal; each call adds only the new records.

    Attributes:
        since: returns the records after the first n, in their order.
    """

    since: Callable[[int], Sequence[Record]]
    _count: int = 0
    _hours: float = 0.0
    _of: dict[str, float] = field(default_factory=dict)

    def __call__(self) -> float:
        """Core-hours of all records so far."""
        for record in self.since(self._count):
            self._count += 1
            hours = sum(map(_hours, _tries(record)))
            # the new record of a repeated task includes its earlier runs
            self._hours += hours - self._of.get(record.task, 0.0)
            self._of[record.task] = hours
        return self._hours


def line(account: Mapping[str, Any]) -> str:
    """Costs of labels as one line of text; empty if nothing was computed."""
    tries = account["failed_tries"]
    if not account["seconds"] and not tries:
        return ""
    each = account["mean_seconds"]
    words = [f"labels took {account['core_hours']:.3g} core-hours"]
    if each is not None:
        words.append(f"{each:.1f} s each, the longest {account['longest_seconds']:.1f} s")
    if account["reused"]:
        words.append(f"{account['reused']} reused")
    if tries:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tries.items()))
        words.append(f"failed tries: {kinds}")
    return "; ".join(words)
