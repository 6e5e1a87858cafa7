"""Optional properties of the atoms of a frame.

Initial magnetic moments and charges for the reference, masses that differ from the elements', and
fixed atoms. All are stored as arrays of the ASE atoms.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from ..errors import InputError, brief

MOMENTS, CHARGES, MASSES, FIXED = "initial_magmoms", "initial_charges", "masses", "phasewalk_fixed"
"""Names of the arrays; FIXED is phasewalk's own, since ASE's constraints would change forces."""
OWN_MASS = 1e-4
"""Masses that differ by less than this (relative) from the element's are the element's."""
_STATES = {
    **dict.fromkeys(("charge", "total_charge"), (0,)),
    **dict.fromkeys(("spin", "multiplicity", "spin_multiplicity"), (0, 1)),
}
"""Header keys that some calculators read, with their default values."""
_MEANT = {
    MOMENTS: re.compile(r"(initial_?)?(mag(mom|netic_?moment|neti[sz]ation)?s?|spins?|moments?)"),
    CHARGES: re.compile(r"(initial_?|formal_?)?charges?|q"),
    MASSES: re.compile(r"mass(es)?"),
    "move_mask": re.compile(r"fix(ed)?|frozen|mov(e|able)|mobile|constraints?|selective\w*"),
}
"""Other column names that are probably meant for these properties."""


def checked(atoms: Atoms) -> Atoms:
    """A copy of a structure, with its fixed atoms as an array.

    Raises:
        InputError: it has properties that change the results but are not supported.
    """
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    moments = [results.get(name, 0.0) for name in ("magmoms", "magmom")]  # a number is their sum
    if not atoms.has(MOMENTS) and any(np.ndim(found) and np.any(found) for found in moments):
        raise InputError(
            "its magnetic moments (magmoms) are results of a calculation; rename them to "
            "initial_magmoms to use them as initial moments, or remove them"
        )
    for name, value in atoms.info.items():
        harmless = _STATES.get(str(name).lower())
        if harmless is not None and not any(str(value) in (str(h), f"{h}.0") for h in harmless):
            raise InputError(
                brief(
                    f"its header has {name}={value}, which is not passed to the reference; set it "
                    "in the reference's settings and remove it here"
                )
            )
    _check_columns(atoms)
    found = atoms.copy()
    found.set_constraint()
    found.set_array(FIXED, _fixed_atoms(atoms), dtype=bool, shape=())
    for name in (MOMENTS, CHARGES, MASSES):
        if atoms.has(name) and not np.isfinite(atoms.arrays[name]).all():
            raise InputError(f"{name} contain a value that is not finite; correct or remove them")
    _check_masses(found)
    return found


def _check_columns(atoms: Atoms) -> None:
    """Raise InputError for a column with a probably wrong name."""
    for name, values in atoms.arrays.items():
        for meant, pattern in _MEANT.items():
            if name != meant and pattern.fullmatch(name.lower()) and np.any(values):
                raise InputError(
                    f"unknown column {name}; rename it to {meant}"
                    f"{' (T for atoms that move)' if meant == 'move_mask' else ''} or remove it"
                )


def _fixed_atoms(atoms: Atoms) -> NDArray[np.bool_]:
    """(N,) whether an atom is fixed, by the constraints that ASE has read.

    Raises:
        InputError: a constraint is not supported.
    """
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    fixed = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        kind = type(constraint).__name__
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
        elif isinstance(constraint, FixCartesian | FixScaled):
            mask = np.asarray(constraint.mask, dtype=bool)
            if mask.any() and not mask.all():
                number = int(np.atleast_1d(constraint.index)[0])
                raise InputError(
                    f"{atoms.symbols[number]}{number + 1} is fixed along some directions only "
                    f"({kind}), which is not supported; fix it along all three or none"
                )
            fixed[constraint.index] |= bool(mask.all())
        else:
            raise InputError(
                f"its constraint {kind} is not supported (only fixed atoms are); remove it"
            )
    if len(atoms) and fixed.all():
        raise InputError("all of its atoms are fixed; at least one must be free")
    return fixed


def _check_masses(atoms: Atoms) -> None:
    """Raise InputError if atoms of an element have different masses, as LAMMPS needs one each."""
    if not atoms.has(MASSES):
        return
    masses = atoms.arrays[MASSES]
    if (masses <= 0).any():
        raise InputError("an atom has a mass that is not positive; correct the masses")
    for symbol in sorted(set(atoms.symbols)):
        mine = masses[atoms.symbols == symbol]
        if np.ptp(mine) > OWN_MASS * mine.max():
            raise InputError(
                f"its {symbol} atoms have masses from {mine.min():g} to {mine.max():g} amu; give "
                "all atoms of an element the same mass"
            )


def like(atoms: Atoms, other: Atoms) -> Atoms:
    """A copy of the atoms with the optional properties of another frame of the same atoms."""
    return carry(atoms.copy(), extras(other))


def for_label(atoms: Atoms) -> Atoms:
    """A copy with only the properties a label depends on: no masses, no fixed atoms."""
    found = atoms.copy()
    for name in (MASSES, FIXED):
        if found.has(name):
            del found.arrays[name]
    return found


def carry(atoms: Atoms, extras: Mapping[str, Any]) -> Atoms:
    """Add arrays to the atoms by name; returns the same object."""
    for name, values in extras.items():
        atoms.set_array(name, np.array(values))
    return atoms


def extras(atoms: Atoms) -> dict[str, NDArray[Any]]:
    """The optional properties that differ from their defaults, as arrays by name."""
    found: dict[str, NDArray[Any]] = {}
    for name in (MOMENTS, CHARGES):
        if atoms.has(name) and np.any(atoms.arrays[name]):
            found[name] = np.array(atoms.arrays[name], dtype=float)
    if atoms.has(MASSES):
        masses, own = np.array(atoms.arrays[MASSES], dtype=float), atomic_masses[atoms.numbers]
        other = ~(np.abs(masses - own) <= OWN_MASS * own)
        if other.any():
            found[MASSES] = np.where(other, masses, own)
    if atoms.has(FIXED) and np.any(atoms.arrays[FIXED]):
        found[FIXED] = np.array(atoms.arrays[FIXED], dtype=bool)
    return found


def of_label(atoms: Atoms) -> dict[str, NDArray[Any]]:
    """The optional properties that a label depends on; see `extras`."""
    return {name: v for name, v in extras(atoms).items() if name in (MOMENTS, CHARGES)}


def fixed(atoms: Atoms) -> NDArray[np.bool_]:
    """(N,) whether an atom is fixed."""
    return np.array(extras(atoms).get(FIXED, np.zeros(len(atoms), dtype=bool)))


def described(atoms: Atoms) -> str:
    """Describe the optional properties of a structure; empty if there are none."""
    found, words = extras(atoms), []
    if MOMENTS in found:
        moments = found[MOMENTS]
        total = moments.sum(axis=0)
        words.append(
            f"magnetic moments (total {np.linalg.norm(total) if moments.ndim > 1 else total:g})"
        )
    if CHARGES in found:
        words.append(f"initial charges (total {found[CHARGES].sum():.4g})")
    if MASSES in found:
        own = ~np.isclose(found[MASSES], atomic_masses[atoms.numbers], rtol=OWN_MASS, atol=0)
        names = sorted(set(np.array(atoms.get_chemical_symbols())[own]))
        masses = {name: found[MASSES][atoms.symbols == name][0] for name in names}
        words.append("masses " + ", ".join(f"{name} {mass:g}" for name, mass in masses.items()))
    if FIXED in found:
        words.append(f"{int(found[FIXED].sum())} of {len(atoms)} atoms fixed")
    return ", ".join(words)


def mass(atoms: Atoms, name: str) -> float:
    """Mass (amu) of a species: that of its atoms, or of the element if there are none."""
    masses = atoms.get_masses()[[symbol == name for symbol in atoms.get_chemical_symbols()]]
    if len(masses) == 0:
        if name not in atomic_numbers:
            raise InputError(f"the model's type {name} is not a chemical element")
        return float(atomic_masses[atomic_numbers[name]])
    if (masses != masses[0]).any():
        raise InputError(
            f"{name} atoms have masses from {masses.min():g} to {masses.max():g} amu; give all "
            "atoms of an element the same mass"
        )
    return float(masses[0])
