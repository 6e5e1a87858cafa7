"""Which bonds the systems of a campaign must keep."""

from dataclasses import replace
from pathlib import Path

import ase.io
import pytest
from ase import Atoms

from helpers.fakes import MIL53, crystal, label, write_campaign
from phasewalk.campaign import Campaign, guards, inputs
from phasewalk.errors import InputError

TEXT = """\
campaign: both
systems:
  mil: {structure: mil.extxyz, walkers: 1%s}
  salt: {structure: salt.extxyz, walkers: 1}
resources: {cores: 2}
"""


def both(folder: Path, more: str = "", atoms: Atoms | None = None) -> Campaign:
    mil = ase.io.read(MIL53) if atoms is None else atoms
    text = TEXT % more
    return inputs.load(write_campaign(folder, text, {"mil": mil, "salt": crystal()}))


def test_each_system_has_a_guard_unless_it_is_free(tmp_path: Path) -> None:
    found = guards.of(both(tmp_path))
    assert sum(found["mil"].counts().values()) == 46
    assert not found["salt"].bonds
    assert set(guards.of(both(tmp_path, ", bonds: free"))) == {"salt"}
    left_out = guards.of(both(tmp_path, ", bonds_left_out: [Al-O, 3]"))["mil"]
    assert ("Al", "O") not in left_out.counts()
    assert left_out.free == {2}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("[Si-O]", "systems.mil.bonds_left_out: 'Si-O': write a pair of the structure's elements"),
        ("[39]", "systems.mil.bonds_left_out: 39: the structure has atoms 1 to 38"),
        ("[0.5]", "systems.mil.bonds_left_out"),
    ],
)
def test_what_cannot_be_left_out(tmp_path: Path, entry: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        both(tmp_path, f", bonds_left_out: {entry}")


def test_in_words(tmp_path: Path) -> None:
    found = guards.of(both(tmp_path))
    assert guards.described(found["mil"]) == (
        "12 Al–O (1.90 to 1.99 Å), 16 C–C (1.38 to 1.51 Å), 8 C–H (1.08 Å), 8 C–O (1.25 Å), "
        "2 H–O (0.96 Å); a walker stops if one is longer than 1.5 × that, or a new one forms"
    )
    assert guards.described(found["salt"]) == (
        "no covalent bonds (a salt or a metal); a walker stops if pairs are closer than Cl–Na "
        "2.11 Å, Na–Na 2.66 Å; or if new bonds form"
    )


def test_given_labels_with_other_bonds_are_counted(tmp_path: Path) -> None:
    mil = ase.io.read(MIL53)
    broken = mil.copy()
    broken.positions[0] += [0, 0, 1.5]  # an aluminium atom out of its octahedron
    campaign = replace(
        both(tmp_path, ", bonds: free"),
        test_data=(label(mil), label(broken), label(crystal()), label(broken[::-1])),
    )
    assert guards.in_words(campaign)["mil"] == "free: they may change"
    guarded = replace(campaign, settings=both(tmp_path).settings)
    found = guards.in_words(guarded)
    assert found["mil"].endswith("; 1 of 2 frames of test_data have other bonds")
    assert "frames" not in found["salt"]
