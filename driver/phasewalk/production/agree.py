"""Comparison of the free energies of the last two generations, for a stop rule."""

import math

from ..campaign import FreeEnergyGoal, Work
from ..errors import EngineFailed, InputError, NothingLeft, StoreError
from ..free_energies import Difference, FreeEnergy, difference
from ..generations import Generation, learn
from ..rounds import reopen
from ..store import (
    FES,
    FINAL,
    IDENTITY,
    SEGMENT,
    DeployedModel,
    each,
    free_energy_task,
    read_campaign,
    site_ledger,
)
from . import freeze


def compare(work: Work, generation: Generation) -> tuple[float | None, str]:
    """Largest difference (kJ/mol) between the free energies of a generation and the previous one.

    Returns:
        The difference, over all systems with METAD, and a description. The difference is None if
        there is no earlier generation, the two sampled too little in common, or the computation
        fails, which does not end the campaign.
    """
    goal = work.campaign.settings.stop.free_energy
    names = {
        made.generation
        for _, made in each(work.store.records(), DeployedModel)
        if made.generation != FINAL
    }
    earlier = [int(name) for name in names if int(name) < generation.number]
    if goal is None or not earlier:
        return None, "there is no earlier generation to compare with"
    try:
        before = learn.fit(work, reopen.read_generation(work.store, str(max(earlier))))
        one, other = (_computed(work, goal, which) for which in (generation, before))
    except (InputError, EngineFailed, NothingLeft, StoreError) as error:
        work.store.beat()  # raises if the lock was lost, which ends the run
        return None, f"could not be computed ({error})"
    return _compared(goal, f"generations {before.name} and {generation.name}", one, other)


def _computed(work: Work, goal: FreeEnergyGoal, generation: Generation) -> dict[str, FreeEnergy]:
    """The free energies of a generation; their cost is recorded also if they fail."""
    try:
        found = freeze.freeze(work, generation, goal.segments, hills=goal.hills)
        return {name: one.found for name, one in found.items()}
    finally:
        root = work.store.root / freeze.place(generation.name, goal.hills)
        if (root / IDENTITY).is_file():
            segments = [r for r in read_campaign(root).records() if r.stage == SEGMENT]
            spent = site_ledger.spent(segments)
            name = free_energy_task(generation.name, goal.hills)
            noted = work.store.find(name)
            if spent["seconds"] and (noted is None or noted.seconds != spent["seconds"]):
                work.note(name, FES, generation.number, {}, **spent)


def _compared(
    goal: FreeEnergyGoal, which: str, one: dict[str, FreeEnergy], other: dict[str, FreeEnergy]
) -> tuple[float | None, str]:
    largest, doubts, differences = 0.0, [], []
    for system in one:
        found = difference(one[system], other[system], goal.within_kJ_per_mol)
        back = difference(other[system], one[system], goal.within_kJ_per_mol)
        shared = min(found.shared, back.shared)
        differences.append(f"{found.largest:.2g} kJ/mol ({system})")
        if math.isnan(found.largest) or shared < goal.min_shared:
            doubts.append(
                f"{system}: only {100 * shared:.0f} % of the bins were sampled by both "
                f"(min_shared: {100 * goal.min_shared:.0f} %)"
            )
        if not (one[system].agree and other[system].agree):
            doubts.append(f"{system}: histogram and hills do not agree yet")
        doubts += _too_wide(goal, system, found, one[system], other[system])
        largest = max(largest, found.largest)
    described = "; ".join([f"{which} differ by up to {', '.join(differences)}", *doubts])
    return None if doubts else largest, described


def _too_wide(
    goal: FreeEnergyGoal, system: str, found: Difference, one: FreeEnergy, other: FreeEnergy
) -> list[str]:
    """Reasons why a small difference may be chance: its error is unknown or exceeds the limit."""
    if math.isnan(found.largest):
        return []
    if math.isnan(found.error):
        few = (free.crossed for free in (one, other) if math.isnan(free.largest_error))
        reason = next(filter(None, few), "bins were visited too rarely")
        return [f"{system}: that difference has no error yet ({reason})"]
    if found.error > goal.max_difference_kJ_per_mol:
        return [
            f"{system}: the error of that difference, {found.error:.2g} kJ/mol, exceeds the limit; "
            "use more stop.free_energy.segments"
        ]
    return []
