"""What a thermostat or barostat cannot do is refused before anything is started."""

from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from phasewalk.campaign import inputs
from phasewalk.errors import InputError
from phasewalk.walkers.segment import SegmentSettings

CAMPAIGN = """
campaign: one
systems:
  one: {structure: one.extxyz, thermostat: %s}
reference: {xtb: {}}
"""


@pytest.mark.parametrize("thermostat", ["csvr", "nose-hoover"])
def test_one_atom_whose_centre_of_mass_is_at_rest(tmp_path: Path, thermostat: str) -> None:
    ase.io.write(tmp_path / "one.extxyz", bulk("Al", "fcc", a=4.05))
    file = tmp_path / "campaign.yaml"
    file.write_text(CAMPAIGN % thermostat)
    with pytest.raises(InputError, match=f"one atom.*{thermostat}.*write thermostat: langevin"):
        inputs.load(file)
    file.write_text(CAMPAIGN % "langevin")
    assert len(inputs.load(file).structures["one"]) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"thermostat_damping_fs": 4.0}, r"thermostat_damping_fs: 4 is less than 10.*at least 5"),
        ({"barostat_damping_fs": 20.0}, r"barostat_damping_fs: 20 is less than 50.*at least 25"),
        ({"timestep_fs": 10.0, "thermostat_damping_fs": 99.0}, "at least 100"),
    ],
)
def test_faster_than_the_integrator_can_follow(settings: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SegmentSettings.model_validate(settings)


@pytest.mark.parametrize(
    "settings", [{}, {"timestep_fs": 10.0}, {"timestep_fs": 2.0, "thermostat_damping_fs": 20.0}]
)
def test_what_is_slow_enough(settings: dict[str, float]) -> None:
    SegmentSettings.model_validate(settings)
