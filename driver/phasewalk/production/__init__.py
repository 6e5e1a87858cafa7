"""Production: use of a frozen model, and free energies from it."""

from . import agree, freeze, labelled, lineage, samples
from .freeze import Frozen
from .lineage import Model
from .samples import HILLS
from .stages import Titled

__all__ = [
    "HILLS",
    "Frozen",
    "Model",
    "Titled",
    "agree",
    "freeze",
    "labelled",
    "lineage",
    "samples",
]
