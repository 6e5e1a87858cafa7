"""Campaigns of fake engines that are killed, at each record and at each change of the disk.

All come to the end of one that is not: the same records, models and bias, each label computed once.
`test_kill_matrix.py` kills a few times with real engines.
"""

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.disk import Deadly, Killed
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from phasewalk.engines import here
from phasewalk.jobs import Job
from phasewalk.store.directory import JOURNAL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UNCONVERGED = 123
LATE = "late labels"


def takes(job: Job) -> float:
    """Seconds of a job: of some labels many, whoever asks."""
    slow = job.kind == "label" and int(job.directory.name[:4], 16) % 3 == 0
    return 40.0 if slow else 1.0


CAMPAIGNS: dict[str, dict[str, Any]] = {
    "two rounds": {"rounds": 2},
    "a walker breaks down": {"programs": FakeEngines(breaks={"NaCl-1": 90})},
    "labels that do not converge at first": {
        "more": f"reference: {{xtb: {{max_iterations: {UNCONVERGED}, "
        "retries: [{max_iterations: 900}]}}",
        "programs": FakeEngines(unconverged=UNCONVERGED),
    },
    "two systems, a stop rule and a final model": {
        "systems": ("NaCl", "KCl"),
        "walkers": 1,
        "rounds": 3,
        "final": "{from_scratch: true, budget: {epochs: 3, learning_rate: 0.01}}",
        "more": "stop: {errors: {rounds: 1, force_mae_meV_per_A: 1000}}",
    },
    "the last model in both modes": {
        "final": "{budget: {epochs: 2, learning_rate: 0.01}}",
        "mode": "auto",
        "programs": FakeEngines(machine=replace(here(), has_compiler=True)),
    },
    LATE: {
        "walkers": 4,
        "rounds": 2,
        "final": "{from_scratch: true, budget: {epochs: 3, learning_rate: 0.01}}",
        "more": "reference: {late_factor: 2}",
        "takes": takes,
        "cores": 4,
    },
}
HALF, POINTS = 3, 4
"""Before the journal is opened, before its line, within it, and before it is on the disk."""
LOCKING = 14
"""Changes with which a start takes the lock: it is killed at these once."""
ATTEMPT = ("try", "guess", "changes", "reused")
"""What a record says of how its label was made: another word where it was adopted."""


@dataclass
class Ends:
    """What is left of a campaign, but for what depends on the clock.

    Attributes:
        records: the journal's lines, by task.
        files: what its folders hold, by place.
        paid: how often the reference has finished each label.
        maker: by whom the entries of the cache are, beside the campaign's name there.
    """

    records: dict[str, Any]
    files: dict[str, bytes]
    paid: Counter[str]
    maker: set[str]


def ends(folder: Path) -> Ends:
    root = folder / "run"
    text = re.sub(r"\(all files are in \S+\)", "", (root / JOURNAL).read_text())
    lines = [json.loads(line) for line in text.splitlines()]
    records = {line["task"]: essence(line) for line in lines}
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for name in ("labels", "models", "bias")
        for path in sorted((root / name).rglob("*"))
        if path.is_file() and not path.name.endswith(".part")
    }
    paid = Counter(path.parent.name.partition(".")[0] for path in root.rglob("label/*/result.json"))
    makers = {str(r["outputs"]["name"]) for r in lines if r["task"] == "name in the cache"}
    for path in (folder / "cache").rglob("*.json"):
        found = json.loads(path.read_text())
        if isinstance(found, dict) and "made" in found:
            makers.add(found["made"]["campaign"])
    return Ends(records, files, paid, makers)


def essence(line: dict[str, Any]) -> dict[str, Any]:
    """A record without its clock, its checksum, and what only tells how often it was tried."""
    outputs = dict(line["outputs"])
    if line["task"] == "name in the cache":  # drawn with the clock
        outputs["name"] = outputs["name"].partition(" (")[0]
    if line["stage"] == "deploy":
        outputs["seconds"] = 0
    if line["stage"] == "label":
        outputs = {key: value for key, value in outputs.items() if key not in ATTEMPT}
        outputs["earlier"] = [{**e, "time": 0} for e in outputs.get("earlier", [])]
    return {"stage": line["stage"], "round": line["round"], "inputs": line["inputs"], **outputs}


def hills(files: dict[str, bytes]) -> list[str]:
    """All hills of all rounds, one line each."""
    tables = [name for name in files if name.startswith("bias/") and name.endswith(".tsv")]
    lines = [line for name in tables for line in files[name].decode().splitlines()]
    return [line for line in lines if line.startswith("metad")]


def same(found: Ends, smooth: Ends, where: str) -> None:
    """Both ended alike; no label was lost, doubled, or computed twice; no hill either."""
    assert sorted(found.records) == sorted(smooth.records), where
    for task, record in smooth.records.items():
        assert found.records[task] == record, (where, task)
    assert found.files.keys() == smooth.files.keys(), where
    for name, content in smooth.files.items():
        assert found.files[name] == content, (where, name)
    assert found.paid == smooth.paid, where
    deposited = hills(found.files)
    assert deposited, where
    assert len(deposited) == len(set(deposited)), where
    assert len(found.maker) == 1, where


@dataclass
class Story:
    """A campaign to be killed.

    Attributes:
        campaign: with its fakes.
        place: where it works.
        smooth: how it ends without a kill.
        kills: how many there were.
    """

    campaign: FakeCampaign
    place: Path
    smooth: Ends
    kills: int = 0

    @property
    def records(self) -> int:
        journal = self.place / "run" / JOURNAL
        return journal.read_bytes().count(b"\n") if journal.is_file() else 0

    def start(self, dies_at: int | None, of: str = "", place: Path | None = None) -> bool:
        """Whether it came to its end; what it left says the rest."""
        with Deadly(dies_at=dies_at, of=of).under():
            try:
                self.campaign.run(place or self.place)
            except Killed:
                self.kills += 1
                return False
        return True

    def copy_ends_alike(self, where: str) -> None:
        """What a kill has left goes on to its end, as a copy."""
        copy = self.place.with_name("copy")
        shutil.copytree(self.place, copy, symlinks=True)
        assert self.start(None, place=copy)
        same(ends(copy), self.smooth, where)
        shutil.rmtree(copy)


def tell(name: str, folder: Path) -> Story:
    made = fake_campaign.make(folder / "campaign", **CAMPAIGNS[name])
    story = Story(made, folder / "killed", Ends({}, {}, Counter(), set()))
    assert story.start(None, place=folder / "smooth")
    story.smooth = ends(folder / "smooth")
    late = [task for task in story.smooth.records if task.startswith(LATE)]
    assert bool(late) == (name == LATE)
    return story


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_killed_at_each_record(name: str, tmp_path: Path) -> None:
    """What a kill within the line leaves also goes on to its end at once, as a copy.

    A kill before it leaves the same but for the half line, and one after it is the next record's.
    """
    story = tell(name, tmp_path)
    for number in range(len(story.smooth.records)):
        point = 0
        while story.records == number:
            point += 1
            assert not story.start(point, JOURNAL)
            if point == HALF:
                story.copy_ends_alike(f"half of record {number + 1}")
        assert point >= POINTS
    assert story.start(None)
    same(ends(story.place), story.smooth, "all of these kills")
    assert story.kills >= POINTS * len(story.smooth.records)


def test_killed_at_each_change(tmp_path: Path) -> None:
    """At the first change of the disk, then at the second … until a record is done; then anew."""
    story = tell("a walker breaks down", tmp_path)
    number, dies_at = 0, 1
    while not story.start(dies_at):
        done = story.records
        dies_at = dies_at + 1 if done == number else LOCKING + 1
        number = done
    same(ends(story.place), story.smooth, "a kill at each change")
    assert story.kills > 500
