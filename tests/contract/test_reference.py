"""What every reference must do: the real one, and the fake that stands in for it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from helpers import fake_reference
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import NotConverged
from phasewalk.jobs import Finished, Job, run, submit
from phasewalk.reference import programs, requests
from phasewalk.reference.requests import REQUEST, RESULT, Result, Try
from phasewalk.reference.settings import ReferenceSettings, XtbSettings

FAKE = [sys.executable, str(Path(fake_reference.__file__))]
REAL = pytest.param(None, marks=[pytest.mark.engine("tblite"), pytest.mark.slow], id="GFN1-xTB")
DISPLACEMENT_A, STRAIN = 0.002, 0.002
pytestmark = pytest.mark.parametrize("command", [pytest.param(FAKE, id="fake"), REAL])


def frame() -> Atoms:
    """Carbon dioxide, bent and stretched, in a tilted cell."""
    return Atoms(
        "CO2",
        positions=[[0.1, 0.2, 0.3], [1.25, 0.1, 0.2], [-1.0, 0.35, 0.45]],
        cell=[[4.2, 0.0, 0.0], [0.9, 3.6, 0.0], [-0.5, 0.7, 3.9]],
        pbc=True,
    )


def label(
    command: list[str] | None, frames: Sequence[Atoms], folder: Path, iterations: int = 250
) -> list[Result]:
    """Label frames as a campaign does: each in a process of its own."""
    settings = ReferenceSettings(command=command, xtb=XtbSettings(max_iterations=iterations))
    xtb = programs.load(settings, folder, {})
    jobs = [
        requests.job(f"{index}", atoms, reference=xtb, directory=folder / f"{index}", attempt=Try())
        for index, atoms in enumerate(frames)
    ]
    ended = {e.job.name: e for e in submit(LocalLauncher(2), jobs) if isinstance(e, Finished)}
    return [
        requests.read(ended[job.name], atoms, reference=xtb)
        for job, atoms in zip(jobs, frames, strict=True)
    ]


def strained(direction: np.ndarray, size: float) -> Atoms:
    atoms = frame()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + size * direction), scale_atoms=True)
    return atoms


@pytest.mark.slow
def test_numbers_are_derivatives_of_the_energy_and_the_same_each_time(
    command: list[str] | None, tmp_path: Path
) -> None:
    """Forces along a direction in which every component counts; each stress component in turn."""
    direction = np.random.default_rng(1).normal(size=(3, 3))
    frames = [frame(), frame()]
    for sign in (1, -1):
        moved = frame()
        moved.positions += sign * DISPLACEMENT_A * direction
        frames.append(moved)
    voigt = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    for i, j in voigt:
        unit = np.zeros((3, 3))
        unit[i, j] += 0.5
        unit[j, i] += 0.5
        frames += [strained(unit, STRAIN), strained(unit, -STRAIN)]
    first, again, plus, minus, *pairs = label(command, frames, tmp_path)

    assert first.energy == again.energy
    assert (first.forces == again.forces).all()
    assert (first.stress == again.stress).all()

    slope = (plus.energy - minus.energy) / (2 * DISPLACEMENT_A)
    assert slope == pytest.approx(-(first.forces * direction).sum(), rel=5e-3, abs=2e-3)
    assert abs(slope) > 0.1
    assert np.abs(first.forces.sum(axis=0)).max() < 1e-4

    stress = [
        (up.energy - down.energy) / (2 * STRAIN) / frame().get_volume()
        for up, down in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    assert first.stress == pytest.approx(np.array(stress), rel=1e-2, abs=5e-5)
    assert np.abs(first.stress).max() > 5e-3
    assert first.seconds > 0


def test_a_failure_is_one_line_and_no_result(command: list[str] | None, tmp_path: Path) -> None:
    with pytest.raises(NotConverged) as caught:
        label(command, [frame()], tmp_path, iterations=1)
    assert "0 did not converge: " in str(caught.value)
    assert not (tmp_path / "0/result.json").exists()
    assert len((tmp_path / "0/stderr.txt").read_text().splitlines()) == 1


def test_a_request_that_is_none(command: list[str] | None, tmp_path: Path) -> None:
    argv = (*(command or programs.CHILD), REQUEST, RESULT)
    job = Job("x", argv, tmp_path, inputs={REQUEST: json.dumps({"frame": 3}).encode()})
    finished = run(LocalLauncher(1), job)
    assert finished.returncode not in (0, None)
    assert not (tmp_path / RESULT).exists()
