"""Isolated atoms: computed once, kept, and what the model's energies count from."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from helpers.fakes import LEVEL, SALT, FakeLauncher, Watcher, crystal, label, write_campaign
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.jobs import Job
from phasewalk.labelling import isolated_atoms
from phasewalk.models import model
from phasewalk.store import directory

ENERGIES = {"Cl": -100.0, "Na": -5.0}


def open_work(folder: Path, text: str = "", cache: str = "cache") -> Work:
    folder.mkdir(exist_ok=True)
    campaign = inputs.load(write_campaign(folder, SALT + text))
    found = discovery.find(EngineSettings(), {"PHASEWALK_CACHE": str(folder.parent / cache)})
    opened = directory.open_campaign(folder / "run", campaign.identity())
    return Work(campaign, opened, FakeLauncher(play), found, Watcher())


def play(job: Job) -> int:
    asked = json.loads(job.inputs["request.json"])
    symbol = {17: "Cl", 11: "Na"}[asked["frame"]["numbers"][0]]
    assert asked["multiplicity"] == 2
    answer = {"energy_eV": ENERGIES[symbol], "seconds": 0.1, "version": LEVEL.version}
    (job.directory / "result.json").write_text(json.dumps(answer))
    return 0


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    found = open_work(tmp_path / "one")
    with closing(found.store):
        yield found


def started(work: Work) -> int:
    assert isinstance(work.launcher, FakeLauncher)
    return len(work.launcher.jobs)


def test_each_is_computed_once_also_for_other_campaigns(work: Work, tmp_path: Path) -> None:
    isolated_atoms.compute(work)
    isolated_atoms.compute(work)
    assert isolated_atoms.energies(work) == ENERGIES
    assert started(work) == 2
    other = open_work(tmp_path / "two")
    with closing(other.store):
        isolated_atoms.compute(other)
        assert isolated_atoms.energies(other) == ENERGIES
        assert started(other) == 1  # the lightest, to see whether the others are believed
        assert isinstance(other.observer, Watcher)
        assert "Na, recomputed, differs by 0 meV" in other.observer.lines[0]


def test_another_campaign_s_atoms_are_left_where_one_of_them_is_wrong(
    work: Work, tmp_path: Path
) -> None:
    def lie(job: Job) -> int:
        play(job)
        path = job.directory / "result.json"
        answer = json.loads(path.read_text())
        path.write_text(json.dumps({**answer, "energy_eV": answer["energy_eV"] - 1.0}))
        return 0

    assert isinstance(work.launcher, FakeLauncher)
    work.launcher.play = lie
    isolated_atoms.compute(work)
    other = open_work(tmp_path / "two")
    with closing(other.store):
        isolated_atoms.compute(other)
        isolated_atoms.compute(other)
        assert isolated_atoms.energies(other) == ENERGIES
        assert started(other) == 2
        assert isinstance(other.observer, Watcher)
        assert (
            "differs by 1e+03 meV (limit 2 meV): none of them are used" in other.observer.lines[0]
        )


def test_given_energies_are_not_computed(tmp_path: Path) -> None:
    work = open_work(tmp_path / "one", "reference: {atom_energies_eV: {Na: -7.5}}\n")
    with closing(work.store):
        isolated_atoms.compute(work)
        assert isolated_atoms.energies(work) == {"Cl": -100.0, "Na": -7.5}
        assert started(work) == 1


def test_none_where_they_are_not_wanted(tmp_path: Path) -> None:
    work = open_work(tmp_path / "one", "reference: {isolated_atoms: false}\n")
    with closing(work.store):
        isolated_atoms.compute(work)
        assert (isolated_atoms.energies(work), started(work)) == ({}, 0)


def test_one_that_fails_is_said_and_left_out(work: Work) -> None:
    def fail(job: Job) -> int:
        if job.name == "atom Cl":
            (job.directory / "stderr.txt").write_text("RuntimeError: SCF not converged\n")
            return 3
        return play(job)

    assert isinstance(work.launcher, FakeLauncher)
    work.launcher.play = fail
    isolated_atoms.compute(work)
    assert isolated_atoms.energies(work) == {"Na": -5.0}
    assert isinstance(work.observer, Watcher)
    assert "isolated Cl: atom Cl did not converge" in work.observer.lines[0]


COUNTS = np.array([[4.0, 4.0], [8.0, 8.0]])


def test_atoms_and_one_offset_leave_no_mean_residual() -> None:
    energies = np.array([-440.0, -881.0])
    shifts, source = model.energy_shifts(COUNTS, energies, [-100.0, -5.0])
    assert shifts[0] - shifts[1] == pytest.approx(-95.0)
    residuals = (energies - COUNTS @ shifts) / COUNTS.sum(axis=1)
    assert residuals.mean() == pytest.approx(0.0, abs=1e-12)
    assert source == "isolated atoms and -2.531 eV for each atom"


def test_no_composition_is_left_with_a_residual() -> None:
    """Types that stand together alone keep the difference of their atoms."""
    counts = np.array([[4.0, 4.0, 0.0], [4.0, 0.0, 4.0], [4.0, 0.0, 4.0]])
    energies = np.array([-440.0, -480.0, -481.0])
    shifts, source = model.energy_shifts(counts, energies, [-100.0, -5.0, -15.0])
    left = (energies - counts @ shifts) / 8
    assert left[0] == pytest.approx(0.0, abs=1e-9)
    assert left[1:].mean() == pytest.approx(0.0, abs=1e-9)
    assert "to fit the compositions" in source
    assert np.abs(shifts - shifts.mean() - np.array([-60, 35, 25])).max() < 1.0


def test_a_fit_only_where_compositions_determine_it() -> None:
    energies = np.array([-440.0, -881.0])
    shifts, source = model.energy_shifts(COUNTS, energies, [None, -5.0])
    assert shifts[0] == pytest.approx(shifts[1])
    assert "equal energies" in source
    counts = np.array([[4.0, 4.0], [6.0, 2.0]])
    shifts, source = model.energy_shifts(counts, counts @ [-100.0, -5.0], [None, None])
    assert shifts == pytest.approx([-100.0, -5.0])
    assert source.startswith("a least-squares fit")


def test_a_composition_that_hardly_differs_determines_nothing() -> None:
    """One vacancy in 300 atoms: the strain of the frame would be taken for the atom's energy."""
    counts = np.array([[150.0, 150.0], [150.0, 149.0]])
    shifts, source = model.energy_shifts(counts, np.array([-900.0, -880.0]), [None, None])
    assert "equal energies" in source
    assert np.abs(shifts + 3).max() < 0.1


def test_statistics_say_where_they_come_from() -> None:
    found = model.statistics([label(crystal())], ("Cl", "Na"), 4.0, {"Cl": -1.0, "Na": -2.0})
    assert found.shifts_from.startswith("isolated atoms")
