"""Structures: read strictly, checked, perturbed, and what a frame carries beside its positions."""

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
