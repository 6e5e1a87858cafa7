"""Ten steps of a campaign's own decks: what a run would stop on is found before it is paid for."""

import os
from pathlib import Path

import numpy as np
import pytest

from helpers.fakes import SALT, write_campaign
from phasewalk.campaign import inputs
from phasewalk.checks import rehearsal, untrained
from phasewalk.engines.discovery import Engines
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import InputError
from phasewalk.structures.structure import bare

pytestmark = [pytest.mark.engine("lammps", "plumed", "plugin", "nequip"), pytest.mark.slow]

UNITS = "UNITS LENGTH=A ENERGY=kj/mol TIME=fs"
START_A3 = 5.64**3
FAULTS = {
    # PLUMED meets the value that lies outside of the grid at the first hill alone.
    f"v: VOLUME\nMETAD ARG=v SIGMA=2 HEIGHT=1 PACE=20 GRID_MIN=100 GRID_MAX={START_A3 - 20:.0f}": (
        "salt-0: PLUMED: Looking for a value outside the grid"
    ),
    # The first steps are fine; the force on the cell is too large in the fifth.
    "v: VOLUME\nMOVINGRESTRAINT ARG=v STEP0=0 AT0=179 KAPPA0=1 STEP1=5 AT1=1e7 KAPPA1=1e5": (
        "ERROR: "
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Path:
    """What `check` makes for its parity."""
    folder = tmp_path_factory.mktemp("rehearsal")
    atoms = rehearsal.displaced(inputs.load(write_campaign(folder), os.environ).structures["salt"])
    made = untrained.network(["Cl", "Na"], dtype="float32", cutoff_A=4.0)
    model, said = untrained.deployed(
        bare(atoms), made, engines=engines, launcher=LocalLauncher(1), place=folder / "model"
    )
    forces = said["frames"][0]["forces_eV_per_A"]
    assert np.sqrt(np.mean(np.square(forces))) == pytest.approx(0.3, rel=0.01)  # and not zeros
    proof = untrained.proof(bare(atoms), model, said, engines=engines, launcher=LocalLauncher(1))
    assert proof.passed
    assert len(proof.checks) > 8
    return model


def rehearse(folder: Path, text: str, engines: Engines, model: Path) -> str:
    lines = "".join(f"      {line}\n" for line in (UNITS, *text.splitlines()))
    campaign = inputs.load(write_campaign(folder, SALT.partition("      vol")[0] + lines))
    place = folder / "ten"
    launcher = LocalLauncher(2)
    return rehearsal.rehearse(
        campaign, engines=engines, launcher=launcher, model=model, directory=place
    )


def test_what_a_run_would_do_is_done(tmp_path: Path, engines: Engines, model: Path) -> None:
    """A hill of each action falls within the ten steps, however rarely it is laid."""
    text = (
        "v: VOLUME\nd: DISTANCE ATOMS=1,2\nm: METAD ARG=v SIGMA=2 HEIGHT=1 PACE=20\n"
        "n: METAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=30\nPRINT ARG=d,v STRIDE=5"
    )
    told = rehearse(tmp_path, text, engines, model)
    assert told.startswith(
        "2 walker(s), at most 2 of each system, did 10 steps together; 4 hills deposited; "
        "printed: d, v; "
    )
    assert (tmp_path / "ten/salt-1.dump").is_file()


@pytest.mark.parametrize("text", FAULTS)
def test_what_ends_a_run_is_named(tmp_path: Path, engines: Engines, model: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        rehearse(tmp_path, text, engines, model)
    assert FAULTS[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)
