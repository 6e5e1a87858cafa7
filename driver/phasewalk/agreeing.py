"""Whether the free energies of the last two generations agree: a goal that costs segments."""

import math

from . import freezing, learning, reopening
from .deploying import FINAL, Generation
from .free_energy import difference
from .stop_settings import FreeEnergyGoal
from .store import now
from .tasks import Work


def compare(work: Work, goal: FreeEnergyGoal, generation: Generation) -> tuple[float | None, str]:
    """Largest difference (kJ/mol) of the free energies of a generation and of the one before.

    Returns:
        The difference, over all systems with METAD, and the same in words; None where there is no
        earlier generation, or nothing that both have sampled.
    """
    names = [
        str(record.outputs["generation"])
        for record in work.store.records()
        if record.stage == "deploy" and record.outputs["generation"] != FINAL
    ]
    earlier = [name for name in dict.fromkeys(names) if int(name) < generation.number]
    if not earlier:
        return None, "there is no earlier generation to compare with"
    before = learning.fit(work, reopening.read_generation(work.store, earlier[-1]))
    began = now()
    one, other = (
        freezing.free_energy(work, which, goal.segments, hills=goal.hills)
        for which in (generation, before)
    )
    seconds = now() - began
    if seconds > 1.0:  # they were not there already
        name = f"free energies of generations {before.name} and {generation.name}"
        work.note(name, "fes", generation.number, {}, seconds=seconds, cores=work.campaign.walkers)
    differences = {
        system: difference(one[system], other[system], goal.within_kJ_per_mol) for system in one
    }
    told = "; ".join(
        f"{system} {found.largest:.2g} kJ/mol (over {100 * found.shared:.0f} % of what was sampled)"
        for system, found in differences.items()
    )
    largest = max(found.largest for found in differences.values())
    unknown = any(math.isnan(found.largest) for found in differences.values())
    says = f"generations {before.name} and {generation.name} differ by up to {told}"
    return None if unknown else largest, says
