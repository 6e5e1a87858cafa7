"""`check` states the limits that reset walkers and keep labels out of training."""

from pathlib import Path

import pytest

from helpers.fakes import write_campaign
from helpers.walked import CAMPAIGN
from phasewalk.campaign import inputs
from phasewalk.checks import check

DEFAULT = (
    "a walker begins again at its start structure, without its hills of that round, if the "
    "model's error on its labelled frame exceeds 20 meV/atom in the energy (without the common "
    "offset) or 1 × the frame's rms force in the force RMSE; all labels are used for training"
)
OFF = "{max_energy_error_meV_per_atom: null, max_force_error_ratio: null}"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("{}", DEFAULT),
        (OFF, "errors of the model on its labelled frame never reset a walker; all labels are"),
        (
            "{max_energy_error_meV_per_atom: null, max_force_error_meV_per_A: 200}",
            "exceeds 200 meV/Å in the force RMSE or 1 × the frame's rms force",
        ),
        (
            "{hold_out: {force_error_meV_per_A: null}}",
            "; a label is not used for training if the error exceeds 30 meV/atom in the energy",
        ),
    ],
)
def test_the_limits_of_policy(tmp_path: Path, policy: str, told: str) -> None:
    campaign = inputs.load(write_campaign(tmp_path, f"{CAMPAIGN}policy: {policy}\n"))
    (row,) = check._resets(campaign)
    assert (row.what, row.state) == ("resets", "ok")
    assert told in row.found


def test_without_rounds_there_is_nothing_to_say(tmp_path: Path) -> None:
    campaign = inputs.load(write_campaign(tmp_path, f"{CAMPAIGN}rounds: 0\n"))
    assert list(check._resets(campaign)) == []
