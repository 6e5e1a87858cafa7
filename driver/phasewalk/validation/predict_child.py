"""Child process that evaluates a deployed model in LAMMPS, through LAMMPS's Python module.

`python -m phasewalk.validation.predict_child REQUEST RESULT` uses the same pair style, neighbour
lists and units as the walkers.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..engines import Library
from ..labels import frame_from_json
from ..units import FS_PER_PS, stress_from_lammps_pressure
from . import conservation

TIMINGS = 6
NVE_TEMPERATURE_K = 300.0
PRESSURES = ("pxx", "pyy", "pzz", "pxy", "pxz", "pyz")


class Model:
    """A deployed model in a LAMMPS instance, which evaluates one periodic frame at a time."""

    def __init__(
        self,
        model: Path,
        species: list[str],
        log: Path | None = None,
        device: str | None = None,
        *,
        partitions: Sequence[str] = (),
    ) -> None:
        """Start LAMMPS, load the plugin's pair style and the model.

        Args:
            model: `.nequip.pth` or `.nequip.pt2`.
            species: all element symbols of the frames; LAMMPS type i + 1 is species[i].
            log: LAMMPS's log file.
            device: of the model, cpu or cuda; None: on a GPU if there is one.
            partitions: of the MPI ranks, each of which evaluates the frames.
        """
        style = "nequip" if device is None else f"nequip device {device}"
        self.library = Library(species, pair_style=style, log=log, partitions=partitions)
        self.lmp = self.library.lmp
        self.lmp.command(f'pair_coeff * * "{model}" {" ".join(species)}')
        self.lmp.commands_list(
            [
                "compute peratom all pe/atom",
                f"thermo_style custom step temp pe etotal {' '.join(PRESSURES)}",
                "thermo_modify norm no",
            ]
        )

    def evaluate(self, atoms: Atoms) -> dict[str, Any]:
        """Energy (eV), per-atom energies, forces (N, 3; eV/Å), stress (Voigt; eV/Å³)."""
        prism = self.library.place(atoms)
        self.lmp.command("run 0")
        forces = np.array(self.lmp.gather("f", 1, 3)).reshape(-1, 3)
        peratom = np.array(self.lmp.gather("c_peratom", 1, 1))
        pressure = np.array([self.lmp.get_thermo(name) for name in PRESSURES])
        return {
            "energy_eV": float(self.lmp.get_thermo("pe")),
            "energies_eV": peratom.tolist(),
            "forces_eV_per_A": prism.vector_to_ase(forces).tolist(),
            "stress_eV_per_A3": _rotated(stress_from_lammps_pressure(pressure), prism).tolist(),
        }

    def nve(
        self, atoms: Atoms, timestep_fs: float, *, length_fs: float, every_fs: float
    ) -> list[float]:
        """Total energy (eV) along an NVE run from this frame, every `every_fs`."""
        self.evaluate(atoms)
        self.lmp.commands_list(
            [
                f"velocity all create {NVE_TEMPERATURE_K} 1 mom yes rot no dist gaussian",
                f"timestep {timestep_fs / FS_PER_PS!r}",
                "fix nve all nve",
                "run 0",
            ]
        )
        energies = [float(self.lmp.get_thermo("etotal"))]
        for _ in range(round(length_fs / every_fs)):
            self.lmp.command(f"run {round(every_fs / timestep_fs)} post no")
            energies.append(float(self.lmp.get_thermo("etotal")))
        self.lmp.command("unfix nve")
        return energies

    def seconds_per_step(self) -> float:
        """Wall time of one evaluation of the last frame, s: the shortest of several."""
        times = []
        for _ in range(TIMINGS):
            started = time.perf_counter()
            self.lmp.command("run 1 pre no post no")
            times.append(time.perf_counter() - started)
        return min(times)


def _rotated(stress: NDArray[np.float64], prism: Any) -> NDArray[np.float64]:
    """Voigt stress, rotated from LAMMPS's axes to those of the frame."""
    xx, yy, zz, yz, xz, xy = stress
    tensor = prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    return np.array(
        [tensor[0, 0], tensor[1, 1], tensor[2, 2], tensor[1, 2], tensor[0, 2], tensor[0, 1]]
    )


def _runs(model: Model, atoms: Atoms, steps_fs: Sequence[float]) -> dict[str, list[float]]:
    """Total energies of NVE runs by time step, until they show whether energy is conserved."""
    runs: dict[float, list[float]] = {}
    if len(atoms) == 1:
        return {}  # it cannot move
    for timestep_fs in steps_fs:
        runs[timestep_fs] = _nve(model, atoms, timestep_fs)
        analysis = conservation.analyse(runs, len(atoms))
        if analysis is not None and analysis.conserved:
            break
    return {repr(timestep_fs): energies for timestep_fs, energies in runs.items()}


def _nve(model: Model, atoms: Atoms, timestep_fs: float) -> list[float]:
    """Total energies; NaN if the run fails, which is a valid result."""
    try:
        times = {"length_fs": conservation.LENGTH_FS, "every_fs": conservation.EVERY_FS}
        return model.nve(atoms, timestep_fs, **times)
    except Exception:  # LAMMPS raises plain exceptions
        return [float("nan")]


def main(argv: list[str]) -> int:
    """Evaluate the requested frames; returns the exit code."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    frames = [frame_from_json(frame) for frame in request["frames"]]
    species = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    try:
        model = Model(Path(request["model"]), species, Path("log.lammps"), request["device"])
        result = {
            "frames": [model.evaluate(atoms) for atoms in frames],
            "seconds_per_step": model.seconds_per_step(),
            "nve": _runs(model, frames[0], request["nve_fs"]),
        }
    except Exception as error:  # the user needs LAMMPS's error line
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    Path(argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
