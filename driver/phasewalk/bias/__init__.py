"""The bias: the PLUMED input, its variables and its hills."""

from . import colvars, dumps, hill_tables, plumed, plumed_files, plumed_limits, quantities, sharing
from .dumps import WHOLE, Frame, finished_lines, numbers, tail_lines
from .hill_tables import HillsTable, Mark
from .hills import (
    Cut,
    Deposit,
    Gaussians,
    Hill,
    HillsRecord,
    active_hills,
    add_headers,
    bias_at,
    deactivate,
    effective,
    gaussians,
    header,
    kernels,
    merge,
    record_to_text,
)
from .plumed import metad_actions
from .sharing import BiasSharing, HillsOnDisk, History, HistoryFile, on_disk, read_new

__all__ = [
    "WHOLE",
    "BiasSharing",
    "Cut",
    "Deposit",
    "Frame",
    "Gaussians",
    "Hill",
    "HillsOnDisk",
    "HillsRecord",
    "HillsTable",
    "History",
    "HistoryFile",
    "Mark",
    "active_hills",
    "add_headers",
    "bias_at",
    "colvars",
    "deactivate",
    "dumps",
    "effective",
    "finished_lines",
    "gaussians",
    "header",
    "hill_tables",
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
    "record_to_text",
    "sharing",
    "tail_lines",
]
