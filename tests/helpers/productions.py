"""Folders of production runs with numbers that a test chooses, as LAMMPS and PLUMED write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from phasewalk.producing import BEGUN

Array = NDArray[np.float64]

TITLE = "# step temp_K pe_eV econserve_eV press_bar vol_A3 lx ly lz xy xz yz"
SETTINGS = {
    "ensemble": "npt",
    "thermostat": "csvr",
    "temperature_K": 300.0,
    "timestep_fs": 1.0,
    "walkers": 1,
    "plumed": None,
}


def begin(folder: Path, **settings: Any) -> Path:
    """A folder that a run has begun in."""
    folder.mkdir(exist_ok=True)
    begun = {"generation": "1", "made_from": SETTINGS | settings, "start": "0"}
    (folder / BEGUN).write_text(json.dumps(begun))
    return folder


def correlated(rng: np.random.Generator, count: int, memory: float) -> Array:
    """(count,) Gaussian series of variance 1, whose autocorrelation is memory**n.

    Its statistical inefficiency is (1 + memory) / (1 - memory).
    """
    noise = rng.normal(size=count) * np.sqrt(1.0 - memory**2)
    noise[0] = rng.normal()
    found: Array = lfilter([1.0], [1.0, -memory], noise)
    return found


def write_thermo(
    path: Path, cells: Array, *, every: int = 10, seed: int = 1, bias_eV: Array | None = None
) -> None:
    """A table with (n, 3, 3) lower-triangular cells, and noise in its other columns."""
    count = len(cells)
    rng = np.random.default_rng(seed)
    noise = rng.normal([300.0, -1000.0, -990.0, 0.0], [10.0, 1.0, 0.1, 1000.0], size=(count, 4))
    volumes = np.linalg.det(cells)[:, None]
    vectors = [cells[:, i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1))]
    columns = [np.arange(count)[:, None] * every, noise, volumes, np.stack(vectors, axis=1)]
    if bias_eV is not None:
        columns.append(bias_eV[:, None])
    title = TITLE + (" bias_eV" if bias_eV is not None else "")
    np.savetxt(path, np.concatenate(columns, axis=1), "%.12g", header=title[2:])


def frame(step: int, cell: Array, positions: Array, symbols: Sequence[str]) -> str:
    """A frame of a dump from unwrapped (atoms, 3) positions; cell lower-triangular, from 0, Å."""
    places = positions @ np.linalg.inv(cell)
    images = np.floor(places)
    inside = (places - images) @ cell
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    bounds = (
        (min(0.0, xy, xz, xy + xz), lx + max(0.0, xy, xz, xy + xz), xy),
        (min(0.0, yz), ly + max(0.0, yz), xz),
        (0.0, lz, yz),
    )
    lines = [
        *("ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(symbols))),
        "ITEM: BOX BOUNDS xy xz yz pp pp pp",
        *(" ".join(f"{x:.16e}" for x in row) for row in bounds),
        "ITEM: ATOMS id type element x y z ix iy iz",
        *(
            f"{n + 1} 1 {symbol} {' '.join(f'{x:.12g}' for x in inside[n])} "
            f"{' '.join(str(int(i)) for i in images[n])} "
            for n, symbol in enumerate(symbols)
        ),
    ]
    return "\n".join(lines) + "\n"


def write_dump(
    path: Path, cells: Array, positions: Array, symbols: Sequence[str], every: int = 10
) -> None:
    """A dump of (n, 3, 3) cells and (n, atoms, 3) unwrapped positions, one per `every` steps."""
    frames = (
        frame(every * n, cell, where, symbols)
        for n, (cell, where) in enumerate(zip(cells, positions, strict=True))
    )
    path.write_text("".join(frames))


def write_colvar(path: Path, columns: dict[str, Array], times: Array, constants: str = "") -> None:
    """A table of PLUMED's PRINT; times in its unit."""
    head = f"#! FIELDS time {' '.join(columns)}\n{constants}"
    rows = np.stack([times, *columns.values()], axis=1)
    path.write_text(head + "".join(" ".join(f"{x:.9f}" for x in row) + "\n" for row in rows))


def rows(path: Path, steps: float = 1.0) -> list[int]:
    """Steps of the rows of a table, of which there are so many in a unit of its first column."""
    lines = [line for line in path.read_text().splitlines() if line[0] != "#"]
    return [round(float(line.split()[0]) * steps) for line in lines]


def assert_continuous(
    folder: Path, walker: str, hills: str, *, steps: int, every: Mapping[str, int]
) -> None:
    """All that a walker wrote in steps of 0.5 fs, from its first to its last: each entry once.

    Args:
        folder: of the run.
        walker: its name.
        hills: name of its hills file.
        steps: number of steps of the run.
        every: steps between rows of thermo, dump, colvar and hills.
    """
    ends = {f"{walker}.thermo": 1.0, f"{walker}.colvar": 2000.0, hills: 2000.0}
    for (name, per_ps), kind in zip(ends.items(), ("thermo", "colvar", "hills"), strict=True):
        first = every[kind] if kind == "hills" else 0
        assert rows(folder / name, per_ps) == list(range(first, steps + 1, every[kind])), name
    lines = (folder / f"{walker}.dump").read_text().splitlines()
    frames = [int(lines[n + 1]) for n, line in enumerate(lines) if line == "ITEM: TIMESTEP"]
    assert frames == list(range(0, steps + 1, every["dump"]))
