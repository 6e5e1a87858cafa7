"""Advice on doubtful settings of a campaign, shown by `phasewalk check`.

It is about settings that may be right but usually are not; it never stops a campaign.
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
"""Number of neighbours within the cutoff below which advice is given: the first shell of a close
packing. A model of KCl with a first shell of 6 was too inaccurate for MD; with 32 it worked."""
ENOUGH_NEIGHBOURS = 18
MAX_ADVISED_A = 8.0
EXPANDED = 1.06
"""Expansion of lengths for which the number of neighbours must suffice (volume × 1.2)."""
SMALL, LARGE = 0.6, 2.5
"""Ratios of the bootstrap's displacements to the thermal ones of the stiffest element, beyond which
advice is given: too large displacements of stiff atoms give very large forces."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Advice:
    """A description of a setting, and whether it is doubtful."""

    text: str
    due: bool


def neighbours(structures: Mapping[str, Atoms], cutoff_A: float) -> Advice:
    """Number of atoms within the cutoff of each element, in each start structure."""
    counts = {name: counted(atoms, cutoff_A) for name, atoms in structures.items()}
    shown = [
        ("" if len(counts) == 1 else f"{name}: ")
        + ", ".join(f"{symbol} {count:.0f}" for symbol, count in found.items())
        for name, found in counts.items()
    ]
    text = f"average number of neighbours within {cutoff_A:g} Å: {'; '.join(shown)}"
    fewest = {name: min(found.values()) for name, found in counts.items()}
    poor = [name for name, count in fewest.items() if count < FEW_NEIGHBOURS]
    if not poor:
        return Advice(text, due=False)
    return Advice(f"{text}; fewer than {FEW_NEIGHBOURS}: {_larger(structures, poor)}", True)


def counted(atoms: Atoms, cutoff_A: float) -> dict[str, float]:
    """Mean number of neighbours of each element within a cutoff, sorted by element."""
    from ase.neighborlist import neighbor_list

    number = np.bincount(neighbor_list("i", atoms, cutoff_A), minlength=len(atoms))
    symbols = np.array(atoms.get_chemical_symbols())
    return {str(s): float(number[symbols == s].mean()) for s in sorted(set(symbols))}


def _larger(structures: Mapping[str, Atoms], poor: Sequence[str]) -> str:
    """Advice on the smallest cutoff, in steps of 0.5 Å, with enough neighbours."""
    for cutoff in np.arange(3.0, MAX_ADVISED_A + 0.1, 0.5):
        found = [min(counted(structures[name], float(cutoff) / EXPANDED).values()) for name in poor]
        if min(found) >= ENOUGH_NEIGHBOURS:
            return (
                f"the model may be inaccurate; model.r_max_A: {cutoff:g} includes at least "
                f"{min(found):.0f}, but makes steps slower (it cannot be changed after generation "
                "0 is trained)"
            )
    return f"the model may be inaccurate; increase model.r_max_A (to {MAX_ADVISED_A:g} or more)"


def zbl(settings: ModelSettings) -> Advice:
    """Whether the model repels atoms at distances without training data."""
    if settings.zbl:
        ends = settings.zbl_range_fraction
        where = "the cutoff" if ends is None else f"{ends:g} × the sum of covalent radii"
        return Advice(f"model.zbl: true, short-range repulsion that ends at {where}", due=False)
    return Advice(
        "model.zbl: false, no repulsion at short distances without training data; true is "
        "recommended; it cannot be changed after generation 0 is trained",
        due=False,
    )


@dataclass(frozen=True)
class Displaced:
    """A displaced structure with the forces of the reference.

    Attributes:
        atoms: the displaced structure.
        moves: (N, 3) displacements, Å.
        forces: (N, 3) forces of the reference, eV/Å.
    """

    atoms: Atoms
    moves: Array
    forces: Array


def stiffness(tried: Displaced) -> dict[str, float]:
    """Force constant of each element, eV/Å², from forces and displacements of one frame.

    The estimate is good to a factor of about two. Elements without a restoring force (in a
    structure that is not relaxed) are omitted.
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
    """Compare the displacements of the bootstrap with thermal displacements.

    Args:
        tried: one frame with its forces.
        settings: of the bootstrap.
        temperature_K: of the walkers.
        count: number of perturbed structures that will be labelled.
    """
    if not count:
        return Advice("no perturbed structures: the first labels are from initial_data", due=False)
    own = settings.displacement_A / np.sqrt(3.0)
    thermal = {s: float(np.sqrt(kB * temperature_K / k)) for s, k in stiffness(tried).items()}
    text = (
        f"bootstrap.displacement_A: {settings.displacement_A:g} gives displacements of {own:.2g} Å "
        "(rms per component)"
    )
    if not thermal:
        return Advice(f"{text}; thermal ones are unknown: the structure is not relaxed", False)
    shown = ", ".join(f"{symbol} {rms:.2g}" for symbol, rms in thermal.items())
    text = f"{text}; thermal ones at {temperature_K:g} K are about {shown}"
    least = min(thermal.values())
    loose = sorted(set(tried.atoms.get_chemical_symbols()) - set(thermal))
    if loose:
        return Advice(
            f"{text}; {', '.join(loose)}: no restoring force, so the start structure is probably "
            "not a minimum of the reference; relax it with the reference, or use another cell",
            due=True,
        )
    if own < SMALL * least:
        wanted = min(1.0, round(float(least * np.sqrt(3.0)), 2))
        return Advice(
            f"{text}; too small: walkers will leave the range of the first labels; use "
            f"bootstrap.displacement_A: {wanted:g}",
            due=True,
        )
    if own > LARGE * least:
        return Advice(f"{text}; too large: reduce bootstrap.displacement_A", True)
    return Advice(text, due=False)
