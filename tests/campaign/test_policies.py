"""Limits on errors that a campaign of an earlier version did not have stay off in it."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.fakes import crystal, write_campaign
from helpers.outputs import whole
from phasewalk.campaign import inputs, policies
from phasewalk.store import directory
from phasewalk.store.records import Record
from phasewalk.walkers import PolicySettings

TEXT = """\
campaign: salt
systems:
  salt: {structure: salt.extxyz, walkers: 1}
policy: {after_breakdown: start%s}
"""
ENERGY = "max_energy_error_meV_per_atom"


@pytest.mark.parametrize(
    ("outputs", "more", "limit"),
    [
        (None, "", 20.0),  # no segment was walked yet
        ({}, "", None),  # by a version without this limit
        ({}, f", {ENERGY}: 25", 25.0),  # which its settings ask for since
        ({}, f", {ENERGY}: 20", 20.0),
        ({"limits": PolicySettings().limits()}, "", 20.0),
        ({"limits": PolicySettings().limits()}, f", {ENERGY}: null", None),
    ],
)
def test_old_campaigns_go_on_as_they_were(
    tmp_path: Path, outputs: dict[str, Any] | None, more: str, limit: float | None
) -> None:
    campaign = inputs.load(write_campaign(tmp_path, TEXT % more, {"salt": crystal()}))
    with closing(directory.open_campaign(tmp_path / "run", campaign.identity())) as store:
        if outputs is not None:
            made = {"walkers": [], **outputs}
            store.append(whole(Record("segment 1", "segment", 1, "", made, 1.0, 0.0)))
        policy = policies.as_begun(campaign, store).settings.policy
    assert policy.max_energy_error_meV_per_atom == limit
    assert (policy.after_breakdown, policy.max_force_error_ratio) == ("start", 1.0)
