"""What a production run needs, before it starts: ranks, GPUs, files."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engines import HOW_TO_GET_PLUMED, Engines
from ..errors import EngineMissing, InputError
from .deck import series
from .plan import Plan
from .room import Room

BYTES_PER_ROW = {"thermo": 160, "log": 130, "colvar": 60, "hills": 110, "kernels": 80}
RESTART_BYTES_PER_ATOM = 100
"""Of one restart file, of which there are up to four."""
RESERVE_GB = 1e-3
"""Disk space that is left free, besides that of two restart files and frames of each walker."""


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
        kinds = ", ".join(f"{name} {size(amount)}" for name, amount in self.files_GB.items())
        yield f"files at the end: {size(sum(self.files_GB.values()))} ({kinds})"


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
    rows = settings.steps // settings.thermo_every_steps + 1
    files["log"] = float(rows * BYTES_PER_ROW["log"])
    return Estimate(
        atoms=len(plan.atoms),
        steps=settings.steps,
        memory_GB=plan.memory_GB,
        files_GB={name: settings.walkers * amount / 1e9 for name, amount in files.items()},
        frames=settings.steps // settings.dump_every_steps,
    )


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
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = free_GB(existing)
    there = sum(
        (folder / one.name).stat().st_size / 1e9
        for walker in plan.walkers
        for one in series(plan, walker)
        if (folder / one.name).exists()
    )
    files = max(0.0, sum(needed.files_GB.values()) - there) + reserve_GB(plan)
    if files > free:
        raise InputError(
            f"{existing}: the run would write {size(files)}, and {size(free)} are free; increase "
            "dump_every_steps, or choose another --dir"
        )


def free_GB(folder: Path) -> float:
    """Disk space that is free where a folder is, GB; it may be more than a quota allows."""
    return shutil.disk_usage(folder).free / 1e9


def reserve_GB(plan: Plan) -> float:
    """Disk space that must be free while a run goes on, so that it can be stopped, GB."""
    each = RESTART_BYTES_PER_ATOM * len(plan.atoms) + _frame_bytes(plan)
    return RESERVE_GB + 2.0 * plan.settings.walkers * each / 1e9


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
    widths = 1.0 / np.linalg.norm(plan.atoms.cell.reciprocal(), axis=1)
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


def _frame_bytes(plan: Plan) -> float:
    """Size of a frame of the dump, bytes."""
    symbols = plan.atoms.get_chemical_symbols()
    moved = plan.atoms.positions + 1.0 / 7.0  # those of the start may have few digits
    lines = (
        len(f"{n} 1 {symbol} {' '.join(f'{x:.10g}' for x in position)} -1 -1 -1 \n")
        for n, (symbol, position) in enumerate(zip(symbols, moved, strict=True))
    )
    return 300.0 + sum(lines)


def size(amount_GB: float) -> str:
    """A size as text."""
    if amount_GB >= 1.0:
        return f"{amount_GB:.1f} GB"
    return f"{amount_GB * 1e3:.1f} MB" if amount_GB >= 1e-3 else f"{amount_GB * 1e6:.0f} kB"
