"""A resume takes finished rounds from their records, and does what is left of the others."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from helpers.recorded import rewrite
from phasewalk.errors import PhasewalkError
from phasewalk.jobs import Job


@dataclass
class Stopped(FakeEngines):
    """Fake engines that are interrupted.

    Attributes:
        at: a job whose name begins so is not done: KeyboardInterrupt comes instead.
    """

    at: str = "\0"

    def __call__(self, job: Job) -> int:
        """Do it."""
        if job.name.startswith(self.at):
            raise KeyboardInterrupt
        return super().__call__(job)


@dataclass
class Campaign:
    """A campaign of several runs, in one folder; `lines` are what the last one has said."""

    folder: Path
    reports: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The campaign's directory."""
        return self.folder / "run"

    def run(self, rounds: int, after: str = "good", stop_at: str = "\0") -> list[str]:
        """Run up to a round; the names of the jobs that were done."""
        made = self._made(rounds, after, stop_at)
        self.reports = 0
        try:
            jobs = made.run(self.folder, self._report)
        except KeyboardInterrupt:
            assert stop_at != "\0"
            jobs = made.programs.done
        self.lines = made.watcher.lines
        return jobs

    def _made(self, rounds: int, after: str, stop_at: str) -> FakeCampaign:
        self.folder.mkdir(exist_ok=True)
        files = self.folder / f"files-{len(list(self.folder.iterdir()))}"
        more = f"policy: {{after_breakdown: {after}}}"
        return fake_campaign.make(
            files, rounds=rounds, walkers=3, bootstrap=8, more=more, programs=Stopped(at=stop_at)
        )

    def _report(self) -> None:
        self.reports += 1

    def records(self) -> list[dict[str, Any]]:
        """The journal as it is on disk."""
        return [json.loads(line) for line in (self.root / "journal.jsonl").read_text().splitlines()]

    def change(self, task: str, **values: Any) -> None:
        """Nothing but the record of one task becomes another."""
        rewrite(
            self.root, lambda found: [replace(r, **values) if r.task == task else r for r in found]
        )


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "campaign")


def test_finished_rounds_are_neither_replayed_nor_printed(campaign: Campaign) -> None:
    assert "segment of round 2" in campaign.run(2)
    first = campaign.records()
    assert any(line.startswith("NaCl-0: ") for line in campaign.lines)
    assert campaign.run(2) == []
    assert not any("NaCl-0" in line or "generation" in line for line in campaign.lines)
    assert campaign.records() == first


@pytest.mark.parametrize(("rounds", "reports"), [(1, 2), (3, 4)])
def test_the_report_is_written_once_after_each_round(
    campaign: Campaign, rounds: int, reports: int
) -> None:
    campaign.run(rounds)
    assert campaign.reports == reports  # and once after the bootstrap


def test_more_rounds_go_on_as_if_they_had_been_asked_for_at_once(
    campaign: Campaign, tmp_path: Path
) -> None:
    campaign.run(1)
    jobs = campaign.run(3, after="start")  # a policy may change: past rounds stay as they were
    assert sorted(name for name in jobs if "segment" in name) == [
        "segment of round 2",
        "segment of round 3",
    ]
    at_once = Campaign(tmp_path / "other")
    at_once.run(3)
    hashes = [
        {r["task"]: r["inputs"] for r in one.records() if r["stage"] in ("segment", "train")}
        for one in (campaign, at_once)
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 7


@pytest.mark.parametrize("stop_at", ["label", "train generation 2", "evaluate generation 2"])
def test_what_is_left_of_a_round_is_done(campaign: Campaign, stop_at: str) -> None:
    campaign.run(1)
    campaign.run(2, stop_at=stop_at)
    jobs = campaign.run(2)
    assert any(name.startswith(stop_at) for name in jobs)
    assert not any("round 1" in name or name.endswith("generation 1") for name in jobs)
    notes = ("settings", "end")  # the end of round 1 was one, and then is none
    tasks = [r["task"] for r in campaign.records() if r["stage"] not in notes]
    assert len(tasks) == len(set(tasks))


def test_an_evaluation_of_something_else_is_done_again(campaign: Campaign) -> None:
    campaign.run(2)
    task = "evaluate generation 1 on round 1"
    first = campaign.records()
    campaign.change(task, inputs="other")
    campaign.run(2)
    (before,), (_, after) = (
        [r["inputs"] for r in records if r["task"] == task]
        for records in (first, campaign.records())
    )
    assert after == before


def test_a_missing_label_of_a_finished_round_is_an_error(campaign: Campaign) -> None:
    campaign.run(1)
    label = next(r for r in campaign.records() if r["stage"] == "label" and r["round"] == 1)
    (campaign.root / f"labels/{label['outputs']['key']}.json").unlink()
    with pytest.raises(PhasewalkError, match="is missing, but the journal holds it"):
        campaign.run(1)


def test_a_generation_that_was_trained_on_others_is_an_error(campaign: Campaign) -> None:
    campaign.run(2)
    campaign.change("train generation 1", inputs="other")
    with pytest.raises(PhasewalkError, match="the input of train generation 1 has changed"):
        campaign.run(2)
