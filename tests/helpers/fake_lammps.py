"""A LAMMPS that writes what a production run of one walker writes, without dynamics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from phasewalk.jobs import Job
from phasewalk.producing import outputs
from phasewalk.producing.plan import Plan

from .productions import restart

STEPS, DUMPED, RESTARTS, KILLED = 100, 10, 40, 70
STRANGE = (20, 60)
SETTINGS = {
    "campaign": "a/run",
    "structure": "NaCl",
    "supercell": [2, 1, 1],
    "ensemble": "npt",
    "timestep_fs": 0.5,
    "length_ps": STEPS * 0.5 / 1000,
    "thermo_every_steps": DUMPED,
    "dump_every_steps": DUMPED,
    "restart_every_steps": RESTARTS,
    "plumed": "vol: VOLUME\nPRINT ARG=vol STRIDE=10\n",
}


@dataclass
class Lammps:
    """Writes what a run writes, from its restart file on.

    Attributes:
        plan: the run.
        kill: step at which it dies, once.
        stops_after: number of steps after which it has stopped, if it is asked to.
        moved: displacement of atom 3 at some steps, Å.
    """

    plan: Plan
    kill: int | None = None
    stops_after: int = 30
    moved: tuple[float, float, float] = (1.1, 0.6, 0.2)

    def atoms(self, step: int) -> Atoms:
        """Like the labels; at some steps atom 3 is far from its place."""
        atoms: Atoms = self.plan.atoms.copy()
        atoms.positions += 0.01 * np.random.default_rng(step).standard_normal((len(atoms), 3))
        if step in STRANGE:
            atoms.positions[2] += self.moved
        return atoms

    def __call__(self, job: Job) -> int:
        """One start."""
        if self.kill is not None:
            self.dies(job.directory, self.kill)
            self.kill = None
            return 1
        begin, asked = self.begin(job.directory), (job.directory / "production.stop").exists()
        end = min(STEPS, begin + self.stops_after) if asked else STEPS
        self.walk(job.directory, end)
        self.restart(job.directory, "end", end)
        return 0

    def begin(self, folder: Path) -> int:
        """Step at which it goes on."""
        return outputs.restart_step(folder / "walker-0.restart", len(self.plan.atoms)) or 0

    def dies(self, folder: Path, step: int) -> None:
        """It is killed at a step; its last restart file is that before."""
        last = step // RESTARTS * RESTARTS
        self.walk(folder, step)
        if last > self.begin(folder):
            self.restart(folder, "a", last)

    def walk(self, folder: Path, end: int) -> None:
        """Write tables and frames up to a step."""
        for step in range(self.begin(folder), end + 1, DUMPED):
            self.write(folder, step)

    def restart(self, folder: Path, ending: str, step: int) -> None:
        """Write a restart file."""
        restart(folder / f"walker-0.restart.{ending}", step, len(self.plan.atoms))

    def write(self, folder: Path, step: int) -> None:
        """A row of each table, and a frame."""
        atoms, types = self.atoms(step), self.plan.model.stamp.types
        (a, _, _), (b, d, _), (c, e, f) = atoms.cell.array.tolist()
        low, high = (min(0, b, c, b + c), min(0, e), 0), (a + max(0, b, c, b + c), d + max(0, e), f)
        lines = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp"]
        lines += [f"{low[n]} {high[n]} {(b, c, e)[n]}" for n in range(3)]
        lines += ["ITEM: ATOMS id type element x y z ix iy iz"]
        for n, atom in enumerate(atoms, start=1):
            x, y, z = atom.position
            kind = types.index(atom.symbol) + 1
            lines.append(f"{n} {kind} {atom.symbol} {x:.10g} {y:.10g} {z:.10g} 0 0 0")
        texts = {
            "walker-0.dump": "\n".join(lines),
            "walker-0.thermo": f"{step} 300",
            "walker-0.colvar": f"{step * 0.5e-3:.6f} {9.0 if step == 90 else 0.36:.3f}",
        }
        for name, text in texts.items():
            head = "#! FIELDS time vol\n" if name.endswith("colvar") else ""
            with (folder / name).open("a") as stream:
                stream.write(f"{head}{text}\n")
