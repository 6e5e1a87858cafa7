"""`from phasewalk import Campaign` on a recorded campaign (tests/data/README.md)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import phasewalk
from helpers.documents import DOCS, blocks
from helpers.recorded import RECORDED
from phasewalk import Campaign
from phasewalk.errors import InputError, StoreError

pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    return Campaign(RECORDED)


def test_it_says_what_it_is(campaign: Campaign) -> None:
    assert "labels" in repr(campaign)
    assert campaign.verdict.split(":")[0] in repr(campaign)
    assert campaign.directory == RECORDED
    assert campaign.problems == []


def test_a_directory_may_be_text_and_must_be_a_campaign(tmp_path: Path) -> None:
    assert Campaign(str(RECORDED)).status["campaign"] == "mil53_al"
    with pytest.raises(StoreError, match="not a campaign directory"):
        Campaign(tmp_path)


def test_labels_are_atoms_with_results_and_variables(campaign: Campaign) -> None:
    assert len(campaign.labels) == campaign.status["labels"]["done"]
    for atoms in campaign.labels:
        data = json.loads((RECORDED / f"labels/{atoms.info['key']}.json").read_text())
        assert atoms.get_potential_energy() == data["energy_eV"]
        assert np.array_equal(atoms.get_forces(), data["forces_eV_per_A"])
        assert np.array_equal(atoms.get_stress(), data["stress_eV_per_A3"])
        # the variable is the volume, in Å³ by the UNITS of the PLUMED text
        assert atoms.info["colvar_volume"] == pytest.approx(atoms.get_volume(), rel=1e-6)


def test_the_learning_curve_is_the_journals(campaign: Campaign) -> None:
    table = campaign.learning_curve
    new = table[table.measured_on == "new"]
    wanted = [e["before_learning"]["force_mae_meV_per_A"] for e in campaign.status["rounds"][1:]]
    assert new.force_mae_meV_per_A.tolist() == wanted
    assert new.labels.is_monotonic_increasing
    assert "final" in set(table[table.measured_on == "test"].generation)


def test_errors_hold_each_frame_and_whether_it_was_learned(campaign: Campaign) -> None:
    table = campaign.errors
    new = table[(table.measured_on == "new") & ~table.learned]
    assert len(new) == sum("walker" in atoms.info for atoms in campaign.labels)
    assert (table[table.measured_on == "new"].groupby("key").learned.nunique() == 2).all()
    assert new.colvar_volume.tolist() == pytest.approx(new.volume_A3.tolist(), rel=1e-6)


def test_walkers_over_time(campaign: Campaign) -> None:
    table = campaign.walkers
    assert {"system", "walker", "round", "time_ps", "volume"} <= set(table.columns)
    rounds = max(e["round"] for e in campaign.status["rounds"])
    assert table.time_ps.max() == pytest.approx(rounds, rel=0.02)  # 1 ps each
    assert len(campaign.walks) == rounds * table.walker.nunique()
    assert campaign.walks.began.iloc[0] == "new"


def test_timings_and_costs(campaign: Campaign) -> None:
    table = campaign.timings
    assert table.seconds.sum() == pytest.approx(sum(campaign.status["seconds"].values()), abs=0.5)
    assert str(table.ended.dt.tz) == "UTC"
    assert 0 <= campaign.costs["idle_share"] < 1


def test_pictures_are_figures_too(campaign: Campaign) -> None:
    assert set(campaign.figures) == set(campaign.pictures)
    assert "learning-forces" in campaign.figures


def test_a_generation_that_is_not_there(campaign: Campaign) -> None:
    with pytest.raises(InputError, match="--generation 77"):
        campaign.model(77)


def test_the_examples_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but those that need a deployed model (tests/resume/test_stop_rules.py)."""
    monkeypatch.chdir(tmp_path)
    code = [b.text for b in blocks(DOCS / "python.md") if b.language == "python"]
    assert "calculator" in code[-1]
    text = "\n".join(code[:-1]).replace('"my.run"', repr(str(RECORDED)))
    exec(compile(text, "python.md", "exec"), {})
    assert (tmp_path / "learning.pdf").read_bytes()[:4] == b"%PDF"


def test_children_do_not_load_what_notebooks_need() -> None:
    """`import phasewalk` stays light: every child process does it."""
    code = (
        "import phasewalk, sys; print(sorted({'matplotlib', 'pandas', 'ase'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'Champaign'"):
        phasewalk.__getattr__("Champaign")
