"""A campaign that an earlier version began keeps its network when defaults change."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.fakes import write_campaign
from phasewalk.campaign import begun, inputs
from phasewalk.campaign.begun import as_begun
from phasewalk.campaign.config import parse
from phasewalk.models import ModelSettings

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
    found = as_begun(settings, {"model": identity}).model
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
    from phasewalk.store import open_campaign

    open_campaign(root, earlier.identity()).close()
    now = begun.in_directory(campaign, root)
    assert now.settings.model.zbl is False
    open_campaign(root, now.identity()).close()  # no difference
