"""False alarms of the bond guard: walkers of an intact crystal, as a campaign would walk them.

    python tests/bench/false_alarms.py STRUCTURE MODEL.nequip.pth --ps 50 --temperature 300

The deck is that of a campaign without bias (npt, Langevin, 0.5 fs) in pieces of 5 ps, each from
where the last one stood. For each stop of the sentinel a line is printed, and at the end how far
bonds were stretched in the frames (× their lengths in the structure) and how close other pairs
came (× their limits). With --off the same is walked without the guard, to compare times.
"""

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from phasewalk import engines
from phasewalk.engines import EngineSettings, plugin
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import run
from phasewalk.structures import Guard, bonds, read_structure, species
from phasewalk.walkers import (
    SegmentPlan,
    SegmentSettings,
    SystemSettings,
    Walker,
    job,
    lammps_frame,
    outcomes,
    reduce_cell,
)

PIECE_PS, STEP_FS = 5.0, 0.5


def main() -> None:
    """Walk, and say what was seen."""
    asked = arguments()
    atoms = reduce_cell(lammps_frame(read_structure(asked.structure)))
    chosen = SegmentSettings()
    guard = bonds.guard(
        atoms, break_ratio=chosen.max_bond_stretch, form_ratio=chosen.new_bond_fraction
    )
    launcher = LocalLauncher(1)
    programs = engines.find(EngineSettings(), os.environ)
    programs = plugin.ensure(programs, launcher, os.environ)
    plan = planned(asked, atoms, {} if asked.off else {"x": guard})
    longest, nearest, seconds, walked = 0.0, np.inf, 0.0, 0.0
    for number in range(1, max(1, round(asked.ps / PIECE_PS)) + 1):
        folder = asked.directory / f"{asked.temperature:g}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        finished = run(launcher, job(plan, engines=programs, directory=folder))
        (result,) = outcomes.read(finished, plan).walkers
        seconds += result.seconds or 0.0
        walked += result.steps_done * STEP_FS / 1000.0
        last = result.frames[-1]
        for frame in result.frames:
            stretch, near = extremes(guard, frame.atoms)
            longest, nearest = max(longest, stretch), min(nearest, near)
        if result.halted:
            print(f"STOP after {walked:.2f} ps: {result.halted}; {guard.fault(last.atoms)}")
            break
        walker = replace(plan.walkers[0], atoms=last.atoms, step=last.step)
        plan = replace(plan, round=number + 1, walkers=(walker,))
    print(
        f"{asked.structure.stem} at {asked.temperature:g} K, {time.strftime('%H:%M')}: "
        f"{walked:.1f} ps, {seconds * STEP_FS / walked:.2f} ms/step; largest stretch "
        f"{longest:.3f} × (limit {guard.break_ratio:g}), closest other pair {nearest:.2f} × its "
        f"limit; volume {last.atoms.get_volume():.0f} Å³"
    )


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ps", type=float, default=50.0)
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--pressure", type=float, default=0.0, help="MPa")
    parser.add_argument("--directory", type=Path, default=Path("false-alarms"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--off", action="store_true")
    return parser.parse_args()


def planned(asked: argparse.Namespace, atoms: Atoms, guards: dict[str, Guard]) -> SegmentPlan:
    """One walker from the structure."""
    system = {
        "structure": str(asked.structure),
        "ensemble": "npt",
        "temperature_K": asked.temperature,
        "pressure_MPa": asked.pressure,
    }
    settings = {"steps": round(PIECE_PS * 1000 / STEP_FS), "timestep_fs": STEP_FS}
    return SegmentPlan(
        round=1,
        generation=0,
        walkers=(Walker("x-0", "x", 0, atoms, 0),),
        systems={"x": SystemSettings.model_validate(system)},
        settings=SegmentSettings.model_validate(settings),
        histories={},
        model=asked.model.absolute(),
        type_names=species([atoms]),
        seed=asked.seed,
        device="cpu",
        guards=guards,
    )


def extremes(guard: Guard, atoms: Atoms) -> tuple[float, float]:
    """The largest stretch of a bond, and the closest other pair over its limit (up to 1.5)."""
    placed = guard.place(atoms)
    own = [one.vector for one in placed]
    stretch = max((one.length / one.bond.length for one in placed), default=0.0)
    wide = {pair: 1.5 * limit for pair, limit in guard.near.items()}
    near = 1.5
    for i, j, vector in zip(*neighbor_list("ijD", atoms, wide), strict=True):
        if (i, j) in guard.loose or (j, i) in guard.loose:
            continue
        length = float(np.linalg.norm(vector))
        if not any(min(np.linalg.norm(vector - v), np.linalg.norm(vector + v)) < 1e-6 for v in own):
            pair = tuple(sorted((guard.symbols[i], guard.symbols[j])))
            near = min(near, length / guard.near[pair[0], pair[1]])
    return stretch, near


if __name__ == "__main__":
    sys.exit(main())
