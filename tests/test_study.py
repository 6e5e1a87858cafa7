"""The study of ways to spend labels: its campaigns are valid, and its table shows what was run."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.io import read
from ruamel.yaml import YAML

from phasewalk.bias import plumed
from phasewalk.campaign.config import parse

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples/study"))

import study
import trainings


@pytest.mark.parametrize("way", study.WAYS)
@pytest.mark.parametrize("labels", [48, 100])
def test_each_way_is_a_campaign_of_so_many_labels(way: str, labels: int) -> None:
    text = io.StringIO()
    YAML().dump(study.settings(way, 2, labels), text)
    settings = parse(text.getvalue(), "campaign.yaml")
    system = settings.systems["mil53_al"]
    assert settings.seed == 2
    assert settings.bootstrap.count + settings.rounds * system.walkers == labels
    biased = "METAD" in {action.name for action in plumed.parse(system.plumed or "")}
    assert biased == ("MD" not in way)


def test_the_table_has_a_row_for_each_way_and_an_empty_cell_for_what_was_not_run(
    tmp_path: Path,
) -> None:
    errors = {name: {key: 1.0 for _, key in study.COLUMNS.values()} for name in study.NAMES}
    for (way, seed, place), value in zip(study.cells(tmp_path), (80.0, 90.0), strict=False):
        assert seed == 1
        place.mkdir()
        errors["path"]["force_mae_meV_per_A"] = value
        (place / "errors.json").write_text(json.dumps(errors))
        assert way in study.WAYS
    lines = study.table(tmp_path).splitlines()
    assert len(lines) == 2 + len(study.WAYS)
    assert lines[2].startswith("| biased walkers | 1 | 80 | 1 |")
    assert lines[3].startswith("| random perturbations | 1 | 90 | 1 |")
    assert set(lines[4].split("|")[3:-1]) == {"  "}
    assert study.shown([1.0, 2.0, 3.0]) == "2 (1–3)"


def test_the_test_sets_are_written_into_a_new_folder(tmp_path: Path) -> None:
    files = study.test_sets(tmp_path / "study" / "new")
    assert {name: len(read(path, ":")) for name, path in files.items()} == {
        "path": 30,
        "wide-intact": 24,
        "wide-opened": 12,
    }


def curve(shift: float, error: float | None, offset: float = 0.0) -> dict[str, Any]:
    """A free energy as `phasewalk fes --json` prints it, of 20 bins, with one beyond the limit."""
    centres = [500.0 + 10 * bin_ + offset for bin_ in range(20)]
    values = [shift * bin_ for bin_ in range(19)] + [99.0]
    return {
        "variables": [{"centres": centres}],
        "free_energy": values,
        "error": [error] * 20,
        "opinions_compared_below": 25.0,
    }


def test_two_free_energies_agree_within_their_errors() -> None:
    one = (1, curve(1.0, 0.5))
    assert study.two((one, (2, curve(1.0, 0.5)))).endswith(
        "0.0 kJ/mol (rms), 100% of the bins within two errors"
    )
    said = study.two((one, (2, curve(1.2, 0.5))))  # 0.2 × (-9 … 9), within 1.41
    assert said == "Seeds 1 and 2: 1.1 kJ/mol (rms), 79% of the bins within two errors"
    assert study.two((one, (3, curve(1.0, None)))).endswith("no errors")
    other = study.two((one, (2, curve(1.0, 0.5, offset=5.0))))  # other centres, the same slope
    assert other.startswith("Seeds 1 and 2: 0.0 kJ/mol")


def test_a_training_on_the_labels_of_a_campaign_with_other_settings(tmp_path: Path) -> None:
    recorded = Path(__file__).parent / "data/mil53_al.run"
    changes = ["model.optimizer=adam", "model.first={epochs: 9, learning_rate: 0.5}"]
    changes += ["model.loss_weights.energy=2"]
    found = trainings.settings(recorded, tmp_path / "labels.extxyz", changes)
    text = io.StringIO()
    YAML().dump(found, text)
    read = parse(text.getvalue(), "campaign.yaml")
    assert (read.rounds, read.bootstrap.count, read.model.final) == (0, 0, None)
    assert (read.model.optimizer, read.model.loss_weights.energy) == ("adam", 2.0)
    assert (read.model.first.epochs, read.model.first.learning_rate) == (9, 0.5)
    assert read.model.warm.epochs == 25  # as it was


@pytest.mark.parametrize(("epsilon", "hole"), [(1.0, False), (-1.0, True)])
def test_a_hole_is_an_energy_that_falls_when_a_bond_is_compressed(
    epsilon: float, hole: bool
) -> None:
    pair = Atoms("CO", positions=[(0, 0, 0), (0, 0, 1.15)], cell=[12.0] * 3)
    potential = LennardJones(epsilon=epsilon, sigma=1.0, rc=5.0)  # upside down if negative
    assert trainings.has_hole(pair, potential) == hole
    assert not trainings.has_hole(Atoms("C", cell=[12.0] * 3), potential)
