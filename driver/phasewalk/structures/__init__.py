"""Read, check and perturb structures, including magnetic moments, charges and fixed atoms."""

from . import carried, molecules
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
    "bare",
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
