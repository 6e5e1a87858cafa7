"""Two systems of different composition, one round, one potential."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from helpers import campaigns
from helpers.campaigns import PACE, PHASEWALK, STEPS, TinyCampaign

ASIDE = ("rewriting", "settings", "end")  # "end": that the end of before holds no more
"""Stages of records that are no work: of files about to change, and of settings that have."""

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
SYSTEMS = ("NaCl", "KCl")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> TinyCampaign:
    """Run from its beginning to its end."""
    folder = tmp_path_factory.mktemp("two") / "salts"
    final = "{budget: {epochs: 3, learning_rate: 0.005}}"
    made = campaigns.make(folder, SYSTEMS, rounds=1, final=final)
    process = made.start()
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, ""), out + err
    return made


def test_system_is_an_attribute_of_every_label(campaign: TinyCampaign) -> None:
    labels = list(campaign.frames().values())
    found = Counter((one["origin"]["system"], one["origin"]["round"]) for one in labels)
    assert found == {(name, r): count for name in SYSTEMS for r, count in ((0, 8), (1, 2))}
    for one in labels:
        potassium = 19 in one["frame"]["numbers"]
        assert one["origin"]["system"] == ("KCl" if potassium else "NaCl")
    assert len({one["level"] for one in labels}) == 1


def test_one_segment_moves_the_walkers_of_both(campaign: TinyCampaign) -> None:
    (segment,) = (r for r in campaign.records() if r["stage"] == "segment")
    walkers = segment["outputs"]["walkers"]
    assert [(w["walker"], w["system"]) for w in walkers] == [
        (f"{name}-{index}", name) for name in SYSTEMS for index in (0, 1)
    ]
    assert {w["steps_done"] for w in walkers} == {STEPS}


def test_each_system_has_a_bias_of_its_own(campaign: TinyCampaign) -> None:
    (segment,) = (r for r in campaign.records() if r["stage"] == "segment")
    expected = 2 * STEPS // PACE
    for name in SYSTEMS:
        hills = segment["outputs"]["hills"][name]
        assert hills["deposited"] == hills["expected"] == hills["in_record"] == expected
        record = campaigns.hills(campaign.root, name)
        assert record.system == name
        assert len(record.hills) == expected
        assert {hill.walker for hill in record.hills} == {f"{name}-0", f"{name}-1"}


def test_one_model_learns_both(campaign: TinyCampaign) -> None:
    trained = [r["outputs"] for r in campaign.records() if r["stage"] == "train"]
    assert [(t["generation"], t["training_labels"] + t["validation_labels"]) for t in trained] == [
        ("0", 16),
        ("1", 20),
        ("final", 20),  # on all labels, none held back
    ]
    deployed = [r["outputs"]["stamp"] for r in campaign.records() if r["stage"] == "deploy"]
    assert {tuple(stamp["types"]) for stamp in deployed} == {("Cl", "K", "Na")}


def test_the_deployed_model_is_measured_in_lammps(campaign: TinyCampaign, tmp_path: Path) -> None:
    """`phasewalk evaluate` on the labels that generation 0 was trained on."""
    data = campaign.root / "rounds/000/train/train.extxyz"
    out = subprocess.run(
        [*PHASEWALK, "evaluate", campaign.root, "--data", data, "--generation", "0", "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = json.loads(out)
    assert found["frames"] == 12
    assert 0 < found["force_mae_meV_per_A"] < found["force_rms_meV_per_A"]


def test_status_tells_the_story(campaign: TinyCampaign) -> None:
    argv = [sys.executable, "-m", "phasewalk", "status", str(campaign.root), "--json"]
    state = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert (state["running"], state["finished"]) == (False, True)
    none = {"initial": 0, "added": 0, "added_from": {"free energy": 0, "production": 0}}
    assert state["labels"] == {"done": 20, "failed": 0, **none}
    last = state["rounds"][1]
    assert last["before_learning"]["frames"] == last["after_learning"]["frames"] == 4
    assert set(last["hills"]) == set(SYSTEMS)


def test_more_rounds_with_other_numbers_of_walkers(campaign: TinyCampaign) -> None:
    """Nothing that was finished is done again, and no hill is lost or doubled."""
    finished = campaign.records()
    first, second = campaign.file.read_text().split("  KCl:")
    text = first.replace("walkers: 2", "walkers: 1").replace("rounds: 1", "rounds: 2")
    campaign.file.write_text(text + "  KCl:" + second.replace("walkers: 2", "walkers: 3"))
    process = campaign.start()
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, ""), out + err
    assert campaign.records()[: len(finished)] == finished
    new = [r for r in campaign.records()[len(finished) :] if r["stage"] not in ASIDE]
    steered, segment = new[:2]
    assert (steered["task"], segment["task"]) == ("walkers of round 2", "segment 2")
    begun = {entry["walker"]: entry["source"] for entry in steered["outputs"]["walkers"]}
    assert begun["KCl-2"] == "new"
    walkers = [entry["walker"] for entry in segment["outputs"]["walkers"]]
    assert walkers == ["NaCl-0", "KCl-0", "KCl-1", "KCl-2"]
    for name, count in (("NaCl", 1), ("KCl", 3)):
        hills = segment["outputs"]["hills"][name]
        laid = count * STEPS // PACE
        assert hills["deposited"] == hills["expected"] == hills["in_record"] == laid
        assert hills["total"] == laid + 2 * STEPS // PACE
        steps = [hill.step for hill in campaigns.hills(campaign.root, name).hills]
        assert min(steps) == PACE
        assert max(steps) == 2 * STEPS
