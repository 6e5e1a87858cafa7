"""A resume takes finished rounds from their records, and does what is left of the others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.fake_engines import FakeLauncher
from helpers.fakes import write_campaign
from helpers.recorded import rewrite
from phasewalk.commands import cli
from phasewalk.engines.local import LocalLauncher
from phasewalk.report import page as report

CAMPAIGN = """\
campaign: tiny
rounds: {rounds}
systems:
  salt:
    structure: salt.extxyz
    walkers: 3
    ensemble: npt
    plumed: |
      vol: VOLUME
      metad: METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=10
      PRINT ARG=vol,metad.bias STRIDE=10 FILE=COLVAR
segment: {{steps: 20, dump_every_steps: 20, thermo_every_steps: 20}}
bootstrap: {{count: 8}}
validation_every: 4
policy: {{after_breakdown: {after}}}
reference: {{share: false, isolated_atoms: false}}
resources: {{walkers_per_core: 50}}
model: {{preset: tiny, r_max_A: 4.0, max_force_error_ratio: null, final: null}}
deploy: {{mode: torchscript, device: cpu}}
engines: {{plugin: {plugin}}}
"""


class Campaign:
    """A campaign over fake engines, in one folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.root, self.monkeypatch = folder, folder / "run", monkeypatch
        plugin = folder / "plugin/fake.so"
        plugin.parent.mkdir()
        plugin.touch()
        plugin.with_name("phasewalk_stamp.json").write_text('{"torch": 0, "lammps": 0}')
        self.plugin = json.dumps(str(plugin))
        write_campaign(folder)
        monkeypatch.setenv("PHASEWALK_CACHE", str(folder / "cache"))
        monkeypatch.setattr(report, "page", lambda found, sign=None: "<html></html>")

    def run(self, rounds: int, after: str = "good", stop_at: str = "\0") -> list[str]:
        """`phasewalk run`; the names of the jobs that it has started."""
        text = CAMPAIGN.format(rounds=rounds, after=after, plugin=self.plugin)
        (self.folder / "campaign.yaml").write_text(text)
        fake = FakeLauncher(stop_at=stop_at)
        self.monkeypatch.setattr(LocalLauncher, "submit", lambda _, jobs: fake.submit(jobs))
        file = str(self.folder / "campaign.yaml")
        try:
            cli.app(["run", file, "--dir", str(self.root)], standalone_mode=False)
        except cli.Interrupted:
            assert stop_at != "\0"
        return [name for name, _, _ in fake.marks if not name.startswith("plumed")]

    def records(self) -> list[dict[str, Any]]:
        """The journal as it is on disk."""
        return [json.loads(line) for line in (self.root / "journal.jsonl").read_text().splitlines()]

    def change(self, stage: str, **values: Any) -> None:
        """Nothing but the inputs of one kind of record become others."""
        rewrite(
            self.root, lambda found: [replace(r, **values) if r.task == stage else r for r in found]
        )


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    return Campaign(tmp_path, monkeypatch)


def test_finished_rounds_are_neither_replayed_nor_printed(
    campaign: Campaign, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "segment of round 2" in campaign.run(2)
    first, page = campaign.records(), campaign.root / "report.html"
    written = page.stat().st_mtime_ns
    capsys.readouterr()
    assert campaign.run(2) == []
    printed = capsys.readouterr().out
    assert "salt-0" not in printed
    assert "generation" not in printed.split("campaign finished")[0]
    assert campaign.records() == first
    assert page.stat().st_mtime_ns == written  # nothing has come since


def test_more_rounds_go_on_as_if_they_had_been_asked_for_at_once(
    campaign: Campaign, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign.run(1)
    jobs = campaign.run(3, after="start")  # a policy may change: past rounds stay as they were
    assert sorted(name for name in jobs if "segment" in name) == [
        "segment of round 2",
        "segment of round 3",
    ]
    at_once = Campaign(tmp_path_factory.mktemp("other"), monkeypatch)
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
    tasks = [r["task"] for r in campaign.records() if r["stage"] != "settings"]
    assert len(tasks) == len(set(tasks))


def test_an_evaluation_that_is_of_something_else_is_done_again(campaign: Campaign) -> None:
    campaign.run(2)
    campaign.change("evaluate generation 1 on round 1", inputs="other")
    assert campaign.run(2) == ["evaluate generation 1 on round 1"]


def test_a_missing_label_of_a_finished_round_is_told(campaign: Campaign) -> None:
    campaign.run(1)
    label = next(r for r in campaign.records() if r["stage"] == "label" and r["round"] == 1)
    (campaign.root / f"labels/{label['outputs']['key']}.json").unlink()
    with pytest.raises(cli.PhasewalkError, match="is missing, but the journal holds it"):
        campaign.run(1)


def test_a_generation_that_was_trained_on_others_is_told(campaign: Campaign) -> None:
    campaign.run(2)
    campaign.change("train generation 1", inputs="other")
    with pytest.raises(cli.PhasewalkError, match="train generation 1 was made from something else"):
        campaign.run(2)
