"""The deployed models of a generation in all its forms."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..store import DeployedModel, OtherForm, Record, Trained, each


def forms(
    records: Sequence[Record],
    generations: Sequence[Mapping[str, Any]],
    generation: str | None = None,
) -> list[dict[str, Any]]:
    """The forms of a deployed generation, AOTInductor first, which is faster; empty without one.

    Keys: generation, mode, device, file (relative to the campaign), ms_per_step (of LAMMPS on one
    thread when it was validated; null if it was not yet).

    Args:
        records: of the campaign.
        generations: as `summary.collect` returns them.
        generation: its name; None for the last one that was deployed.
    """
    made_ones = (entry for entry in reversed(generations) if "deployed" in entry)
    last = next((e for e in made_ones if generation in (None, e["generation"])), None)
    if last is None:
        return []
    name = last["generation"]
    checkpoint = {made.generation: made.sha256 for _, made in each(records, Trained)}[name]
    found = {}
    for record in records:
        made = record.made
        if not isinstance(made, DeployedModel | OtherForm) or made.generation != name:
            continue
        speed = last.get("ms_per_step")
        if isinstance(made, OtherForm):
            if made.stamp.get("checkpoint") != checkpoint:
                continue  # of an earlier training
            speed = round(1000 * made.seconds_per_step, 3)
        found[made.mode] = {
            "generation": name,
            "mode": made.mode,
            "device": made.stamp.get("device", ""),
            "file": made.file,
            "ms_per_step": speed,
        }
    return [found[mode] for mode in sorted(found)]


def groups(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The forms of the last model for the report: a title, and for each its file and speed."""
    rows = [(f"{one['mode']}, {one['device']}", _with_speed(one)) for one in found]
    return [(f"Deployed models of generation {found[0]['generation']}", rows)] if rows else []


def _with_speed(one: Mapping[str, Any]) -> str:
    speed = one["ms_per_step"]
    return str(one["file"]) if speed is None else f"{one['file']}: {speed:.1f} ms/step"
