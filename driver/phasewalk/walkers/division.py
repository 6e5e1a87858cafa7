"""A segment with more walkers than fit into one launch, as several launches.

Walkers that share no hills within a round do not depend on each other, so that they may run in
launches of their own, side by side or one after another. Those that do (`bias_sharing: live` and
`mpi`) stay together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .partitions import colvar_files
from .segment import SegmentPlan, SystemSettings

TOGETHER = ("live", "mpi")
"""Values of bias_sharing with which walkers of a system share hills within a round."""


def check(systems: Mapping[str, SystemSettings], most: int) -> None:
    """Raise InputError if walkers that must run together are too many for a launch.

    Args:
        systems: settings of the systems, by name.
        most: maximum number of walkers of a launch.
    """
    for name, system in systems.items():
        if _together(system) and system.walkers > most:
            raise InputError(
                f"systems.{name}: its {system.walkers} walkers share hills within a round "
                f"(bias_sharing: {system.bias_sharing}), so that they need one launch, but at most "
                f"{most} fit into one here; use bias_sharing: merged, fewer walkers, more cores, "
                "or a higher resources.walkers_per_core (or walkers of segment in the site file)"
            )


def largest(systems: Mapping[str, SystemSettings], most: int | None) -> int:
    """Number of walkers of the largest launch."""
    total = sum(system.walkers for system in systems.values())
    if most is None or total <= most:
        return total
    together = [system.walkers for system in systems.values() if _together(system)]
    return max(math.ceil(total / math.ceil(total / most)), *together, 1)


def parts(
    plan: SegmentPlan, most: int | None, before: Sequence[Sequence[str]] = ()
) -> tuple[SegmentPlan, ...]:
    """The launches of a segment, of about the same size, in the order of its walkers.

    Args:
        plan: the segment.
        most: maximum number of walkers of a launch; None: no limit.
        before: ids of the walkers of each launch when it began; used again if they are not too
            many, so that launches that have ended are not repeated.

    Raises:
        InputError: walkers that must run together are too many.
    """
    if most is None or len(plan.walkers) <= most:
        return (plan,)
    check(plan.systems, most)
    every = [walker.id for walker in plan.walkers]
    if every == [name for ids in before for name in ids] and max(map(len, before)) <= most:
        return tuple(_part(plan, ids) for ids in before)
    units = list(_units(plan))
    size = max(math.ceil(len(every) / math.ceil(len(every) / most)), *map(len, units))
    found: list[list[str]] = [[]]
    for unit in units:
        if len(found[-1]) + len(unit) > size:
            found.append([])
        found[-1] += unit
    return tuple(_part(plan, ids) for ids in found)


def files_of(part: SegmentPlan, first: int, directory: Path) -> dict[str, Path]:
    """The files of a launch by their names in a directory for all walkers of the segment.

    PLUMED with MPI appends the number of a walker in its launch to the names of output files.

    Args:
        part: the launch.
        first: number of walkers in the launches before it.
        directory: of the launch.
    """
    found = {path.name: path for path in sorted(directory.iterdir()) if not path.is_dir()}
    for number, walker in enumerate(part.walkers):
        for name in colvar_files(walker.id, part.systems[walker.system].plumed or ""):
            path = found.pop(f"{name}.{number}", None)
            if path is not None:
                found[f"{name}.{first + number}"] = path
    return found


def _together(system: SystemSettings) -> bool:
    """Whether its walkers share hills within a round."""
    return system.plumed is not None and system.bias_sharing in TOGETHER and system.walkers > 1


def _units(plan: SegmentPlan) -> Iterator[list[str]]:
    """Walkers that must be in the same launch."""
    done = set()
    for walker in plan.walkers:
        if not _together(plan.systems[walker.system]):
            yield [walker.id]
        elif walker.system not in done:
            done.add(walker.system)
            yield list(plan.members[walker.system])


def _part(plan: SegmentPlan, ids: Sequence[str]) -> SegmentPlan:
    """The launch of some of the walkers."""
    mine = set(ids)
    return replace(plan, walkers=tuple(walker for walker in plan.walkers if walker.id in mine))
