"""The study of two frameworks by one potential: its campaigns are valid, its table is complete."""

import json
import sys
from itertools import product
from pathlib import Path

import pytest
from ase.io import read
from ruamel.yaml import YAML

from phasewalk.bias import plumed
from phasewalk.campaign import inputs
from phasewalk.structures import bonds

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/study"))

import study
import two_frameworks as two

CELLS = list(product(two.POTENTIALS, two.LABELS))
FUMARATE = two.STUDY / "al_fumarate.extxyz"


@pytest.mark.parametrize(("potential", "labels"), CELLS)
def test_each_cell_is_a_campaign_of_so_many_labels_of_each_framework(
    potential: str, labels: int, tmp_path: Path
) -> None:
    file = tmp_path / "campaign.yaml"
    YAML().dump(two.settings(potential, labels, 2), file)
    campaign = inputs.load(file)
    settings = campaign.settings
    assert settings.seed == 2
    assert campaign.types == ("Al", "C", "H", "O")
    assert tuple(settings.systems) == two.POTENTIALS[potential]
    for name, system in settings.systems.items():
        assert settings.bootstrap.count + settings.rounds * system.walkers == labels
        assert settings.bootstrap.count * 3 == labels * 2
        at = {
            action.name: float(action.get("AT") or 0)
            for action in plumed.parse(system.plumed or "")
            if action.name.endswith("WALLS")
        }
        volume = campaign.structures[name].get_volume()
        assert 0.7 < at["LOWER_WALLS"] / volume < 0.73
        assert 1.1 < at["UPPER_WALLS"] / volume < 1.13


def test_all_cells_train_for_as_many_epochs_on_one_core() -> None:
    each = [two.settings(potential, labels, 1) for potential, labels in CELLS]
    assert all(data["model"] == each[0]["model"] for data in each)
    for data in each:
        walkers = sum(system["walkers"] for system in data["systems"].values())
        assert data["resources"] == {"cores": 1, "walkers_per_core": walkers}


def test_the_fumarate_has_the_bonds_of_its_formula() -> None:
    start = read(FUMARATE)
    kept = bonds.guard(start, break_ratio=1.5, form_ratio=1.2)
    assert start.get_chemical_formula() == "C8H6Al2O10"
    assert kept.counts() == {
        ("Al", "O"): 12,  # each Al has six O
        ("C", "C"): 6,
        ("C", "H"): 4,
        ("C", "O"): 8,
        ("H", "O"): 2,
    }
    assert kept.lengths(("C", "C")) == pytest.approx((1.33, 1.51), abs=0.02)


def test_what_was_not_run_is_empty(tmp_path: Path) -> None:
    errors = {name: dict.fromkeys(two.COLUMNS.values(), 1.0) for name in two.SETS}
    for potential, labels, seed, place in two.cells(tmp_path):
        if (potential, labels) == ("both", 24):
            errors["fumarate"]["force_mae_meV_per_A"] = 70.0 + 10 * seed
            place.mkdir()
            (place / "errors.json").write_text(json.dumps(errors))
    lines = two.table(tmp_path).splitlines()
    assert len(lines) == 2 + len(two.SETS) * len(CELLS)
    assert "| fumarate, wide | 24 | both | 2 | 85 (80–90) | 1 (1–1) | 1 (1–1) |" in lines
    assert "| fumarate, wide | 24 | fumarate | 0 |  |  |  |" in lines
    assert sum(line.endswith("| 0 |  |  |  |") for line in lines) == len(lines) - 2 - len(two.SETS)


def test_the_test_sets_are_labelled_crystals_of_their_frameworks(tmp_path: Path) -> None:
    volumes = {}
    for name, file in two.test_sets(tmp_path).items():
        frames = read(file, ":")
        start = read(FUMARATE if name == "fumarate" else study.EXAMPLE / "mil53_al.extxyz")
        kept = bonds.guard(start, break_ratio=1.5, form_ratio=1.2)
        assert len(frames) >= 24
        assert not any(map(kept.fault, frames))
        assert all({"energy", "forces", "stress"} <= set(frame.calc.results) for frame in frames)
        volumes[name] = [frame.get_volume() / start.get_volume() for frame in frames]
    assert min(volumes["fumarate"]) < 0.8
    assert max(volumes["fumarate"]) > 1.05
