"""Read, check and perturb structures, with magnetic moments, charges, fixed atoms; their bonds."""

from . import bonds, carried, molecules
from .bonds import Guard
from .structure import (
    bare,
    cell_multiple,
    clash,
    closest_contact,
    difference,
    fingerprint,
    perturb,
    read_frames,
    read_structure,
    reduced_formula,
    species,
)

__all__ = [
    "Guard",
    "bare",
    "bonds",
    "carried",
    "cell_multiple",
    "clash",
    "closest_contact",
    "difference",
    "fingerprint",
    "molecules",
    "perturb",
    "read_frames",
    "read_structure",
    "reduced_formula",
    "species",
]
