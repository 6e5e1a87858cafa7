"""Campaigns of fake engines that end by each rule of `stop:`, and one for each that nearly does.

Each asks a copy of a campaign of one round for a second one, under a rule that its first round has
met, or just not. `test_stop_rules.py` asks real ones.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.stop_rules import RULES, numbers
from phasewalk.production import agree
from phasewalk.status import history, summary, verdict
from phasewalk.store.directory import JOURNAL, read_campaign

pytestmark = pytest.mark.slow

Ask = Callable[[dict[str, Any]], FakeCampaign]
Judgement = tuple[bool, list[str], str]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    """One round of two walkers, and no rule yet."""
    made = fake_campaign.make(tmp_path_factory.mktemp("stop") / "begun", steps=400)
    made.run()
    return made


@pytest.fixture
def ask(begun: FakeCampaign, tmp_path: Path) -> Ask:
    """Ask a copy of the campaign for a second round, under these rules."""

    def second(stop: dict[str, Any]) -> FakeCampaign:
        folder = tmp_path / "copy"
        shutil.copytree(begun.folder, folder, symlinks=True, dirs_exist_ok=True)
        text = (begun.folder / "campaign.yaml").read_text().replace("rounds: 1", "rounds: 2")
        (folder / "campaign.yaml").write_text(f"{text}\nstop: {json.dumps(stop)}\n")
        copy = FakeCampaign(folder, begun.programs)
        copy.run()
        return copy

    return second


def done(campaign: FakeCampaign, stage: str) -> int:
    return sum(record.stage == stage for record in read_campaign(campaign.root).records())


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_met_ends_the_campaign(
    rule: str, begun: FakeCampaign, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # fake walkers hardly cross their range, so their free energies have no error
    monkeypatch.setattr(agree, "_too_wide", lambda *_: [])
    campaign = ask(RULES[rule](numbers(begun.root), True))
    state = summary.collect(campaign.root)
    assert len(state["stop"]["ended_by"]) == 1, campaign.watcher.lines
    (key,) = state["stop"]["ended_by"]
    assert key.startswith(f"stop.{rule}")
    assert state["finished"]
    assert f"the campaign ends after round 1: {key}" in campaign.watcher.lines
    assert done(campaign, "segment") == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_nearly_met_does_not(rule: str, begun: FakeCampaign, ask: Ask) -> None:
    campaign = ask(RULES[rule](numbers(begun.root), False))
    assert done(campaign, "segment") == 2
    said = "\n".join(campaign.watcher.lines)
    assert f"stop.{rule}" in said
    assert "ends after round 1" not in said
    first = read_campaign(campaign.root).find("stop rules after round 1")
    assert first is not None
    assert first.outputs["ended_by"] == []


def test_free_energies_without_an_error_end_nothing(begun: FakeCampaign, ask: Ask) -> None:
    campaign = ask(RULES["free_energy"](numbers(begun.root), True))
    assert done(campaign, "segment") == 2
    (said, _) = [one for one in campaign.watcher.lines if one.startswith("stop.free_energy")]
    assert "not met yet" in said
    assert "too few, no error can be given yet (minimum 8)" in said


def test_a_rule_that_is_loosened_lets_it_go_on(ask: Ask) -> None:
    """The rules are judged anew by every run."""
    campaign = ask({"errors": {"rounds": 1, "force_mae_meV_per_A": 1e6}})
    assert done(campaign, "segment") == 1
    before = (campaign.root / JOURNAL).read_bytes()
    assert FakeCampaign(campaign.folder, campaign.programs).run() == []
    assert (campaign.root / JOURNAL).read_bytes() == before  # nothing is done again
    text = (campaign.folder / "campaign.yaml").read_text()
    (campaign.folder / "campaign.yaml").write_text(text.replace("1000000.0", "0.001"))
    FakeCampaign(campaign.folder, campaign.programs).run()
    assert done(campaign, "segment") == 2


def goes_on(campaign: FakeCampaign, old: str, new: str) -> Judgement:
    """Change its file and run it again; what is read after its first old round."""
    text = (campaign.folder / "campaign.yaml").read_text()
    assert old in text
    (campaign.folder / "campaign.yaml").write_text(text.replace(old, new))
    found: list[Judgement] = []

    def look() -> None:
        state = summary.collect(campaign.root)
        word = verdict.judge(history.read(campaign.root)).word
        found.append((state["finished"], state["stop"]["ended_by"], word))

    FakeCampaign(campaign.folder, campaign.programs).run(after_round=look)
    assert found[-1][0]
    return found[0]


def test_a_campaign_that_goes_on_is_not_called_finished(ask: Ask) -> None:
    """By a stricter goal, and by more rounds; from the first line that it prints."""
    campaign = ask({"errors": {"rounds": 1, "force_mae_meV_per_A": 1e6}})
    assert summary.collect(campaign.root)["finished"]
    finished, by, word = goes_on(campaign, "1000000.0", "0.001")
    assert (finished, by) == (False, [])
    assert word not in (verdict.CONVERGED, verdict.NOT_CONVERGED)
    finished, by, word = goes_on(campaign, "rounds: 2", "rounds: 3")
    assert (finished, by) == (False, [])
    assert word not in (verdict.CONVERGED, verdict.NOT_CONVERGED)
