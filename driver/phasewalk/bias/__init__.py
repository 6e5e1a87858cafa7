"""The bias: the PLUMED text, its variables and its hills."""

from . import colvars, dumps, plumed, plumed_files, plumed_limits, quantities
from .dumps import WHOLE, Frame, finished_lines, numbers, tail_lines
from .hills import (
    Deposit,
    Gaussians,
    Hill,
    HillsRecord,
    active_hills,
    bias_at,
    deactivate,
    gaussians,
    kernels,
    merge,
    record_from_text,
    record_to_text,
)
from .plumed import metad_actions
from .sharing import BiasSharing, HillsOnDisk, on_disk, read_new

__all__ = [
    "WHOLE",
    "BiasSharing",
    "Deposit",
    "Frame",
    "Gaussians",
    "Hill",
    "HillsOnDisk",
    "HillsRecord",
    "active_hills",
    "bias_at",
    "colvars",
    "deactivate",
    "dumps",
    "finished_lines",
    "gaussians",
    "kernels",
    "merge",
    "metad_actions",
    "numbers",
    "on_disk",
    "plumed",
    "plumed_files",
    "plumed_limits",
    "quantities",
    "read_new",
    "record_from_text",
    "record_to_text",
    "tail_lines",
]
