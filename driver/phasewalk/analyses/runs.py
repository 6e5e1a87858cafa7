"""What a folder of `phasewalk produce` has so far: its settings, tables and hills.

The folder may be of a run that goes on: incomplete last lines are ignored. Where it was continued
by hand, steps are in a table twice, of which the later ones count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..bias import dumps, finished_lines, plumed
from ..errors import InputError, ParseError
from ..files import read, typed
from ..producing import BEGUN, Begun, walker_names
from ..units import FS_PER_PS
from ..walkers import colvar_files

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

CELL = ("lx", "ly", "lz", "xy", "xz", "yz")


class _Settings(BaseModel):
    """What is needed of the settings that a run was begun with."""

    model_config = ConfigDict(strict=True)

    walkers: int
    ensemble: str
    thermostat: str
    temperature_K: float
    timestep_fs: float
    plumed: str | None = None


@dataclass(frozen=True)
class Run:
    """A production run.

    Attributes:
        folder: its folder.
        walkers: their names.
        npt: the cell is flexible.
        thermostat: its kind.
        temperature_K: of the thermostat.
        timestep_ps: time step.
        plumed: PLUMED input; None if there is none.
    """

    folder: Path
    walkers: tuple[str, ...]
    npt: bool
    thermostat: str
    temperature_K: float
    timestep_ps: float
    plumed: str | None


@dataclass(frozen=True)
class Rows:
    """A table with a row for each of some steps.

    Attributes:
        names: of the columns, with units.
        steps: (n,) increasing.
        values: (n, columns).
        constants: what PLUMED wrote of its variables (`SET`).
    """

    names: tuple[str, ...]
    steps: Whole
    values: Array
    constants: Mapping[str, str]

    def column(self, name: str) -> Array:
        """(n,) one column."""
        found: Array = self.values[:, self.names.index(name)]
        return found

    def cells(self) -> Array:
        """(n, 3, 3) cells of a thermo table, Å, rows are vectors."""
        lx, ly, lz, xy, xz, yz = (self.column(name) for name in CELL)
        no = np.zeros(len(lx))
        found: Array = np.stack([lx, no, no, xy, ly, no, xz, yz, lz], axis=1).reshape(-1, 3, 3)
        return found


def find(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        InputError: there is none.
    """
    path = folder / BEGUN
    if not path.is_file():
        raise InputError(
            f"{folder}: not the folder of a production run (no {BEGUN}); name the one that "
            "phasewalk produce has made"
        )
    begun = read(path, Begun)
    settings = typed(begun.made_from, _Settings, unlike="not settings of a run", path=path)
    return Run(
        folder=folder,
        walkers=walker_names(settings.walkers),
        npt=settings.ensemble == "npt",
        thermostat=settings.thermostat,
        temperature_K=settings.temperature_K,
        timestep_ps=settings.timestep_fs / FS_PER_PS,
        plumed=settings.plumed,
    )


def thermo(run: Run, walker: str) -> Rows:
    """The table of a walker; without rows if it has none yet.

    Raises:
        ParseError: a complete line is not a row of its columns.
    """
    path = run.folder / f"{walker}.thermo"
    lines = finished_lines(path)[0] if path.exists() else []
    titles = [line.split()[1:] for line in lines if line.startswith("#")]
    if not titles:
        return Rows((), np.zeros(0, dtype=np.int64), np.zeros((0, 0)), {})
    rows = [number for number, line in enumerate(lines) if not line.startswith("#")]
    try:
        values = np.loadtxt([lines[n] for n in rows], ndmin=2) if rows else np.zeros((0, 0))
    except ValueError:
        values = np.array([dumps.numbers(path, lines, n, len(titles[0])) for n in rows])
    values = values.reshape(len(rows), -1) if len(rows) else np.zeros((0, len(titles[0])))
    if values.shape[1] != len(titles[0]):
        raise ParseError(path, f"{values.shape[1]} columns, expected {len(titles[0])}")
    steps = values[:, 0].astype(np.int64)
    return _once(Rows(tuple(titles[0][1:]), steps, values[:, 1:], {}))


def colvars(run: Run, walker: str) -> list[Rows]:
    """The tables that PLUMED's PRINT actions have written for a walker, so far."""
    if run.plumed is None:
        return []
    time = run.timestep_ps / plumed.time_unit_ps(run.plumed)
    found = []
    for name in colvar_files(walker, run.plumed):
        path = run.folder / name
        table = dumps.read_colvar(path) if path.exists() else None
        if table is not None and table.fields:
            steps = np.rint(table.values[:, 0] / time).astype(np.int64)
            rows = Rows(table.fields[1:], steps, table.values[:, 1:], table.constants)
            found.append(_once(rows))
    return found


def last_of_each(steps: Whole) -> NDArray[np.intp]:
    """Where each step is for the last time, in the order of the steps."""
    _, found = np.unique(steps[::-1], return_index=True)
    return len(steps) - 1 - found


def _once(rows: Rows) -> Rows:
    """The table with each step once, without rows that are not finite."""
    kept = last_of_each(rows.steps)
    kept = kept[np.isfinite(rows.values[kept]).all(axis=1)]
    return Rows(rows.names, rows.steps[kept], rows.values[kept], rows.constants)
