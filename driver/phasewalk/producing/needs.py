"""What a production run needs, before it starts: ranks, GPUs, files."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engines import HOW_TO_GET_PLUMED, Engines
from ..errors import EngineMissing, InputError
from . import memory
from .deck import series
from .plan import Plan

BYTES_PER_ROW = {"thermo": 160, "colvar": 60, "hills": 110, "kernels": 80}
RESTART_BYTES_PER_ATOM = 100
"""Of one restart file, of which there are up to four."""


@dataclass(frozen=True)
class Estimate:
    """What a run needs.

    Attributes:
        atoms: number of atoms of one walker.
        steps: number of steps of one walker.
        memory_GB: of all walkers; None if it runs on a GPU, whose memory is not known.
        files_GB: disk space of each kind of file, of all walkers.
        frames: number of frames of one walker.
    """

    atoms: int
    steps: int
    memory_GB: float | None
    files_GB: dict[str, float]
    frames: int

    def lines(self) -> Iterator[str]:
        """The estimate as text."""
        memory = "" if self.memory_GB is None else f", about {self.memory_GB:.1f} GB of memory"
        yield f"{self.atoms} atoms, {self.steps} steps{memory}"
        kinds = ", ".join(f"{name} {_size(size)}" for name, size in self.files_GB.items())
        yield f"files at the end: {_size(sum(self.files_GB.values()))} ({kinds})"


def estimate(plan: Plan) -> Estimate:
    """What a run needs."""
    settings = plan.settings
    files = {"frames": 0.0, "restart files": 4.0 * RESTART_BYTES_PER_ATOM * len(plan.atoms)}
    for one in series(plan, plan.walkers[0]):
        count = len(one.steps(settings.steps))
        kind = one.name.split(".")[-1 if settings.walkers == 1 or "walker-" in one.name else -2]
        if one.frames:
            files["frames"] += count * _frame_bytes(plan)
        else:
            files[kind] = files.get(kind, 0.0) + count * BYTES_PER_ROW[kind]
    on_cpu = plan.model.stamp.device == "cpu"
    return Estimate(
        atoms=len(plan.atoms),
        steps=settings.steps,
        memory_GB=settings.walkers * _memory(plan) / 1e9 if on_cpu else None,
        files_GB={name: settings.walkers * size / 1e9 for name, size in files.items()},
        frames=settings.steps // settings.dump_every_steps,
    )


@dataclass(frozen=True)
class Room:
    """What there is where a run is to run; None for what is not known.

    Attributes:
        cores: number of cores.
        memory_GB: memory.
        of: which memory that is.
        gpus: number of GPUs.
    """

    cores: int | None = None
    memory_GB: float | None = None
    of: str = "are free"
    gpus: int | None = None

    @classmethod
    def here(cls, cores: int | None, gpus: int | None = None) -> "Room":
        """So many cores and GPUs of this machine, and its memory."""
        return cls(cores, memory.free(), gpus=gpus)


def check(plan: Plan, needed: Estimate, folder: Path, room: Room) -> None:
    """Raise InputError if a run cannot be done as asked.

    Args:
        plan: the run.
        needed: from `estimate`.
        folder: of the run; it need not exist.
        room: where it is to run.
    """
    _check_places(plan, room)
    _check_cut(plan)
    if needed.memory_GB is not None:
        memory.check(plan.settings, needed.atoms, needed.memory_GB, room.memory_GB, room.of)
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free / 1e9
    files = sum(needed.files_GB.values())
    if files > free:
        raise InputError(
            f"{existing}: the run would write {_size(files)}, and {_size(free)} are free; increase "
            "dump_every_steps, or choose another --dir"
        )


def check_plumed(plan: Plan, engines: Engines) -> None:
    """Raise InputError without a PLUMED that several walkers can use.

    In a launch of several LAMMPS partitions, PLUMED with MPI adds their numbers to the names of the
    files that it writes, but not to those of METAD's shared hills.
    """
    if plan.settings.plumed is None:
        return
    if engines.plumed is None:
        raise EngineMissing(f"PLUMED: not found, but plumed: needs it; {HOW_TO_GET_PLUMED}")
    if plan.settings.walkers > 1 and engines.plumed.has_mpi:
        raise InputError(
            f"walkers: {plan.settings.walkers}, but {engines.plumed.kernel} was built with MPI; "
            "several walkers need a PLUMED without MPI: set engines.plumed_kernel (pip install "
            "--no-deps hillclimber has one), or use walkers: 1"
        )


def best_grid(widths: np.ndarray, ranks: int) -> tuple[int, int, int]:
    """How LAMMPS divides a cell: the grid of ranks with the smallest surface.

    Args:
        widths: (3,) widths of the cell between opposite faces, Å.
        ranks: number of ranks.
    """
    factors = [n for n in range(1, ranks + 1) if ranks % n == 0]
    grids = [
        (x, y, ranks // (x * y))
        for x, y in itertools.product(factors, factors)
        if ranks % (x * y) == 0
    ]

    def surface(grid: tuple[int, int, int]) -> float:
        a, b, c = widths / np.array(grid)
        return float(a * b + b * c + c * a)

    return min(grids, key=surface)


def _check_places(plan: Plan, room: Room) -> None:
    """Raise InputError if the ranks are more than the cores, or those of a walker than the GPUs."""
    walkers, ranks = plan.settings.walkers, plan.settings.ranks
    cores, gpus = room.cores, room.gpus
    if ranks == 1:
        return
    if plan.model.stamp.device == "cuda" and gpus is not None and ranks > gpus:
        raise InputError(
            f"ranks: {ranks} ranks of a walker, each of which needs a GPU of its own, but there "
            f"are {gpus}; use at most {max(1, gpus)}"
        )
    if cores is not None and walkers * ranks > cores:
        raise InputError(
            f"ranks: {walkers} × {ranks} ranks on {cores} cores would wait for each other; use "
            + (f"at most {cores // walkers}" if walkers <= cores else "ranks: 1, or fewer walkers")
        )


def _check_cut(plan: Plan) -> None:
    """Raise InputError if a rank's part would be thinner than the model's cutoff."""
    cell = plan.atoms.cell.array
    widths = abs(np.linalg.det(cell)) / np.linalg.norm(
        [np.cross(cell[1], cell[2]), np.cross(cell[2], cell[0]), np.cross(cell[0], cell[1])], axis=1
    )
    ranks, cutoff = plan.settings.ranks, plan.model.stamp.r_max_A

    def fits(count: int) -> bool:
        grid = np.array(best_grid(widths, count))
        return bool(((grid == 1) | (widths / grid >= cutoff)).all())

    if not fits(ranks):
        most = next(count for count in range(ranks, 0, -1) if fits(count))
        grid = best_grid(widths, ranks)
        shown = " × ".join(str(n) for n in grid)
        raise InputError(
            f"ranks: {ranks} would cut the cell into {shown} parts, thinner than the model's "
            f"cutoff of {cutoff:g} Å; use at most {most}, or a larger supercell"
        )


def _memory(plan: Plan) -> float:
    """Memory of a walker, bytes."""
    copies = len(plan.atoms) // len(plan.cell)
    channels, ranks = plan.model.channels, plan.settings.ranks
    return memory.of_walker(plan.cell, copies, plan.model.stamp, channels=channels, ranks=ranks)


def _frame_bytes(plan: Plan) -> float:
    """Size of a frame of the dump, bytes."""
    symbols = plan.atoms.get_chemical_symbols()
    lines = (
        len(f"{n} 1 {symbol} {' '.join(f'{x:.10g}' for x in position)} -1 -1 -1 \n")
        for n, (symbol, position) in enumerate(zip(symbols, plan.atoms.positions, strict=True))
    )
    return 300.0 + sum(lines)


def _size(size_GB: float) -> str:
    """A size as text."""
    if size_GB >= 1.0:
        return f"{size_GB:.1f} GB"
    return f"{size_GB * 1e3:.1f} MB" if size_GB >= 1e-3 else f"{size_GB * 1e6:.0f} kB"
