"""The MIL-53(Al) example on Slurm: two rounds as steps and as jobs give the same labels."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import slurm
from helpers.campaigns import PHASEWALK

pytestmark = pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite")
EXAMPLE = Path(__file__).parents[2] / "examples/mil53_al"
SITE = """\
site: lab
mode: {mode}
poll_s: 1
default: {{memory_GB: 1.5, time_min: 10}}
compile: {{memory_GB: 2}}
segment: {{nodes: 2}}
"""


def made(folder: Path, mode: str) -> list[str]:
    """Two rounds of the example on this site: the command."""
    shutil.copytree(EXAMPLE, folder)
    settings = yaml.safe_load((EXAMPLE / "campaign.yaml").read_text())
    del settings["stop"]
    settings |= {"rounds": 2, "model": {**settings["model"], "final": None}}
    settings["reference"]["share"] = False
    # auto would use what the first campaign has compiled from the start of the second.
    settings["deploy"] = {"mode": "aotinductor"}
    (folder / "campaign.yaml").write_text(yaml.safe_dump(settings))
    (folder / "lab.yaml").write_text(SITE.format(mode=mode))
    where = ("--dir", str(folder / "run"), "--site", "lab")
    return [*PHASEWALK, "run", str(folder / "campaign.yaml"), *where]


def run(folder: Path, command: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Labels of the finished campaign: energy, forces and stress by key."""
    env = {**os.environ, **environ, "PHASEWALK_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folder / "run/journal.jsonl").read_text().splitlines()
    labels = [one for one in map(json.loads, lines) if one["stage"] == "label"]
    assert len({one["task"] for one in labels}) == len(labels) >= 32 + 4
    assert not any(one["outputs"].get("earlier") for one in labels)
    found = {}
    for path in sorted((folder / "run/labels").glob("*.json")):
        data = json.loads(path.read_text())
        found[data["key"]] = [
            data[name] for name in ("energy_eV", "forces_eV_per_A", "stress_eV_per_A3")
        ]
    assert len(found) == len(labels)
    return found


@pytest.mark.timeout(3000)
def test_the_example_in_both_modes(cluster: slurm.Cluster, tmp_path: Path) -> None:
    steps = made(tmp_path / "steps", "steps")
    nodes = ("-pcpu", "-N2", "--ntasks-per-node=2", "--mem=3500", "--time=120")
    with slurm.allocated(cluster, *nodes) as environ:
        first = run(tmp_path / "steps", steps, environ)
    second = run(tmp_path / "jobs", made(tmp_path / "jobs", "jobs"), cluster.env)
    assert second == first
