"""`phasewalk run --from-production` with real engines: alarms of a hot run are learned."""

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from helpers import campaigns
from helpers.campaigns import PHASEWALK, TinyCampaign

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.timeout(900),
]
FINAL = "{budget: {epochs: 3, learning_rate: 0.005}}"
HOT = """
campaign: run
structure: NaCl
temperature_K: 2500
length_ps: 0.2
thermo_every_steps: 10
dump_every_steps: 10
restart_every_steps: 200
"""


def said(made: TinyCampaign, *words: str, code: int = 0) -> list[str]:
    """Lines of a command of phasewalk."""
    ended = subprocess.run(
        [*PHASEWALK, *words],
        cwd=made.folder,
        env=made.env() if words[0] == "run" else None,  # the plugin is in the cache of all
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return (ended.stdout + ended.stderr).splitlines()


def learning(made: TinyCampaign, frames: int, run: str = "hot.production") -> list[str]:
    """The command that learns from a run."""
    words = ["run", made.file.name, "--dir", made.root.name, "--from-production", run]
    return [*words, "--frames", str(frames)]


def labelled(made: TinyCampaign) -> list[str]:
    """Keys of the labels that are recorded in the folder of the run, in that order."""
    path = made.folder / "hot.production/labelled/journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [r["outputs"]["key"] for r in map(json.loads, lines) if r["stage"] == "label"]


def imported(made: TinyCampaign) -> list[str]:
    """Keys of the labels that were added to the campaign."""
    found = (record["outputs"] for record in made.records() if record["stage"] == "import")
    return [key for outputs in found for key in outputs.get("labels", [])]


@pytest.mark.long
def test_alarms_of_a_hot_run_are_labelled_and_learned(
    learned: TinyCampaign, tmp_path: Path
) -> None:
    made = campaigns.copied(learned, tmp_path / "mine")
    text = made.file.read_text()
    assert "final: null" in text
    made.file.write_text(text.replace("final: null", f"final: {FINAL}"))
    (made.folder / "hot.yaml").write_text(HOT)
    (made.folder / "large.yaml").write_text(HOT + "supercell: [2, 1, 1]\n")
    assert any(line.startswith("alarms: in ") for line in said(made, "produce", "hot.yaml"))
    said(made, "produce", "large.yaml")

    *_, last = said(made, *learning(made, 4, "large.production"), code=2)
    assert "its cell has 16 atoms, the campaign's systems have others (NaCl 8)" in last
    before = learned.paid()
    process = subprocess.Popen(
        [*PHASEWALK, *learning(made, 4)], cwd=made.folder, env=made.env(), start_new_session=True
    )
    campaigns.wait_for(lambda: labelled(made), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = labelled(made)
    assert 1 <= len(first) < 4

    lines = said(made, *learning(made, 4))
    assert "4 labels of 4 alarm frames were added to the campaign after round 1" in lines
    assert any("train generation final" in line for line in lines)
    calls = Counter(learned.paid()[len(before) :])
    assert all(calls[key] == 1 for key in first)
    assert len(set(labelled(made))) == len(labelled(made)) == 4
    trained = made.done("train")

    lines = said(made, *learning(made, 4))
    assert "0 labels of 4 alarm frames were added to the campaign after round 1" in lines
    assert made.done("train") == trained
    lines = said(made, *learning(made, 6))
    assert "2 labels of 6 alarm frames were added to the campaign after round 1" in lines
    assert made.done("train") == trained + 1
    assert sorted(imported(made)) == sorted(set(labelled(made)))
    assert len(imported(made)) == 6
    assert said(made, "verify", made.root.name)
    (line,) = (line for line in said(made, "status", made.root.name) if "6 added" in line)
    assert "6 added by fes or production runs" in line


def test_a_run_without_alarm_frames_says_what_to_do(learned: TinyCampaign, tmp_path: Path) -> None:
    made = campaigns.copied(learned, tmp_path / "mine")
    (made.folder / "hot.yaml").write_text(HOT.replace("2500", "1"))
    said(made, "produce", "hot.yaml")
    *_, last = said(made, *learning(made, 4), code=2)
    assert "its frames have raised no alarms, so that there is none to label" in last
    (made.folder / "hot.production/alarms.extxyz").unlink()
    *_, last = said(made, *learning(made, 4), code=2)
    assert "phasewalk alarms" in last
