"""Free energies from samples of walkers: their estimate, its error, and corrections by labels."""

from . import cells, correction, free_energy, reweight
from .cells import Grid
from .correction import Against, Answered
from .free_energy import AGREE_KT, COMPARED_KT, Difference, FreeEnergy, Variable, difference
from .reweight import Walk
from .uncertainty import student

__all__ = [
    "AGREE_KT",
    "COMPARED_KT",
    "Against",
    "Answered",
    "Difference",
    "FreeEnergy",
    "Grid",
    "Variable",
    "Walk",
    "cells",
    "correction",
    "difference",
    "free_energy",
    "reweight",
    "student",
]
