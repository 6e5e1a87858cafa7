"""Verify cached results of another campaign by recomputing one of them.

Results with the same level of theory may differ, because the reference of another campaign may be a
different build, a wrapper or a program of the user. Therefore the first label (and the first
isolated atom) that could be reused from a campaign is also computed here. If both agree, the other
results of that campaign are used. Otherwise none is used, and this is reported.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..campaign import Work
from ..files import hash_of
from ..labels import Label
from ..store import IMPORT, NAMED, Believed, CacheName, compared_task, now
from ..units import GPA_PER_EV_PER_A3

MAX_ENERGY_MEV_PER_ATOM, MAX_FORCE_MEV_PER_A, MAX_STRESS_GPA = 2.0, 25.0, 0.1
"""Maximum differences between machines for one level of theory. Published labels of the same frames
at two levels of theory differed by 107 meV/Å and 0.46 GPa."""
LABELS, ATOMS = "shared labels", "shared isolated atoms"
MAKER = "campaign"
"""Key under which labels and atoms in the cache name the campaign that computed them."""


def me(work: Work) -> str:
    """Name of this campaign in the cache, recorded at first use."""
    record = work.store.find(NAMED)
    if record is None:
        name = f"{work.campaign.settings.campaign} ({hash_of(str(work.store.root), now())[:8]})"
        work.note(NAMED, IMPORT, 0, {"name": name})
        return name
    return record.of(CacheName).name


def maker(made: Mapping[str, Any]) -> str:
    """The campaign that computed a cached result; "" if it was not recorded."""
    return str(made.get(MAKER, ""))


def believed(work: Work, what: str, who: str) -> bool | None:
    """Whether the labels or atoms of a campaign are used here; None if not verified yet."""
    named = work.store.find(NAMED)
    if named is not None and who == named.of(CacheName).name:
        return True  # of this campaign, which was killed before the record
    record = work.store.find(compared_task(what, who))
    return None if record is None else record.of(Believed).believed


def note(work: Work, what: str, who: str, *, wrong: str, found: str, round_: int = 0) -> None:
    """Record and print the result of a comparison; `wrong` is empty if both agree."""
    by = f"campaign {who}" if who else "another campaign"
    line = f"{what} of {by}: {found}"
    if wrong:
        line += (
            f" ({wrong}): none of them are used. One campaign uses a different program under the "
            "same level of theory, and the cache keeps the earlier results; see phasewalk labels "
            "list, and delete the directory of this level if it is wrong, or set reference.share: "
            "false"
        )
    outputs = {"believed": not wrong, "found": line}
    work.note(compared_task(what, who), IMPORT, round_, outputs)
    work.observer.say(line)


def difference(own: Label, other: Label) -> tuple[str, str]:
    """Differences of two labels of a frame as text, and the exceeded limits ("" if none)."""
    energy = 1000 * abs(own.energy - other.energy) / len(own.atoms)
    force = 1000 * float(np.abs(own.forces - other.forces).max())
    stress = GPA_PER_EV_PER_A3 * float(np.abs(own.stress - other.stress).max())
    shown = f"up to {energy:.2g} meV/atom, {force:.2g} meV/Å, {stress:.2g} GPa"
    limits = (
        (energy, MAX_ENERGY_MEV_PER_ATOM, "meV/atom"),
        (force, MAX_FORCE_MEV_PER_A, "meV/Å"),
        (stress, MAX_STRESS_GPA, "GPa"),
    )
    return shown, ", ".join(f"limit {top:g} {unit}" for value, top, unit in limits if value > top)
