"""CP2K itself: labels equal what it prints, and are derivatives of its energy."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units

from helpers.water import INPUT, water, write_input
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import EngineFailed, NotConverged
from phasewalk.jobs import Finished, Job, run, submit
from phasewalk.reference import programs, requests
from phasewalk.reference.programs import Reference
from phasewalk.reference.requests import Result, Try
from phasewalk.reference.settings import ReferenceSettings

pytestmark = [pytest.mark.engine("cp2k"), pytest.mark.slow]
DISPLACEMENT_A, STRAIN = 0.004, 0.004


def cp2k(folder: Path, text: str = INPUT, **settings: Any) -> Reference:
    own = {"input": write_input(folder, text), **settings.pop("cp2k", {})}
    given = ReferenceSettings.model_validate({"cp2k": own, **settings})
    return programs.load(given, folder, {})


def ended(folder: Path, reference: Reference, attempt: Try | None = None) -> Finished:
    job = requests.job(
        "label x", water(), reference=reference, directory=folder / "x", attempt=attempt or Try()
    )
    return run(LocalLauncher(2), job)


def computed(folder: Path, reference: Reference, frames: Sequence[Atoms]) -> list[Result]:
    jobs = [
        requests.job(f"{n}", atoms, reference=reference, directory=folder / f"{n}", attempt=Try())
        for n, atoms in enumerate(frames)
    ]
    found = {e.job.name: e for e in submit(LocalLauncher(2), jobs) if isinstance(e, Finished)}
    return [
        requests.read(found[job.name], atoms, reference=reference)
        for job, atoms in zip(jobs, frames, strict=True)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a 'path' of mine")


@pytest.fixture(scope="module")
def results(place: Path) -> list[Result]:
    """The frame, then pairs: atoms moved along a direction, and the cell strained."""
    frames = [water()]
    for sign in (1, -1):
        moved = water()
        moved.positions += sign * DISPLACEMENT_A * DIRECTION
        frames.append(moved)
    for sign in (1, -1):
        strained = water()
        strained.set_cell(
            water().cell.array @ (np.eye(3) + sign * STRAIN * DEFORMATION), scale_atoms=True
        )
        frames.append(strained)
    return computed(place, cp2k(place), frames)


DIRECTION = np.random.default_rng(0).normal(size=(6, 3))
DEFORMATION = np.array([[0.3, 0.4, 0.8], [0.4, -0.2, 0.5], [0.8, 0.5, -0.9]])


def test_a_label_is_what_cp2k_prints(results: list[Result], place: Path) -> None:
    text = (place / "0" / Finished.STDOUT).read_text()
    energy = re.findall(r"ENERGY\| Total FORCE_EVAL .*?(-\d+\.\d+)$", text, re.M)
    assert results[0].energy == float(energy[-1]) * units.Hartree
    rows = re.findall(r"^ +\d+ +\d+ +[OH] +(-?\d+\.\d{14}) +(\S+) +(\S+)$", text, re.M)
    forces = np.array(rows, dtype=float) * units.Hartree / units.Bohr
    assert np.abs(results[0].forces - forces).max() < 1e-12
    rows = re.findall(r"^ STRESS\| +[xyz] +(-?\d\.\d+E\S+) +(\S+) +(\S+)$", text, re.M)
    tensor = -np.array(rows[:3], dtype=float) * units.GPa
    voigt = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    assert np.abs(results[0].stress - voigt).max() < 1e-12


def test_forces_and_stress_are_derivatives_of_the_energy(results: list[Result]) -> None:
    first, plus, minus, up, down = results
    slope = (plus.energy - minus.energy) / (2 * DISPLACEMENT_A)
    assert slope == pytest.approx(-(first.forces * DIRECTION).sum(), rel=0.02, abs=0.01)
    xx, yy, zz, yz, xz, xy = first.stress
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    work = water().get_volume() * (tensor * DEFORMATION).sum()
    assert (up.energy - down.energy) / (2 * STRAIN) == pytest.approx(work, rel=0.02)
    assert abs(work) > 0.5


def test_a_wave_function_saves_steps(results: list[Result], place: Path) -> None:
    guess = place / "0" / requests.WAVE_FUNCTIONS[0]
    reference = cp2k(place)
    finished = ended(place / "guess", reference, Try(guess=guess))
    found = requests.read(finished, water(), reference=reference)
    assert found.notes["scf_steps"] < results[0].notes["scf_steps"]
    assert found.energy == pytest.approx(results[0].energy, abs=1e-5)


def test_the_spins_of_isolated_atoms(place: Path) -> None:
    """A hydrogen atom has 13.6 eV; triplet oxygen lies below the singlet."""
    reference = cp2k(place, atom_box_A=7.0)

    def energy(symbol: str) -> float:
        job = requests.atom_job(
            symbol, symbol, reference=reference, directory=place / f"atom-{symbol}"
        )
        return requests.read_atom(run(LocalLauncher(1), job), reference)

    assert energy("H") == pytest.approx(-13.6, abs=1.2)
    assert -435 < energy("O") < -425


def test_the_version_is_asked_for(tmp_path: Path) -> None:
    reference = cp2k(tmp_path)
    job = requests.version_job(reference, tmp_path / "version")
    assert isinstance(job, Job)
    found = requests.with_version(reference, run(LocalLauncher(1), job))
    assert re.fullmatch(r"CP2K \d+\.\d+.*", found.method.version)


def test_what_does_not_converge(tmp_path: Path) -> None:
    text = INPUT.replace("MAX_SCF 20", "MAX_SCF 2").replace("MAX_SCF 10", "MAX_SCF 1")
    reference = cp2k(tmp_path, text)
    with pytest.raises(NotConverged, match="the SCF did not converge"):
        requests.read(ended(tmp_path, reference), water(), reference=reference)


def test_a_basis_set_that_is_not_there(tmp_path: Path) -> None:
    reference = cp2k(tmp_path, INPUT.replace("DZVP-MOLOPT-SR-GTH", "NONE-SUCH"))
    with pytest.raises(EngineFailed, match=r"CP2K aborted: .*basis set <NONE-SUCH>"):
        requests.read(ended(tmp_path, reference), water(), reference=reference)


def test_a_time_limit_stops_all_of_it(tmp_path: Path) -> None:
    reference = cp2k(tmp_path, timeout_s=1.0)
    with pytest.raises(EngineFailed, match="was stopped at its time limit of 1 s"):
        requests.read(ended(tmp_path, reference), water(), reference=reference)


def test_a_program_that_dies(tmp_path: Path) -> None:
    script = tmp_path / "dies"
    script.write_text("#!/bin/sh\necho starting\nkill -SEGV $$\n")
    script.chmod(0o755)
    reference = cp2k(tmp_path, cp2k={"command": [str(script)]})
    with pytest.raises(EngineFailed, match=r"ended with code \d+ \(SIGSEGV\): starting"):
        requests.read(ended(tmp_path, reference), water(), reference=reference)


def test_a_basis_file_beside_the_input_comes_first(tmp_path: Path) -> None:
    (tmp_path / "BASIS_MOLOPT").write_text("# empty\n")
    reference = cp2k(tmp_path)
    assert reference.staged["BASIS_MOLOPT"] == tmp_path / "BASIS_MOLOPT"
    with pytest.raises(EngineFailed, match="was not found"):
        requests.read(ended(tmp_path, reference), water(), reference=reference)
