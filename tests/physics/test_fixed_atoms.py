"""Fixed atoms stay where they are, and the others have the temperature that was asked for."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from phasewalk.engines import discovery, plugin
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Job, run
from phasewalk.structures import carried
from phasewalk.walkers import decks, outcomes, partitions
from phasewalk.walkers.segment import SegmentPlan, SegmentSettings, SystemSettings, Walker

ARGON = carried.carry(
    decks.lammps_frame(bulk("Ar", "fcc", a=5.4) * (2, 2, 2)),
    {carried.FIXED: np.arange(8) % 2 == 0},
)
ASKED_K, FREEDOM, STEPS = 60.0, 12, 30_000


def with_argon(job: Job) -> Job:
    """A Lennard-Jones potential in place of the model."""
    changed: dict[str, bytes] = {}
    for name, content in job.inputs.items():
        text = content.decode().replace("pair_style nequip", "pair_style lj/cut 6.0")
        changed[name] = text.replace("model.nequip.pth Ar", "0.0103 3.4").encode()
    return replace(job, inputs=changed)


def plan(folder: Path, thermostat: str) -> SegmentPlan:
    model = folder / "any.nequip.pth"
    model.touch()
    system: Mapping[str, object] = {
        "structure": "a.xyz",
        "ensemble": "nvt",
        "temperature_K": ASKED_K,
        "thermostat": thermostat,
    }
    return SegmentPlan(
        round=1,
        generation=0,
        walkers=(Walker("ar-0", "ar", 0, ARGON, 0),),
        systems={"ar": SystemSettings.model_validate(system)},
        settings=SegmentSettings(
            steps=STEPS,
            timestep_fs=4,
            dump_every_steps=10_000,
            thermo_every_steps=10,
        ),
        histories={},
        model=model,
        type_names=("Ar",),
        seed=7,
    )


@pytest.mark.engine("lammps")
@pytest.mark.slow
@pytest.mark.parametrize("thermostat", ["langevin", "csvr", "nose-hoover"])
def test_the_others_have_the_right_temperature(tmp_path: Path, thermostat: str) -> None:
    """Four of eight atoms are fixed: 12 velocities are free, in the next segment too."""
    found = discovery.find(discovery.EngineSettings(), os.environ)
    found = discovery.with_plugin(found, plugin.cached(found, os.environ) or Path())
    made = plan(tmp_path, thermostat)
    for number in (1, 2):
        job = with_argon(partitions.job(made, engines=found, directory=tmp_path / str(number)))
        (walker,) = outcomes.read(run(LocalLauncher(), job), made).walkers
        assert walker.halted is None
        last = walker.frames[-1].atoms
        apart = np.abs(last.positions - ARGON.positions).max(axis=1)
        assert apart[::2].max() < 1e-12
        assert apart[1::2].min() > 0.01
        assert not last.get_velocities()[::2].any()
        temperature = walker.thermo["Temp"][200:]
        assert temperature.mean() == pytest.approx(ASKED_K, abs=3.0)
        spread = ASKED_K * np.sqrt(2.0 / FREEDOM)  # of a canonical kinetic energy
        assert temperature.std() == pytest.approx(spread, rel=0.1)
        assert carried.fixed(last).tolist() == [True, False] * 4
        again = Walker("ar-0", "ar", 0, partitions.reduce_cell(last), walker.last_step)
        made = replace(made, round=2, walkers=(again,))
