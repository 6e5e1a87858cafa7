"""Real campaigns that end by rules of `stop:`, or nearly; `test_stop_rules_fake.py` has all.

Each test asks a copy of a campaign of one round for a second one, under a rule that its first round
has met, or just not.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.campaigns import PHASEWALK, TinyCampaign, copied
from helpers.stop_rules import RULES, numbers
from phasewalk import Campaign
from phasewalk.status import summary

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
]


def run(campaign: TinyCampaign) -> str:
    done = subprocess.run(
        [*PHASEWALK, "run", str(campaign.file), "--dir", str(campaign.root)],
        capture_output=True, text=True, cwd=campaign.folder, env=campaign.env(), timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def ask(
    learned: TinyCampaign, tmp_path: Path
) -> Callable[[dict[str, Any]], tuple[str, TinyCampaign]]:
    """Ask a copy of the campaign for a second round, under these rules."""

    def second(stop: dict[str, Any]) -> tuple[str, TinyCampaign]:
        campaign = copied(learned, tmp_path / "copy")
        text = campaign.file.read_text().replace("rounds: 1", "rounds: 2")
        campaign.file.write_text(f"{text}\nstop: {json.dumps(stop)}\n")
        return run(campaign), campaign

    return second


def chosen(*rules: str, without: str = "") -> list[Any]:
    """All rules; but for these in `make test-long` alone."""
    marks = {rule: () if rule in rules else pytest.mark.long for rule in RULES}
    return [pytest.param(rule, marks=marks[rule]) for rule in RULES if rule != without]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_model_is_an_ase_calculator(learned: TinyCampaign) -> None:
    """It says what LAMMPS said of the same frames."""
    campaign = Campaign(learned.root)
    table = campaign.errors
    said = table[(table.generation == "1") & table.learned].set_index("key")
    calculator = campaign.calculator(1)
    frames = [atoms for atoms in campaign.labels if atoms.info["key"] in said.index]
    assert len(frames) == 2
    for atoms in frames:
        wanted = said.model_energy_eV_per_atom[atoms.info["key"]]
        atoms.calc = calculator
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(wanted, abs=1e-5)


# A tiny campaign's walkers cross their range too seldom for a free energy with an error.
@pytest.mark.parametrize("rule", chosen("errors", "max_labels", without="free_energy"))
def test_a_rule_that_is_met_ends_the_campaign(
    rule: str, learned: TinyCampaign, ask: Callable[..., Any]
) -> None:
    said, campaign = ask(RULES[rule](numbers(learned.root), True))
    state = summary.collect(campaign.root)
    (key,) = state["stop"]["ended_by"]
    assert key.startswith(f"stop.{rule}")
    assert state["finished"]
    assert f"the campaign ends after round 1: {key}" in said
    assert campaign.done("segment") == 1
    page = (campaign.root / "report.html").read_text()
    assert key in page
    budget = rule.startswith("max_")
    word = page.split('class="word">')[1].partition("<")[0]
    assert word == ("not converged" if budget else "converged")


@pytest.mark.parametrize("rule", chosen("errors"))
def test_a_rule_that_is_nearly_met_does_not(
    rule: str, learned: TinyCampaign, ask: Callable[..., Any]
) -> None:
    said, campaign = ask(RULES[rule](numbers(learned.root), False))
    assert campaign.done("segment") == 2
    assert f"stop.{rule}" in said
    first = [r for r in campaign.records() if r["task"] == "stop rules after round 1"][-1]
    assert first["outputs"]["ended_by"] == []
    assert "ends after round 1" not in said


@pytest.mark.long
def test_a_rule_that_is_loosened_lets_it_go_on(ask: Callable[..., Any]) -> None:
    """The rules are judged anew by every run."""
    _, campaign = ask({"errors": {"rounds": 1, "force_mae_meV_per_A": 1e6}})
    assert campaign.done("segment") == 1
    before = (campaign.root / "journal.jsonl").read_text()
    run(campaign)
    assert (campaign.root / "journal.jsonl").read_text() == before  # nothing is done again
    text = campaign.file.read_text()
    campaign.file.write_text(text.replace("1000000.0", "0.001"))
    run(campaign)
    assert campaign.done("segment") == 2
