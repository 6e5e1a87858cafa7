"""What of a campaign's settings is doubtful: shown by `check`, before anything is paid for.

Advice is about what can be right, and seldom is; it never stops a campaign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import kB
from numpy.typing import NDArray

from ..campaign import BootstrapSettings
from ..models import ModelSettings

FEW_NEIGHBOURS = 12
"""Within the cutoff of an atom: below, not even a close packing's first shell is seen. KCl's ions
with their first shell of 6 alone learned nothing that walkers could use; with 32 it worked."""
ENOUGH_NEIGHBOURS = 18
MAX_ADVISED_A = 8.0
EXPANDED = 1.06
"""Length beside the start structure's at which there are still enough: volume and a fifth."""
SMALL, LARGE = 0.6, 2.5
"""Displacements of the bootstrap, as a share of the thermal ones of the species that moves least,
beyond which advice is due: stiff atoms moved like soft ones have forces beyond all limits."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Advice:
    """What was found, and whether there is something to be advised."""

    text: str
    due: bool


def neighbours(structures: Mapping[str, Atoms], cutoff_A: float) -> Advice:
    """How many atoms each species has within the cutoff, in each start structure."""
    counts = {name: counted(atoms, cutoff_A) for name, atoms in structures.items()}
    told = [
        ("" if len(counts) == 1 else f"{name}: ")
        + ", ".join(f"{symbol} {count:.0f}" for symbol, count in found.items())
        for name, found in counts.items()
    ]
    text = f"within {cutoff_A:g} Å of an atom, on average: {'; '.join(told)}"
    fewest = {name: min(found.values()) for name, found in counts.items()}
    poor = [name for name, count in fewest.items() if count < FEW_NEIGHBOURS]
    if not poor:
        return Advice(text, due=False)
    return Advice(f"{text}; fewer than {FEW_NEIGHBOURS} are few: {_larger(structures, poor)}", True)


def counted(atoms: Atoms, cutoff_A: float) -> dict[str, float]:
    """Mean number of neighbours of each species within a cutoff, in the order of their names."""
    from ase.neighborlist import neighbor_list

    number = np.bincount(neighbor_list("i", atoms, cutoff_A), minlength=len(atoms))
    symbols = np.array(atoms.get_chemical_symbols())
    return {str(s): float(number[symbols == s].mean()) for s in sorted(set(symbols))}


def _larger(structures: Mapping[str, Atoms], poor: Sequence[str]) -> str:
    """The smallest cutoff, in steps of half an Å, with which the poor structures have enough."""
    for cutoff in np.arange(3.0, MAX_ADVISED_A + 0.1, 0.5):
        found = [min(counted(structures[name], float(cutoff) / EXPANDED).values()) for name in poor]
        if min(found) >= ENOUGH_NEIGHBOURS:
            return (
                f"the model may see too little to learn from; model.r_max_A: {cutoff:g} would see "
                f"at least {min(found):.0f}, and steps would take longer (it cannot be changed "
                "once generation 0 is trained)"
            )
    return f"the model may see too little to learn from; raise model.r_max_A ({MAX_ADVISED_A:g})"


def zbl(settings: ModelSettings) -> Advice:
    """What keeps atoms apart where the model has learned nothing."""
    if settings.zbl:
        return Advice("model.zbl: true, a repulsion where atoms come close", due=False)
    return Advice(
        "model.zbl: false: nothing keeps atoms apart at distances that the first generations have "
        "not learned. Advised (true) for ions, molecules and high temperatures; it cannot be "
        "changed once generation 0 is trained",
        due=False,
    )


@dataclass(frozen=True)
class Displaced:
    """Atoms moved from a structure, and what the reference says of them.

    Attributes:
        atoms: moved.
        moves: (N, 3) displacements, Å.
        forces: (N, 3) of the reference, eV/Å.
    """

    atoms: Atoms
    moves: Array
    forces: Array


def stiffness(tried: Displaced) -> dict[str, float]:
    """Force constant of each species, eV/Å²: force against the displacement of the atom itself.

    An estimate from one frame, and so by a factor of two or so; species whose forces do not drive
    them back (the structure is not at rest) are left out.
    """
    symbols = np.array(tried.atoms.get_chemical_symbols())
    found = {}
    for symbol in sorted(set(symbols)):
        mine = symbols == symbol
        moved = float(np.sum(tried.moves[mine] ** 2))
        back = -float(np.sum(tried.forces[mine] * tried.moves[mine]))
        if moved > 0 and back > 0:
            found[str(symbol)] = back / moved
    return found


def displacements(
    tried: Displaced, settings: BootstrapSettings, *, temperature_K: float, count: int
) -> Advice:
    """Whether the bootstrap moves atoms as far as the temperature does.

    Args:
        tried: one frame with its forces.
        settings: of the bootstrap.
        temperature_K: of the walkers.
        count: perturbed structures that will be labelled.
    """
    if not count:
        return Advice("no perturbed structures: the first labels are yours", due=False)
    own = settings.displacement_A / np.sqrt(3.0)
    thermal = {s: float(np.sqrt(kB * temperature_K / k)) for s, k in stiffness(tried).items()}
    text = f"displacement_A {settings.displacement_A:g} moves atoms by {own:.2g} Å (rms of x, y, z)"
    if not thermal:
        return Advice(f"{text}; thermal ones are not known: the structure is not at rest", False)
    shown = ", ".join(f"{symbol} {rms:.2g}" for symbol, rms in thermal.items())
    text = f"{text}; {temperature_K:g} K by about {shown}"
    least = min(thermal.values())
    loose = sorted(set(tried.atoms.get_chemical_symbols()) - set(thermal))
    if loose:
        return Advice(
            f"{text}; nothing drives {', '.join(loose)} back: the start structure is hardly a "
            "minimum of the reference: relax it with the reference, or take another cell",
            due=True,
        )
    if own < SMALL * least:
        wanted = min(1.0, round(float(least * np.sqrt(3.0)), 2))
        return Advice(
            f"{text}: the first model will not know what walkers do; "
            f"bootstrap.displacement_A: {wanted:g} would be of that size",
            due=True,
        )
    if own > LARGE * least:
        return Advice(f"{text}: far more than walkers will; lower bootstrap.displacement_A", True)
    return Advice(text, due=False)
