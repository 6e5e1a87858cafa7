"""What a production run needs, before it starts: ranks, memory, files."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .deck import series
from .plan import Plan

BYTES_PER_EDGE = 160
"""Memory for each pair of neighbours (both directions counted) and channel of the network; measured
with TorchScript, MIL-53(Al), presets small and paper, 38 to 684 atoms. AOTInductor needs half."""
BYTES_PER_RANK = 350e6
"""Memory of one rank without atoms: libraries and model; AOTInductor needs 140 MB."""
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
    on_cpu = plan.model.stamp.device == "cpu"
    return Estimate(
        atoms=len(plan.atoms),
        steps=settings.steps,
        memory_GB=settings.walkers * _memory(plan) / 1e9 if on_cpu else None,
        files_GB={name: settings.walkers * amount / 1e9 for name, amount in files.items()},
        frames=settings.steps // settings.dump_every_steps,
    )


def check(plan: Plan, needed: Estimate, folder: Path, cores: int | None) -> None:
    """Raise InputError if a run cannot be done as asked.

    Args:
        plan: the run.
        needed: from `estimate`.
        folder: of the run; it need not exist.
        cores: that can be used; None if that is not known.
    """
    settings = plan.settings
    total = settings.walkers * settings.ranks
    if settings.ranks > 1 and cores is not None and total > cores:
        raise InputError(
            f"ranks: {settings.walkers} × {settings.ranks} ranks on {cores} cores would wait for "
            f"each other; use at most {max(1, cores // settings.walkers)}"
        )
    _check_cut(plan)
    available = _memory_free()
    if needed.memory_GB is not None and available is not None and needed.memory_GB > available:
        raise InputError(
            f"supercell: {needed.atoms} atoms need about {needed.memory_GB:.1f} GB of memory "
            f"({settings.walkers} walkers), and {available:.1f} are free; use a smaller one"
        )
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
    from ase.neighborlist import neighbor_list

    edges = len(neighbor_list("i", plan.cell, plan.model.stamp.r_max_A))
    copies = len(plan.atoms) / len(plan.cell)
    channels = plan.model.channels
    return edges * copies * channels * BYTES_PER_EDGE + plan.settings.ranks * BYTES_PER_RANK


def _memory_free() -> float | None:
    """Memory of this machine that can be used, GB; None if it does not say so."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) / 1e6 if found else None


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
