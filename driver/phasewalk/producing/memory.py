"""The memory of a production run, and that for making its cell."""

from pathlib import Path

from ase import Atoms

from ..errors import InputError
from ..models import Deployed
from .settings import ProductionSettings

BYTES_PER_EDGE = {"torchscript": 220, "aotinductor": 80}
"""Memory for each pair of neighbours (both directions counted) and channel of the network, by mode;
measured with MIL-53(Al), presets small and paper, 38 to 2,432 atoms, also for several ranks."""
BYTES_PER_RANK = {"torchscript": 350e6, "aotinductor": 150e6}
"""Memory of one rank without atoms: libraries and model."""
BYTES_PER_ATOM = 1000
"""Memory of this process while it makes the cell and writes it."""


def of_walker(cell: Atoms, copies: int, stamp: Deployed, *, channels: int, ranks: int) -> float:
    """Memory of a walker on processors, bytes.

    Args:
        cell: the structure before it is repeated.
        copies: number of cells.
        stamp: of the model.
        channels: see `plan.Model`.
        ranks: MPI ranks of the walker.
    """
    from ase.neighborlist import neighbor_list

    edges = len(neighbor_list("i", cell, stamp.r_max_A)) * copies
    atoms, alone = BYTES_PER_EDGE[stamp.mode], BYTES_PER_RANK[stamp.mode]
    return edges * channels * atoms + ranks * alone


def check(
    settings: ProductionSettings,
    atoms: int,
    needed_GB: float | None,
    free_GB: float | None,
    of: str = "are free",
) -> None:
    """Raise InputError if a run needs more memory than there is.

    Args:
        settings: of the production file.
        atoms: number of atoms of a walker.
        needed_GB: of all walkers; None: of this process, which makes the whole cell.
        free_GB: memory where that is; None if it is not known.
        of: which memory that is.
    """
    needed = atoms * BYTES_PER_ATOM / 1e9 if needed_GB is None else needed_GB
    if free_GB is not None and needed > free_GB:
        walkers, ranks = settings.walkers, settings.ranks
        fewer = ", or fewer walkers or ranks" if needed_GB and walkers * ranks > 1 else ""
        raise InputError(
            f"supercell: {atoms} atoms need about {needed:.3g} GB of memory (walkers: "
            f"{walkers}, ranks: {ranks}), and {free_GB:.1f} {of}; use a smaller one{fewer}"
        )


def free() -> float | None:
    """Memory of this machine that can be used, GB; None if it does not say so."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) / 1e6 if found else None
