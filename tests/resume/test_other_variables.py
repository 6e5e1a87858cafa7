"""The examples with other variables than the volume, in one very short campaign of both systems."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers.documents import ROOT

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
SHORT: dict[str, Any] = {
    "campaign": "both",
    "rounds": 1,
    "bootstrap": {"count": 4, "displacement_A": 0.05, "strain": 0.02},
    "segment": {"steps": 60, "dump_every_steps": 20},
    "validation_every": 4,
    "model": {
        "preset": "tiny",
        "optimizer": "adam",  # with 4 epochs the better of the two
        "first": {"epochs": 4, "learning_rate": 0.01},
        "warm": {"epochs": 1, "learning_rate": 0.005},
        "final": None,
        "max_force_error_ratio": None,
    },
    "deploy": {"mode": "torchscript", "device": "cpu"},
    "resources": {"cores": 2},
}


@pytest.fixture(scope="module", name="records")
def _records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The journal of the campaign."""
    folder = tmp_path_factory.mktemp("variables")
    yaml, systems = YAML(pure=True), {}
    for name in ("kcl", "urea"):
        data = yaml.load((ROOT / f"examples/{name}/campaign.yaml").read_text())
        systems |= data["systems"]
        for file in (ROOT / f"examples/{name}").iterdir():
            shutil.copy(file, folder / file.name)
    for system in systems.values():
        system["temperature_K"] = 50  # an untrained model would break at once
    with (folder / "campaign.yaml").open("w") as stream:
        yaml.dump({**SHORT, "systems": systems}, stream)
    done = subprocess.run(
        [sys.executable, "-m", "phasewalk", "run", "campaign.yaml"],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    journal = (folder / "campaign.run/journal.jsonl").read_text()
    kept = (folder / "campaign.run/campaign.yaml").read_text()
    assert "phi: TORSION ATOMS=3,1,5,9" in kept  # the text of plumed.dat
    return [json.loads(line) for line in journal.splitlines()]


def test_all_variables_are_biased_and_printed(records: list[dict[str, Any]]) -> None:
    (segment,) = (record["outputs"] for record in records if record["stage"] == "segment")
    for walker in segment["walkers"]:
        names = {one["name"] for one in walker["colvars"]}
        wanted = {"kcl": {"cn", "metad.bias"}, "urea": {"phi", "v", "metad.bias"}}
        assert wanted[walker["system"]] <= names
        if walker["system"] == "kcl":
            (cn,) = (one for one in walker["colvars"] if one["name"] == "cn")
            assert cn["first"] == pytest.approx(42.57, abs=0.01)  # rock salt, 48 × 0.89
    for counts in segment["hills"].values():
        assert counts["deposited"] == counts["expected"] > 0


def test_labelled_frames_lie_along_them(records: list[dict[str, Any]]) -> None:
    located = {r["outputs"]["system"]: r["outputs"] for r in records if r["stage"] == "colvars"}
    assert located["kcl"]["names"] == ["cn"]
    assert located["urea"]["names"] == ["phi", "v"]
