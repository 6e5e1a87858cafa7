"""Walkers that have done a round, and what the next one begins with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms

from helpers.fakes import FakeLauncher, Watcher, crystal, write_campaign
from helpers.outputs import whole
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.files import file_hash
from phasewalk.labels import label as labels
from phasewalk.rounds import steer
from phasewalk.store import directory
from phasewalk.store.records import FAILED, KIND, REFUSED, Record
from phasewalk.store.records_names import label_task
from phasewalk.walkers.segment import Walker

CAMPAIGN = """\
campaign: salt
systems:
  salt: {structure: salt.extxyz, walkers: 2, ensemble: npt}
resources: {cores: 2}
"""
STEPS = (400, 300, 200)


def at(displacement: float) -> Atoms:
    """A frame that can be told from others."""
    atoms = crystal()
    atoms.positions[0, 0] += displacement
    return atoms


FRAMES = [(step, at(step / 1000)) for step in STEPS]


def open_work(folder: Path, text: str = "", *, campaign: str = CAMPAIGN) -> Work:
    loaded = inputs.load(write_campaign(folder, campaign + text))
    found = discovery.find(EngineSettings(), {})
    opened = directory.open_campaign(folder / "run", loaded.identity())
    return Work(loaded, opened, FakeLauncher(), found, Watcher())


def after_round(work: Work, *, broke: bool = False, frames: Any = FRAMES) -> None:
    """Both walkers have done round 1; the second has no good frame."""
    one, two = (Walker(f"salt-{i}", "salt", i, at(0.0), 0) for i in (0, 1))
    states = [
        steer.state_json(one, next_step=400, frames=frames, broke=broke),
        steer.state_json(two, next_step=400, frames=[], broke=True),
    ]
    walked(work, {"rounds/001/walkers.json": json.dumps(states)})


def walked(work: Work, texts: Mapping[str, str], stop: str | None = None) -> None:
    """The segment of round 1 has left these files, beside those from before."""
    before = work.store.find("segment 1")
    files = dict(before.outputs["files"]) if before else {}
    for name, text in texts.items():
        files[name] = file_hash(work.store.write(name, text.encode()))
    told = None if stop is None else {"reason": stop}
    walkers = [{"walker": f"salt-{i}", "system": "salt", "stop": told} for i in (0, 1)]
    outputs = {"generation": 0, "walkers": walkers, "files": files}
    work.store.append(whole(Record("segment 1", "segment", 1, "", outputs, 1.0, 0.0)))


def key_of(work: Work, atoms: Atoms) -> str:
    return labels.label_key(atoms, work.campaign.level("salt"))


def labelled(work: Work, atoms: Atoms, *, failed: bool = False) -> None:
    key = key_of(work, atoms)
    outputs = {FAILED: "no convergence", KIND: REFUSED} if failed else {"key": key}
    work.store.append(whole(Record(label_task(key, 1), "label", 1, key, outputs, 1.0, 0.0)))


def first_decision(work: Work) -> tuple[steer.Decision, Walker]:
    standing, decisions = steer.stand(work, 2)
    return decisions[0], standing[0]
