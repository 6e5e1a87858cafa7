"""Real campaigns that end by each rule of `stop:`, and one for each rule that nearly does.

One campaign of one round is the start of all: each test asks a copy of it for a second round, under
a rule that its first round has met, or just not.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.campaigns import PHASEWALK, TinyCampaign, make
from phasewalk import Campaign
from phasewalk.campaign import stop as stopping
from phasewalk.status import summary
from phasewalk.store import ledger
from phasewalk.store.directory import read_campaign
from phasewalk.store.records import at_end

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


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> TinyCampaign:
    """One round of two walkers, and no rule yet."""
    campaign = make(tmp_path_factory.mktemp("stop") / "begun", ["NaCl"], rounds=1)
    run(campaign)
    return campaign


@pytest.fixture
def ask(
    begun: TinyCampaign, tmp_path: Path
) -> Callable[[dict[str, Any]], tuple[str, TinyCampaign]]:
    """Ask a copy of the campaign for a second round, under these rules."""

    def second(stop: dict[str, Any]) -> tuple[str, TinyCampaign]:
        folder = tmp_path / "copy"
        shutil.copytree(begun.folder, folder, symlinks=True)
        campaign = replace(begun, folder=folder, file=folder / "campaign.yaml", root=folder / "run")
        text = campaign.file.read_text().replace("rounds: 1", "rounds: 2")
        campaign.file.write_text(f"{text}\nstop: {json.dumps(stop)}\n")
        return run(campaign), campaign

    return second


def numbers(begun: TinyCampaign) -> dict[str, float]:
    """What the rules look at after round 1."""
    records = [r for r in read_campaign(begun.root).records() if not at_end(r)]
    state = summary.collect(begun.root)
    volumes = sorted(stopping.positions(records, "vol", system=None, round_=1))
    return {
        "force": state["rounds"][1]["before_learning"]["force_mae_meV_per_A"],
        "low": volumes[0],
        "high": volumes[-1],
        "labels": state["labels"]["done"],
        "core_hours": sum(ledger.costs(records, "")["core_hours"].values()),
        "wall_hours": ledger.timeline(records)["wall_seconds"] / 3600.0,
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_model_is_an_ase_calculator(begun: TinyCampaign) -> None:
    """It says what LAMMPS said of the same frames."""
    campaign = Campaign(begun.root)
    table = campaign.errors
    said = table[(table.generation == "1") & table.learned].set_index("key")
    calculator = campaign.calculator(1)
    frames = [atoms for atoms in campaign.labels if atoms.info["key"] in said.index]
    assert len(frames) == 2
    for atoms in frames:
        wanted = said.model_energy_eV_per_atom[atoms.info["key"]]
        atoms.calc = calculator
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(wanted, abs=1e-5)


RULES: dict[str, Callable[[dict[str, float], bool], dict[str, Any]]] = {
    "errors": lambda n, met: {
        "errors": {"rounds": 1, "force_mae_meV_per_A": n["force"] * (1.001 if met else 0.999)}
    },
    "covered": lambda n, met: {
        "covered": [{
            "colvar": "vol", "bins": 1, "frames": 2,
            "min": n["low"] - 1e-6, "max": n["high"] + (1e-6 if met else -1e-6),
        }]
    },
    "max_labels": lambda n, met: {"max_labels": int(n["labels"]) + (1 if met else 2)},
    "max_core_hours": lambda n, met: {"max_core_hours": n["core_hours"] * (0.999 if met else 1.5)},
    "max_wall_hours": lambda n, met: {"max_wall_hours": n["wall_hours"] * (0.999 if met else 3.0)},
    "free_energy": lambda n, met: {
        "free_energy": {"max_difference_kJ_per_mol": 1e6 if met else 1e-9, "segments": 3,
                        "min_shared": 0.01}
    },
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_met_ends_the_campaign(
    rule: str, begun: TinyCampaign, ask: Callable[..., Any]
) -> None:
    said, campaign = ask(RULES[rule](numbers(begun), True))
    state = summary.collect(campaign.root)
    (key,) = state["stop"]["ended_by"]
    assert key.startswith(f"stop.{rule}")
    assert state["finished"]
    assert f"the campaign ends after round 1 by {key}" in said
    assert campaign.done("segment") == 1
    page = (campaign.root / "report.html").read_text()
    assert key in page
    budget = rule.startswith("max_")
    word = page.split('class="word">')[1].partition("<")[0]
    assert word == ("not converged" if budget else "converged")


@pytest.mark.parametrize(
    "rule",
    ["errors", "max_labels", *(pytest.param(r, marks=pytest.mark.long) for r in RULES
                               if r not in ("errors", "max_labels"))],
)  # fmt: skip
def test_a_rule_that_is_nearly_met_does_not(
    rule: str, begun: TinyCampaign, ask: Callable[..., Any]
) -> None:
    said, campaign = ask(RULES[rule](numbers(begun), False))
    assert campaign.done("segment") == 2
    assert f"stop.{rule}" in said
    first = [r for r in campaign.records() if r["task"] == "stop rules after round 1"][-1]
    assert first["outputs"]["ended_by"] == []
    assert "ends after round 1" not in said


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
