"""Campaigns with fake engines in which labels take their time, fail, or are outliers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from phasewalk.jobs import Finished, Job, Started

LONG, SHORT, OTHER = 60.0, 1.0, 4.0


@dataclass
class Slow(FakeEngines):
    """Fake engines whose labels take their time.

    Attributes:
        slow: keys of the labels that take long.
        long: their seconds.
        fails: keys of the labels whose program fails.
        shifts: keys of labels → what is added to their energies, eV.
        stop_at: at the end of a job whose name begins so, or has a label's key, comes
            KeyboardInterrupt.
    """

    slow: frozenset[str] = frozenset()
    long: float = LONG
    fails: frozenset[str] = frozenset()
    shifts: Mapping[str, float] = field(default_factory=dict)
    stop_at: str = "\0"

    def takes(self, job: Job) -> float:
        """Seconds of a job."""
        if job.kind != "label":
            return OTHER
        return self.long if job.directory.name in self.slow else SHORT

    def __call__(self, job: Job) -> int:
        """Do it."""
        if job.name.startswith(self.stop_at):
            raise KeyboardInterrupt
        if job.directory.name in self.fails:
            self.done.append(job.name)
            return 1
        code = super().__call__(job)
        if job.directory.name in self.shifts:
            path = job.directory / "result.json"
            result = json.loads(path.read_text())
            result["energy_eV"] += self.shifts[job.directory.name]
            path.write_text(json.dumps(result))
        return code


@dataclass
class Story:
    """A campaign of several runs in one folder."""

    folder: Path
    slow: frozenset[str] = frozenset()
    long: float = LONG
    fails: frozenset[str] = frozenset()
    factor: str = "3"
    shifts: Mapping[str, float] = field(default_factory=dict)
    breaks: Mapping[str, int] = field(default_factory=dict)
    policy: str = ""
    final: str = "null"
    last: FakeCampaign | None = field(default=None)
    runs: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "run"

    def run(self, rounds: int = 2, stop_at: str = "\0", cores: int = 4) -> list[str]:
        """Run it up to a round; names of the jobs that were done."""
        self.runs += 1
        self.folder.mkdir(exist_ok=True)
        programs = Slow(slow=self.slow, long=self.long, fails=self.fails, stop_at=stop_at)
        programs.shifts, programs.breaks = self.shifts, self.breaks
        made = fake_campaign.make(
            self.folder / f"files-{self.runs}",
            rounds=rounds,
            walkers=4,
            bootstrap=5,
            steps=60,
            final=self.final,
            more=f"reference: {{late_factor: {self.factor}}}\ncandidates: {{tries_apart_fs: 10}}\n"
            f"policy: {{{self.policy}}}",
            programs=programs,
        )
        made.takes, made.cores = programs.takes, cores
        self.last = made
        try:
            return made.run(self.folder)
        except KeyboardInterrupt:
            assert stop_at != "\0"
            return made.programs.done

    def records(self) -> dict[str, dict[str, Any]]:
        lines = (self.root / "journal.jsonl").read_text().splitlines()
        return {one["task"]: one for one in map(json.loads, lines)}

    def events(self) -> list[str]:
        """What has begun and ended in the last run."""
        assert self.last is not None
        words = {Started: "begins", Finished: "ends"}
        told = [(words.get(type(e)), e.job) for e in self.last.watcher.events]
        return [f"{job.name} {word}" for word, job in told if word]

    def made(self) -> dict[str, bytes]:
        """Its models and labels, and all hills."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for name in ("labels", "models", "bias")
            for path in sorted((self.root / name).rglob("*"))
            if path.is_file() and not path.name.endswith(".part")
        }

    def trained(self, name: object) -> int:
        outputs = self.records()[f"train generation {name}"]["outputs"]
        return int(outputs["training_labels"]) + int(outputs["validation_labels"])


def labels(story: Story, round_: int) -> dict[str, str]:
    """Walker → key of its label in a round."""
    return {
        r["outputs"]["origin"]["walker"]: r["outputs"]["key"]
        for r in story.records().values()
        if r["stage"] == "label" and r["round"] == round_ and "failed" not in r["outputs"]
    }
