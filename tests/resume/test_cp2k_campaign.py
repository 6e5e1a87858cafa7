"""A campaign of two rounds with PBE-D3 labels from CP2K, killed when half of the first are done."""

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
from ase import units

from helpers import campaigns
from helpers.campaigns import PHASEWALK, TinyCampaign
from helpers.water import INPUT, water, write_input
from phasewalk.engines import plugin
from phasewalk.engines.discovery import EngineSettings, find

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "cp2k"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
BOOTSTRAP = 6
TEXT = """
campaign: water
rounds: 2
systems:
  water:
    structure: water.extxyz
    walkers: 2
    ensemble: nvt
    temperature_K: 60
    plumed: |
      UNITS LENGTH=A ENERGY=kj/mol TIME=fs
      d: DISTANCE ATOMS=1,4
      METAD ARG=d SIGMA=0.1 HEIGHT=0.5 PACE=20 LABEL=metad
      PRINT ARG=d STRIDE=10 FILE=COLVAR
bootstrap: {{count: 6, displacement_A: 0.04, strain: 0.02}}
segment: {{steps: 60, dump_every_steps: 10, max_temperature_ratio: 100}}
candidates: {{min_rmsd_A: 0.001, min_strain: 0.0001}}
validation_every: 6
reference:
  cp2k: {{input: pbe-d3.inp, guess: walker, retries: [{{SCF/OT/MINIMIZER: CG}}]}}
  atom_energies_eV: {{H: -13.0, O: -431.0}}
model:
  preset: tiny
  max_force_error_ratio: null
  first: {{epochs: 60, learning_rate: 0.01}}
  warm: {{epochs: 20, learning_rate: 0.005}}
  final: null
deploy: {{mode: torchscript, device: cpu}}
engines: {{plugin: {plugin}}}
"""


@dataclass
class Story:
    """What happened."""

    campaign: TinyCampaign
    kept: set[str]
    other: tuple[int, str] = (0, "")
    end: tuple[int, str, str] = (0, "", "")


def make(folder: Path) -> TinyCampaign:
    folder.mkdir()
    ase.io.write(folder / "water.extxyz", water())
    write_input(folder)
    built = plugin.cached(find(EngineSettings(), os.environ), os.environ)
    file = folder / "campaign.yaml"
    file.write_text(TEXT.format(plugin=json.dumps(str(built))))
    return TinyCampaign(folder, file, folder / "run", folder / "calls.txt")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Killed at half, refused with another cutoff, then run to its end."""
    campaign = make(tmp_path_factory.mktemp("cp2k") / 'it\'s "dft"')
    process = campaign.start()
    campaigns.wait_for(lambda: campaign.done("label") >= BOOTSTRAP // 2, process)
    campaigns.stop(process, signal.SIGKILL)
    assert campaigns.gone(campaign)
    kept = {record["task"] for record in campaign.records() if record["stage"] == "label"}
    told = Story(campaign, kept)
    write_input(campaign.folder, INPUT.replace("CUTOFF 240", "CUTOFF 250"))
    process = campaign.start()
    told.other = (process.wait(timeout=60), process.communicate()[1])
    write_input(campaign.folder)
    process = campaign.start()
    out, err = process.communicate(timeout=600)
    told.end = (process.returncode, out, err)
    return told


def test_it_comes_to_its_end(story: Story) -> None:
    code, out, err = story.end
    assert (code, err) == (0, ""), out + err
    assert story.campaign.done("segment") == 2
    assert story.campaign.done("train") >= 2


def test_only_the_other_half_is_computed_again(story: Story) -> None:
    journal = [r["task"] for r in story.campaign.records() if r["stage"] == "label"]
    assert len(journal) == len(set(journal))
    assert len(story.kept) >= BOOTSTRAP // 2
    assert story.kept <= set(journal)
    assert BOOTSTRAP < len(journal) <= BOOTSTRAP + 4


def test_another_cutoff_is_refused_with_what_differs(story: Story) -> None:
    code, err = story.other
    assert code == 2
    assert "level of theory differs" in err
    assert "FORCE_EVAL/DFT/MGRID/CUTOFF: 240.0 | 250.0" in err
    assert err.count("\n") == 1


def test_each_label_is_what_cp2k_printed(story: Story) -> None:
    for record in story.campaign.records():
        if record["stage"] == "label":
            outputs = record["outputs"]
            text = (story.campaign.root / outputs["place"] / "stdout.txt").read_text()
            label = json.loads((story.campaign.root / f"labels/{outputs['key']}.json").read_text())
            (printed,) = re.findall(r"ENERGY\| Total FORCE_EVAL .*?(-\d+\.\d+)$", text, re.M)
            assert label["energy_eV"] == float(printed) * units.Hartree
            assert label["made"]["version"].startswith("CP2K ")


def test_a_walker_s_second_label_starts_from_its_first(story: Story) -> None:
    found = {
        (r["outputs"]["origin"]["walker"], r["round"]): r["outputs"]["guess"]
        for r in story.campaign.records()
        if r["stage"] == "label" and r["round"] > 0
    }
    assert any(guess for (_, round_), guess in found.items() if round_ == 2)
    assert not any(guess for (_, round_), guess in found.items() if round_ == 1)


def test_another_campaign_finds_the_labels(story: Story, tmp_path: Path) -> None:
    """The same bootstrap: one label is computed again, and all others are believed then."""
    file = tmp_path / "again.yaml"
    file.write_text(story.campaign.file.read_text().replace("rounds: 2", "rounds: 0"))
    for name in ("water.extxyz", "pbe-d3.inp"):
        (tmp_path / name).write_text((story.campaign.folder / name).read_text())
    ended = subprocess.run(
        [*PHASEWALK, "run", str(file), "--dir", str(tmp_path / "run")],
        env=story.campaign.env(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    shown = subprocess.run(
        [*PHASEWALK, "status", str(tmp_path / "run"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    account = json.loads(shown.stdout)["cost"]["labels"]
    labelled = [record for record in story.campaign.records() if record["stage"] == "label"]
    assert (account["done"], account["reused"]) == (BOOTSTRAP, BOOTSTRAP - 1)
    assert 0 < account["core_hours"] < sum(record["seconds"] for record in labelled) / 3600
