"""The offset of a model's energies, from known frames, and the bonds of the labels."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from helpers.fakes import Watcher, crystal, label
from helpers.outputs import whole
from helpers.walked import CAMPAIGN, open_work
from phasewalk.campaign import Work
from phasewalk.generations import known
from phasewalk.labels import Label, split
from phasewalk.store.records import Record
from phasewalk.validation import Prediction


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    found = open_work(tmp_path, campaign=CAMPAIGN + "validation_every: 4\n")
    with closing(found.store):
        yield found


def labels_of(count: int, *, broken: Sequence[int] = (), **origin: Any) -> list[Label]:
    found = []
    for number in range(count):
        atoms = crystal()
        atoms.positions[0, 0] += 0.001 * number
        if number in broken:
            atoms.positions[1] = atoms.positions[0] + [1.9, 0, 0]
        made = {"system": "salt", "round": 0, "index": number, **origin}
        found.append(label(atoms, key=f"{number:02d}", origin=made))
    return found


def numbers(found: Sequence[Label]) -> list[int]:
    return [int(one.key) for one in found]


def predicted(one: Label, wrong_meV_per_atom: float) -> Prediction:
    """What a model says whose energy is wrong by this."""
    count = len(one.atoms)
    energy = one.energy + wrong_meV_per_atom * count / 1000.0
    return Prediction(energy, np.zeros(count), one.forces, one.stress)


def test_the_offset_is_that_of_intact_validation_labels(work: Work) -> None:
    everything = labels_of(24, broken=(9,))
    held_back = [n for n, one in enumerate(split(24, 4)) if one]
    found = known.to_compare(work, everything, everything[:1])
    assert numbers(found) == [n for n in held_back if n != 9]
    assert 9 in held_back


def test_with_few_validation_labels_training_labels_count_too(work: Work) -> None:
    everything = labels_of(9, broken=(2,))
    assert numbers(known.to_compare(work, everything, everything[:1])) == [0, 1, *range(3, 9)]
    assert known.to_compare(work, everything, []) == []
    assert known.to_compare(work, [], everything[:1]) == []


def test_only_the_last_ones_are_evaluated(work: Work) -> None:
    found = numbers(known.to_compare(work, labels_of(100), labels_of(1)))
    assert len(found) == known.MOST
    assert found[-1] > 95


def test_no_limit_on_energies_needs_no_offset(tmp_path: Path) -> None:
    made = open_work(tmp_path, "policy: {max_energy_error_meV_per_atom: null}\n")
    with closing(made.store):
        assert known.to_compare(made, labels_of(9), labels_of(1)) == []


def test_each_composition_has_its_own_offset(work: Work) -> None:
    other = label(crystal("KCl", 6.29), key="99", origin={})
    found = [*labels_of(3), other]
    errors = (12.0, 11.0, 250.0, -40.0)  # one of three is an outlier: the median is not moved
    pairs = [predicted(one, wrong) for one, wrong in zip(found, errors, strict=True)]
    offset = known.offsets(found, pairs)
    assert offset == {"ClNa": pytest.approx(12.0), "ClK": pytest.approx(-40.0)}
    (mine,) = known.energy_error(found[0], predicted(found[0], -35.0), offset).values()
    assert mine == pytest.approx(-47.0)
    assert known.energy_error(found[0], predicted(found[0], -35.0), {"ClK": 1.0}) == {}


def test_an_offset_that_drifts_is_no_error_of_a_walker(work: Work) -> None:
    """The same change of all energies, as from one generation to the next, changes no decision."""
    found = labels_of(4)
    for drift in (0.0, 300.0):
        offset = known.offsets(found[:3], [predicted(one, drift) for one in found[:3]])
        (error,) = known.energy_error(found[3], predicted(found[3], drift - 25.0), offset).values()
        assert error == pytest.approx(-25.0)


def test_labels_with_other_bonds_are_counted_once(work: Work) -> None:
    everything = labels_of(6, broken=(1, 5))
    first = known.bonds(work, everything[:4], None)
    assert first == {"bonds": {"labels": 4, "checked": 4, "changed": ["01"]}}
    name = "evaluate generation 0 on round 0"
    work.store.append(whole(Record(name, "evaluate", 0, "", first, 1.0, 0.0)))
    again = [*labels_of(4), *everything[4:]]  # the first four are not looked at again
    assert known.bonds(work, again, ("0", 0))["bonds"] == {
        "labels": 6,
        "checked": 6,
        "changed": ["01", "05"],
    }


def test_given_labels_are_checked_if_they_have_the_atoms_of_a_system(work: Work) -> None:
    broken = labels_of(2, broken=(1,))[1].atoms
    smaller: Atoms = crystal()[:2]
    given = [label(broken, key="a", origin={}), label(smaller, key="b", origin={})]
    found = known.bonds(work, given, None)["bonds"]
    assert found == {"labels": 2, "checked": 1, "changed": ["a"]}


def test_without_a_guard_nothing_is_checked(tmp_path: Path) -> None:
    made = open_work(tmp_path, campaign=CAMPAIGN.replace("{", "{bonds: free, ", 1))
    with closing(made.store):
        assert known.bonds(made, labels_of(2, broken=(1,)), None) == {}
        assert known.bond_change(made, labels_of(2, broken=(1,))[1]) is None


def test_what_is_held_out_is_recorded_even_if_it_is_nothing(tmp_path: Path) -> None:
    made = open_work(tmp_path, "policy: {hold_out: {}}\n")
    with closing(made.store):
        each = [
            {"walker": "salt-0", "key": "03", "force_error_ratio": 0.4,
             "force_rmse_meV_per_A": 300.0, "energy_error_meV_per_atom": -31.0},
            {"walker": "salt-1", "key": "04", "force_error_ratio": 0.4,
             "force_rmse_meV_per_A": 300.0, "energy_error_meV_per_atom": 29.0},
        ]  # fmt: skip
        known.hold_out(made, 1, {"each": []})
        assert made.store.find("labels of round 1 held out") is not None
        known.hold_out(made, 2, {"each": each})
        assert known.held_out(made.store) == {"03"}
        assert numbers(known.usable(made, labels_of(5, round=2))) == [0, 1, 2, 4]
        assert isinstance(made.observer, Watcher)
        assert made.observer.lines == [
            "salt-0: label not used for training: the model's energy of its frame was wrong by "
            "-31 meV/atom without the common offset (limit 30)"
        ]
