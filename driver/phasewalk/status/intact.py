"""How many walkers and labels are intact, which walkers were reset and why, and what to do."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..generations import known
from ..store import (
    Evaluated,
    HeldOut,
    Record,
    Segment,
    Steered,
    Walked,
    each,
    evaluate_late_task,
    evaluate_task,
)
from ..walkers import BONDS, policy

EARLIER = "not recorded"
"""Reason of a reset in records of earlier versions."""


def collect(records: Sequence[Record]) -> dict[str, Any]:
    """Numbers of walkers, resets and labels, as data for JSON; null: nothing was checked.

    Keys: see docs/status-json.md, `intact`.
    """
    segments = {record.round: made for record, made in each(records, Segment) if made.walkers}
    last = max(segments, default=0)
    walkers = segments[last].walkers if segments else []
    checked = list(_checked(segments[last])) if segments else []
    stops = [one for made in segments.values() for one in _checked(made)]
    return {
        "round": last,
        "walkers": len(walkers),
        "walkers_checked": len(checked),
        "walkers_intact": sum(map(_is_intact, checked)) if checked else None,
        "stopped_by_bonds": sum(map(_stopped, stops)) if stops else None,
        "resets": _resets(records),
        "resets_last_round": sum(_resets(r for r in records if r.round >= last).values()),
        **_labels(records, segments),
    }


def _checked(made: Segment) -> Iterator[Walked]:
    """The walkers of a segment whose bonds were checked."""
    return (one for one in made.walkers if one.system in (made.guarded or ()))


def _stopped(walker: Walked) -> bool:
    return walker.stop is not None and walker.stop.reason in BONDS


def _is_intact(walker: Walked) -> bool:
    return walker.bond_change is None and not _stopped(walker)


def _resets(records: Iterable[Record]) -> dict[str, int]:
    """Reason → how often a walker did not go on from a frame of its last round."""
    return dict(
        Counter(
            one.reason or EARLIER
            for _, steered in each(records, Steered)
            for one in steered.walkers
            if one.source in ("before", "start")
        )
    )


def _labels(records: Sequence[Record], segments: Mapping[int, Segment]) -> dict[str, int | None]:
    """Labels with other bonds, labels of outlying frames, and labels that are not trained on."""
    found = max(
        (made.bonds for _, made in each(records, Evaluated) if made.bonds is not None),
        key=lambda one: one.labels,
        default=None,
    )
    held = {one.key for _, made in each(records, HeldOut) for one in made.labels}
    judged = [made for made in segments.values() if made.limits is not None]
    evaluated = {record.task: made for record, made in each(records, Evaluated)}
    outlying = {
        one.key or (number, one.walker): number  # a late one may be judged twice, by one model
        for number, made in segments.items()
        if made.limits is not None
        for task in (evaluate_task(made.generation, number), evaluate_late_task(number))
        if (of := evaluated.get(task)) is not None
        for one in of.each
        if policy.reset(known.errors_of(one), made.limits) is not None
    }
    last = max(segments, default=0)
    any_checked = found is not None and found.checked > 0
    return {
        "labels_checked": found.checked if found else 0,
        "labels_with_other_bonds": len(found.changed) if found and any_checked else None,
        "labels_with_other_bonds_learned": len(set(found.changed) - held)
        if found and any_checked
        else None,
        "labels_outlying": len(outlying) if judged else None,
        "labels_outlying_last_round": list(outlying.values()).count(last) if judged else None,
        "labels_held_out": len(held),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """The numbers as text, with what to do as the last line; empty if no walker has run."""
    if not found["walkers"] and not found["labels_checked"]:
        return []
    told = [_walkers_line(found)] if found["walkers"] else []
    told += [line for line in (_labels_line(found),) if line]
    return [*told, *(line for line in (advice(found),) if line)]


def _walkers_line(found: Mapping[str, Any]) -> str:
    free = found["walkers"] - found["walkers_checked"]
    if found["walkers_intact"] is None:
        parts = ["walkers: bonds are not checked (free, or begun by an earlier version)"]
    else:
        intact, checked = found["walkers_intact"], found["walkers_checked"]
        rest = f" ({free} more are not checked)" if free else ""
        parts = [
            f"walkers: {intact} of {checked} intact at the end of round {found['round']}{rest}"
        ]
        parts.append(f"{found['stopped_by_bonds']} run(s) stopped by a changed bond in all rounds")
    resets = found["resets"]
    why = ", ".join(f"{reason} {count}" for reason, count in resets.items())
    return "; ".join([*parts, f"{sum(resets.values())} reset(s)" + (f" ({why})" if why else "")])


def _labels_line(found: Mapping[str, Any]) -> str:
    other, outlying = found["labels_with_other_bonds"], found["labels_outlying"]
    parts = []
    if other is not None:
        parts.append(f"{other} of {found['labels_checked']} have other bonds than the structure")
    if outlying is not None:
        parts.append(f"{outlying} of outlying frames (errors above the limits of policy)")
    if found["labels_held_out"]:
        parts.append(f"{found['labels_held_out']} not used for training (policy.hold_out)")
    return f"labels: {'; '.join(parts)}" if parts else ""


NOT_CHECKED = "not checked"


def groups(found: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The numbers as a titled group of rows for the report; none if no walker has run."""
    if not found["walkers"]:
        return []
    checked, resets = found["walkers_checked"], found["resets"]
    why = ", ".join(f"{reason} {count}" for reason, count in resets.items())
    rows = [
        (
            f"Bonds intact at the end of round {found['round']}",
            f"{found['walkers_intact']} of {checked}" if checked else NOT_CHECKED,
        ),
        ("Runs stopped by a changed bond", _or(found["stopped_by_bonds"], NOT_CHECKED)),
        ("Resets", f"{sum(resets.values())}" + (f" ({why})" if why else "")),
        ("Labels with other bonds", _or(found["labels_with_other_bonds"], NOT_CHECKED)),
        ("Labels of outlying frames", _or(found["labels_outlying"], NOT_CHECKED)),
        ("Labels not used for training", str(found["labels_held_out"])),
    ]
    return [("Walkers and labels", rows)]


def _or(value: int | None, unknown: str) -> str:
    return unknown if value is None else str(value)


def remarks(found: Mapping[str, Any]) -> list[str]:
    """The lines for the verdict: with `advice`, if there is anything to do."""
    return lines(found) if advice(found) else []


def advice(found: Mapping[str, Any]) -> str:
    """What to do, in one line; empty if there is nothing to do."""
    if found["labels_with_other_bonds_learned"]:
        return (
            "to do: labels with other bonds are trained on; take them out of initial_data in a new "
            "campaign, or, if these bonds may change, name them in systems.*.bonds_left_out"
        )
    broken = found["walkers_checked"] - (found["walkers_intact"] or 0)
    if broken:
        return (
            "to do: if bonds keep changing, use a larger bootstrap.count or model.first.epochs, or "
            "a temperature_ramp; if these bonds may change, systems.*.bonds_left_out"
        )
    if found["resets_last_round"] or found["labels_outlying_last_round"]:
        return (
            "to do: if walkers are reset in every round, the model is not accurate enough there: "
            "use a larger bootstrap.count or model.first.epochs, or a temperature_ramp"
        )
    return ""
