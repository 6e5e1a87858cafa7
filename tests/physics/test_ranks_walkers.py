"""Walkers on several MPI ranks: the proof of their model, and a segment that is as on one rank."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase
import numpy as np
import pytest
from physics_training import SPECIES, Recipe, Workshop, frames

from phasewalk.engines.discovery import Engines
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import run
from phasewalk.models import model as models
from phasewalk.models import swap, training_config
from phasewalk.validation import gate, ranks
from phasewalk.walkers import decks, outcomes, partitions
from phasewalk.walkers.segment import (
    SegmentPlan,
    SegmentResult,
    SegmentSettings,
    SystemSettings,
    Walker,
)

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PLUMED = """
UNITS LENGTH=A ENERGY=eV
v: VOLUME
d: DISTANCE ATOMS=1,20
m: METAD ARG=v,d SIGMA=4,0.1 HEIGHT=0.05 PACE=10 FMT=%24.15g
PRINT ARG=v,d,m.bias STRIDE=5 FILE=COLVAR
"""
RECIPE = Recipe(dtype="float64")
STEPS = 40


def for_ranks(workshop: Workshop, trained: Recipe, mode: str, folder: Path) -> bytes:
    """Weights of a training, written into the network's compilation for several ranks."""
    network = workshop.network(trained).with_name(models.NETWORK).read_bytes()
    job = models.deploy_job(
        "compile", None, inputs={models.NETWORK: network}, mode=mode, device="cpu",
        directory=folder, cores=2, for_ranks=True,
    )  # fmt: skip
    stamp = models.read_deployment(run(LocalLauncher(), job))
    assert stamp.for_ranks
    package = (folder / stamp.file).read_bytes()
    arbitrary = swap.read_weights(folder / training_config.WEIGHTS)
    template = swap.find_weights(package, *arbitrary)
    graph, weights = swap.read_weights(workshop.train(trained).weights)
    return swap.swap(package, template, graph, weights)


def proof(model: Path, several: bytes, engines: Engines, folder: Path) -> gate.Check:
    """The comparison of the campaign and of `phasewalk gate --ranks`."""
    cells = [frames(1)[0], frames(2)[1].repeat((2, 1, 1))]
    job = ranks.job(
        "ranks", model, several, ranks=2, frames=cells, directory=folder,
        mpiexec=engines.mpiexec, env=engines.env,
    )  # fmt: skip
    return ranks.read(run(LocalLauncher(), job), ranks=2, dtype=RECIPE.dtype)


@pytest.mark.parametrize("mode", ["torchscript", "aotinductor"])
def test_swapped_weights_are_those_of_one_rank(
    mode: str, workshop: Workshop, engines: Engines, tmp_path: Path
) -> None:
    one = workshop.deploy(RECIPE, mode)
    mine = for_ranks(workshop, RECIPE, mode, tmp_path / "mine")
    assert proof(one, mine, engines, tmp_path / "proof").ok


def test_the_model_of_another_generation_is_found(
    workshop: Workshop, engines: Engines, tmp_path: Path
) -> None:
    other = dataclasses.replace(RECIPE, seed=2, apart=2.0)
    theirs = for_ranks(workshop, other, "torchscript", tmp_path / "other")
    check = proof(workshop.deploy(RECIPE), theirs, engines, tmp_path / "proof")
    assert not check.ok
    assert check.value > 1000


def salt() -> ase.Atoms:
    return decks.lammps_frame(frames(1)[0].repeat((2, 2, 2)))


def shot() -> ase.Atoms:
    """One atom flies at a neighbour."""
    atoms = salt()
    velocities = np.zeros((len(atoms), 3))
    target = atoms.get_distances(0, range(1, len(atoms)), mic=True).argmin() + 1
    towards = atoms.get_distance(0, target, mic=True, vector=True)
    velocities[0] = towards / np.linalg.norm(towards) * 0.6  # ASE's unit: 0.6 Å in 10 fs
    atoms.set_velocities(velocities)
    return atoms


def plan(model: Path, several: Path, count: int) -> SegmentPlan:
    """A segment of two walkers, with as many ranks each; one of them breaks down."""
    system = SystemSettings(
        structure="salt.extxyz", walkers=2, ensemble="npt", thermostat="csvr",
        temperature_K=300.0, plumed=PLUMED, bias_sharing="merged",
    )  # fmt: skip
    settings = SegmentSettings(
        steps=STEPS, timestep_fs=1.0, dump_every_steps=10, thermo_every_steps=5,
        max_force_eV_per_A=6.0, breakdown_fs=3.0, max_temperature_ratio=50.0,
    )  # fmt: skip
    walkers = (Walker("salt-0", "salt", 0, salt(), 0), Walker("salt-1", "salt", 1, shot(), 0))
    return SegmentPlan(
        round=1, generation=0, walkers=walkers, systems={"salt": system}, settings=settings,
        histories={}, model=model, type_names=SPECIES, seed=7, device="cpu",
        ranks=count, for_ranks=several if count > 1 else None,
    )  # fmt: skip


def walk(made: SegmentPlan, engines: Engines, folder: Path) -> SegmentResult:
    return outcomes.read(
        run(LocalLauncher(), partitions.job(made, engines=engines, directory=folder)), made
    )


def test_a_segment_of_two_walkers(workshop: Workshop, engines: Engines, tmp_path: Path) -> None:
    """Frames, thermo output, variables, hills, and the stop of one walker with its good frame."""
    several = tmp_path / "several.nequip.pth"
    several.write_bytes(for_ranks(workshop, RECIPE, "torchscript", tmp_path / "compile"))
    found = {
        count: walk(
            plan(workshop.deploy(RECIPE), several, count), engines, tmp_path / f"on-{count}"
        )
        for count in (1, 2)
    }
    log = (tmp_path / "on-2/salt-0.log").read_text()
    assert "on 2 procs" in log
    assert found[2].ended is None
    well, sick = found[2].walkers
    assert (well.halted, well.steps_done, len(well.new_hills)) == (None, STEPS, STEPS // 10)
    assert sick.broke
    assert sick.stop is not None
    assert sick.stop.reason == "force"
    assert sick.stop.good_step in [frame.step for frame in sick.frames]
    assert 10 < sick.steps_done < STEPS
    assert len(sick.new_hills) == sick.steps_done // 10
    for one, two in zip(found[1].walkers, found[2].walkers, strict=True):
        assert (one.steps_done, one.halted) == (two.steps_done, two.halted)
        assert [frame.step for frame in one.frames] == [frame.step for frame in two.frames]
        for before, after in zip(one.frames, two.frames, strict=True):
            for values in ("positions", "cell", "velocities"):
                mine, theirs = (
                    np.asarray(getattr(a.atoms, f"get_{values}")()) for a in (after, before)
                )
                np.testing.assert_allclose(mine, theirs, atol=1e-7, err_msg=values)
        for name, column in one.thermo.items():
            np.testing.assert_allclose(two.thermo[name], column, rtol=1e-6, atol=1e-4)
        for mine, theirs in zip(two.new_hills, one.new_hills, strict=True):
            assert mine.step == theirs.step
            numbers = [[float(word) for word in hill.text.split()] for hill in (mine, theirs)]
            np.testing.assert_allclose(*numbers, rtol=1e-6)
