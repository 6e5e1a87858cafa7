"""Whether what another campaign left in the cache is believed: one of it is computed again first.

A campaign's reference may say anything under the name of a level of theory: a program of the user's
own, another build, a wrapper. So the first label (and the first isolated atom) that would be taken
from a campaign is computed here as well. Where both agree, the rest is taken; where they do not,
nothing of that campaign's is, and it is said.
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
"""Within these one level of theory repeats itself on another machine. Published label sets of the
same frames, of two levels of theory, differed by 107 meV/Å and 0.46 GPa."""
LABELS, ATOMS = "shared labels", "shared isolated atoms"
MAKER = "campaign"
"""Under this name a label and an atom in the cache say which campaign computed them."""


def me(work: Work) -> str:
    """What this campaign is called in the cache, for as long as it lives: noted at first use."""
    record = work.store.find(NAMED)
    if record is None:
        name = f"{work.campaign.settings.campaign} ({hash_of(str(work.store.root), now())[:8]})"
        work.note(NAMED, IMPORT, 0, {"name": name})
        return name
    return record.of(CacheName).name


def maker(made: Mapping[str, Any]) -> str:
    """The campaign that computed something in the cache; "" where that was not noted."""
    return str(made.get(MAKER, ""))


def believed(work: Work, what: str, who: str) -> bool | None:
    """Whether the labels or atoms of a campaign are believed here; None where it was not tried."""
    named = work.store.find(NAMED)
    if named is not None and who == named.of(CacheName).name:
        return True  # its own, left between a result and its record by a kill
    record = work.store.find(compared_task(what, who))
    return None if record is None else record.of(Believed).believed


def note(work: Work, what: str, who: str, *, wrong: str, found: str, round_: int = 0) -> None:
    """Journal, and say, what the comparison gave; `wrong` is empty where both agree."""
    by = f"campaign {who}" if who else "another campaign"
    told = f"{what} of {by}: {found}"
    if wrong:
        told += (
            f" ({wrong}): none of them are used. One of both has another program behind the same "
            "level of theory; the cache keeps the older: see phasewalk labels list, and delete the "
            "level's folder there if it is wrong, or set reference.share: false"
        )
    outputs = {"believed": not wrong, "found": told}
    work.note(compared_task(what, who), IMPORT, round_, outputs)
    work.observer.say(told)


def difference(own: Label, other: Label) -> tuple[str, str]:
    """How far two labels of one frame are apart: in words, and what is too far ("" for nothing)."""
    energy = 1000 * abs(own.energy - other.energy) / len(own.atoms)
    force = 1000 * float(np.abs(own.forces - other.forces).max())
    stress = GPA_PER_EV_PER_A3 * float(np.abs(own.stress - other.stress).max())
    shown = f"{energy:.2g} meV/atom, {force:.2g} meV/Å, {stress:.2g} GPa at most"
    limits = (
        (energy, MAX_ENERGY_MEV_PER_ATOM, "meV/atom"),
        (force, MAX_FORCE_MEV_PER_A, "meV/Å"),
        (stress, MAX_STRESS_GPA, "GPa"),
    )
    return shown, ", ".join(f"limit {top:g} {unit}" for value, top, unit in limits if value > top)
