"""A campaign that an earlier version began goes on as it was when defaults change."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.fakes import write_campaign
from helpers.outputs import whole
from phasewalk.campaign import begun, guards, inputs
from phasewalk.campaign.begun import as_begun
from phasewalk.campaign.config import parse
from phasewalk.models import ModelSettings
from phasewalk.status import history
from phasewalk.store import SETTINGS, open_campaign
from phasewalk.store.records import Record
from phasewalk.walkers import PolicySettings

TEXT = """\
campaign: salt
systems:
  salt: {structure: salt.extxyz}
model: {MODEL}
"""
OLD = "small, r_max 4 Å, float32, zbl "


@pytest.mark.parametrize(
    ("identity", "model", "zbl", "fraction"),
    [
        (OLD + "False", "", False, 0.8),
        (OLD + "True", "zbl: true", True, None),
        (OLD + "True", "", True, None),
        (OLD + "False", "zbl: true", True, 0.8),  # a change, which is refused
        (OLD + "True", "zbl_range_fraction: 0.7", True, 0.7),  # likewise
        (OLD + "True within 0.8 covalent radii", "", True, 0.8),
        ("", "", True, 0.8),
    ],
)
def test_the_repulsion_of_the_start(
    identity: str, model: str, zbl: bool, fraction: float | None
) -> None:
    settings = parse(TEXT.replace("{MODEL}", f"{{{model}}}"), "c.yaml")
    found = as_begun(settings, {"model": identity}, None).model
    assert (found.zbl, found.zbl_range_fraction) == (zbl, fraction)
    assert found.model_fields_set == settings.model.model_fields_set | {
        key
        for key in ("zbl", "zbl_range_fraction")
        if getattr(found, key) != getattr(settings.model, key)
    }


def test_words_of_earlier_versions_are_kept() -> None:
    full, none = ModelSettings(zbl_range_fraction=None), ModelSettings(zbl=False)
    assert begun.network_in_words(full) == OLD + "True"
    assert begun.network_in_words(none) == OLD + "False"
    assert begun.network_in_words(ModelSettings()) == OLD + "True within 0.8 covalent radii"


def test_a_campaign_in_its_directory(tmp_path: Path) -> None:
    campaign = inputs.load(write_campaign(tmp_path, TEXT.replace("{MODEL}", "{}")))
    root = tmp_path / "run"
    assert begun.in_directory(campaign, root) == campaign
    model = campaign.settings.model.model_copy(update={"zbl": False})
    earlier = replace(campaign, settings=campaign.settings.model_copy(update={"model": model}))
    open_campaign(root, earlier.identity()).close()
    now = begun.in_directory(campaign, root)
    assert now.settings.model.zbl is False
    open_campaign(root, now.identity()).close()  # no difference


@pytest.mark.parametrize(
    ("outputs", "more", "guarded"),
    [
        (None, "", True),  # no segment was walked yet
        ({}, "", False),  # by a version without a guard
        ({}, ", bonds: auto", True),  # which its settings ask for since
        ({"guarded": ["salt"]}, "", True),
        ({"guarded": []}, "", True),  # they were free, and are no more
        ({"guarded": ["salt"]}, ", bonds: free", False),
    ],
)
def test_bonds_stay_unguarded(
    tmp_path: Path, outputs: dict[str, Any] | None, more: str, guarded: bool
) -> None:
    text = TEXT.replace("{MODEL}", "{}").replace("salt.extxyz", "salt.extxyz" + more)
    assert bool(guards.of(resumed(tmp_path, text, outputs))) is guarded


ENERGY = "max_energy_error_meV_per_atom"
LIMITS = PolicySettings().limits()


@pytest.mark.parametrize(
    ("outputs", "more", "limit"),
    [
        (None, "", 20.0),  # no segment was walked yet
        ({}, "", None),  # by a version without this limit
        ({}, f", {ENERGY}: 25", 25.0),  # which its settings ask for since
        ({}, f", {ENERGY}: 20", 20.0),
        ({"limits": LIMITS}, "", 20.0),
        ({"limits": LIMITS}, f", {ENERGY}: null", None),
    ],
)
def test_walkers_are_not_reset_by_limits_of_later_versions(
    tmp_path: Path, outputs: dict[str, Any] | None, more: str, limit: float | None
) -> None:
    text = TEXT.replace("{MODEL}", f"{{}}\npolicy: {{after_breakdown: start{more}}}")
    policy = resumed(tmp_path, text, outputs).settings.policy
    assert policy.max_energy_error_meV_per_atom == limit
    assert (policy.after_breakdown, policy.max_force_error_ratio) == ("start", 1.0)


@pytest.mark.parametrize(
    ("outputs", "more", "optimizer", "rate"),
    [
        (None, "", "muon", 0.05),  # nothing was trained yet
        ({}, "", "adam", 0.01),  # by a version without Muon
        ({}, "optimizer: muon", "muon", 0.05),  # which its settings ask for since
        ({}, "warm: {epochs: 9, learning_rate: 0.3}", "adam", 0.3),
        ({"optimizer": "muon"}, "", "muon", 0.05),
        ({"optimizer": "muon"}, "optimizer: adam", "adam", 0.05),
    ],
)
def test_trainings_go_on_with_the_optimizer_of_the_first(
    tmp_path: Path, outputs: dict[str, Any] | None, more: str, optimizer: str, rate: float
) -> None:
    text = TEXT.replace("{MODEL}", f"{{{more}}}")
    found = resumed(tmp_path, text, outputs, task="train generation 0", stage="train")
    model = found.settings.model
    assert (model.optimizer, model.warm.learning_rate) == (optimizer, rate)


def resumed(
    folder: Path,
    text: str,
    outputs: dict[str, Any] | None,
    task: str = "segment 1",
    stage: str = "segment",
) -> inputs.Campaign:
    """The campaign as begun, with this record in its journal; report and run agree on it."""
    campaign = inputs.load(write_campaign(folder, text))
    with closing(open_campaign(folder / "run", campaign.identity())) as store:
        store.keep(SETTINGS, text.encode())
        if outputs is not None:
            made = {"walkers": [], **outputs}
            store.append(whole(Record(task, stage, 1, "", made, 1.0, 0.0)))
        found = begun.of(campaign, store)
    assert history.read(folder / "run").settings == found.settings
    return found
