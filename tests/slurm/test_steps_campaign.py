"""A campaign inside an allocation: results as on one machine, and a stop before its end."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from helpers import campaigns, slurm
from helpers.campaigns import PHASEWALK, TinyCampaign

pytestmark = pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite")
SITE = """\
site: lab
mode: steps
default: {memory_GB: 1.5, time_min: 0.5}
segment: {nodes: 2}
train: {time_min: 2.9}
"""


def phasewalk(
    campaign: TinyCampaign, environ: Mapping[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in environ.items() if name not in os.environ}
    return subprocess.run(
        [*PHASEWALK, *words],
        env={**campaign.env(), **ours},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_it_stops_before_the_allocation_ends_and_gives_the_same_results_in_the_next_one(
    cluster: slurm.Cluster, learned: TinyCampaign, tmp_path: Path
) -> None:
    campaign = campaigns.make(tmp_path / "it's here", ["NaCl"], rounds=1)
    campaign.file.with_name("lab.yaml").write_text(SITE)
    run = ("run", str(campaign.file), "--dir", str(campaign.root), "--site", "lab")
    nodes = ("-pcpu", "-N2", "--ntasks-per-node=2", "--mem=3500")
    with slurm.allocated(cluster, *nodes, "--time=2") as environ:
        short = phasewalk(campaign, environ, *run)
    assert short.returncode == 2
    assert "train needs up to 2.9 min" in short.stderr
    assert not campaign.root.exists()
    with slurm.allocated(cluster, *nodes, "--time=3") as environ:
        first = phasewalk(campaign, environ, *run)
    assert first.returncode == 75, first.stdout + first.stderr
    said = first.stderr.strip()
    assert re.search(r"train generation \d was not started: it needs up to 2.9 min", said)
    assert f"continue with: {campaigns.resume_command(campaign)} --site lab" in said
    assert "\n" not in said
    assert len(campaign.labelled()) >= 8
    with slurm.allocated(cluster, *nodes, "--time=60") as environ:
        second = phasewalk(campaign, environ, *run)
        assert second.returncode == 0, second.stdout + second.stderr
        checked = phasewalk(campaign, environ, "check", str(campaign.file), "--site", "lab")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "4 core(s)" in checked.stdout
    campaigns.assert_same(campaign, learned)
    assert len(set(campaign.paid())) == len(campaign.paid())
    assert campaign.processes() == []
    assert not list(campaign.folder.glob("phasewalk-*"))  # temporary folders beside the campaign


def test_walkers_that_do_not_fit_are_divided_and_the_results_are_the_same(
    cluster: slurm.Cluster, learned: TinyCampaign, tmp_path: Path
) -> None:
    campaign = campaigns.make(tmp_path / "c", ["NaCl"], rounds=1)
    campaign.file.with_name("lab.yaml").write_text(SITE.replace("segment: {nodes: 2}", ""))
    with campaign.file.open("a") as stream:
        stream.write("resources: {walkers_per_core: 1}\n")
    command = ("run", str(campaign.file), "--dir", str(campaign.root), "--site", "lab")
    one_core = ("-pcpu", "-N1", "-n1", "-c1", "--mem=3500", "--time=60")
    with slurm.allocated(cluster, *one_core) as environ:
        done = phasewalk(campaign, environ, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    launches = campaign.root / "rounds/001/segment"
    assert sorted(path.name for path in launches.glob("launch-*")) == ["launch-1", "launch-2"]
    campaigns.assert_same(campaign, learned)


def test_outside_of_an_allocation_it_says_what_to_do(tmp_path: Path) -> None:
    campaign = campaigns.make(tmp_path / "c", ["NaCl"], rounds=1)
    campaign.file.with_name("lab.yaml").write_text(SITE)
    for command in (("check",), ("run",)):
        done = phasewalk(campaign, {}, *command, str(campaign.file), "--site", "lab")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "no SLURM_JOB_ID" in done.stderr
    assert not campaign.root.exists()
