"""Two water molecules in a tilted cell, and PBE-D3 for them that takes CP2K a few seconds."""

from pathlib import Path

from ase import Atoms

from helpers.fakes import ROOT

INPUT = (
    (ROOT / "examples/ice_xi/pbe-d3.inp")
    .read_text()
    .replace("CUTOFF 400", "CUTOFF 240")
    .replace("REL_CUTOFF 50", "REL_CUTOFF 40")
)


def water() -> Atoms:
    """Six atoms."""
    positions = [[1, 1, 1], [1.9, 1.2, 1.1], [0.7, 1.9, 1], [4, 4, 4], [4.8, 4.5, 4.1]]
    cell = [[5.5, 0, 0], [0.3, 5.5, 0], [0, 0.2, 5.5]]
    return Atoms("OHHOHH", positions=[*positions, [3.5, 4.1, 4.85]], cell=cell, pbc=True)


def write_input(folder: Path, text: str = INPUT) -> str:
    """The input file in a folder; its name."""
    (folder / "pbe-d3.inp").write_text(text)
    return "pbe-d3.inp"
