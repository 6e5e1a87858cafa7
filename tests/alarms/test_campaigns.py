"""The labels of a recorded campaign against frames that it has never seen."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from phasewalk.alarms import Trained, look, of_campaign
from phasewalk.errors import InputError

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/data/mil53_al.run"
ELEMENTS = ("Al", "C", "H", "O")
UNITS = "UNITS LENGTH=A ENERGY=kj/mol TIME=fs\n"


def covered(text: str | None = None, atoms: int = 38, generation: str = "final") -> Trained:
    return of_campaign(RECORDED, generation, ELEMENTS, 5.0, atoms=atoms, plumed_text=text)


def frames(name: str) -> list[Atoms]:
    """Without what is known of them."""
    read = ase.io.read(ROOT / "examples/mil53_al" / name, ":")
    return [
        Atoms(one.symbols, one.positions, cell=one.cell, pbc=True, info=one.info) for one in read
    ]


def test_frames_of_the_same_material_and_frames_with_broken_bonds() -> None:
    """docs/production.md has the numbers of another campaign.

    Walkers of this one have broken bonds, and were labelled: only its first generation has not
    seen the like.
    """
    first, last = covered(generation="0"), covered()
    path = frames("test.extxyz")
    assert sum(bool(look(atoms, last)[0]) for atoms in path) <= 1  # of 30, along the breathing path
    broken = [atoms for atoms in frames("wide.extxyz") if not atoms.info["intact"]]
    found = [max((a.times for a in look(atoms, first)[0]), default=0.0) for atoms in broken]
    assert len(found) == 12
    assert min(found) > 1.0
    whole = path[0].repeat((2, 1, 2))
    assert look(whole, first)[1] == pytest.approx(np.tile(look(path[0], first)[1], 4))


def test_a_generation_is_compared_with_its_own_labels() -> None:
    first, last = covered(generation="0"), covered()
    assert (first.about["labels"], last.about["labels"]) == (32, 48)
    with pytest.raises(InputError, match="generation 7: the campaign has no such training"):
        covered(generation="7")


def test_ranges_of_variables_with_the_same_definition() -> None:
    volume = covered(f"{UNITS}volume: VOLUME\n").variables["volume"]
    assert 480 < volume[0] < 560 < 700 < volume[1] < 950
    eight = covered(f"{UNITS}volume: VOLUME\n", atoms=8 * 38).variables["volume"]
    assert eight == pytest.approx([8 * end for end in volume])
    assert covered("volume: VOLUME\n").variables == {}  # in nm³
    assert covered(f"{UNITS}volume: CELL\n").variables == {}
    assert covered(f"{UNITS}other: VOLUME\n").variables == {}
