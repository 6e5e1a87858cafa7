"""What is unlike the labels is found and named; what is like them is not."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from phasewalk.alarms import Trained, learn, look, read
from phasewalk.errors import InputError, ParseError

ELEMENTS = ("Cl", "Na", "H")


def salt(seed: int, displacement: float = 0.12) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += displacement * np.random.default_rng(seed).standard_normal((8, 3))
    return atoms


def trained(count: int = 40) -> Trained:
    frames = [salt(seed) for seed in range(count)]
    forces = [np.full((8, 3), 0.1 * (1 + seed)) for seed in range(count)]
    return learn(frames, forces, ELEMENTS, 5.0, variables={"volume": (170.0, 190.0)})


@pytest.fixture(scope="module")
def known() -> Trained:
    return trained()


def test_new_frames_of_the_same_distribution_raise_few_alarms(known: Trained) -> None:
    frames = [salt(seed) for seed in range(1000, 1200)]
    atoms = sum(int((look(frame, known)[1] > 1.0).sum()) for frame in frames)
    assert atoms <= 8  # of 1600
    whole = make_supercell(salt(3), np.diag([2, 2, 1]))  # of a label
    assert look(whole, known)[0] == []


def test_a_strange_atom_is_named(known: Trained) -> None:
    atoms = make_supercell(salt(5), np.diag([2, 2, 1]))
    atoms.positions[17] += (0.0, 0.9, 0.6)
    alarms, unlike = look(atoms, known)
    worst = max(alarms, key=lambda alarm: alarm.times if alarm.kind == "environment" else 0)
    assert (worst.kind, worst.what) == ("environment", atoms[17].symbol)
    assert worst.atoms[0] == 18  # as in the dump, from 1
    assert unlike.argmax() == 17
    assert worst.times == pytest.approx(unlike[17]) == pytest.approx(worst.value / worst.limit)
    assert f"environment {worst.what}, atom" in str(worst)


def test_an_element_that_no_label_has(known: Trained) -> None:
    atoms = salt(5)
    atoms.symbols[0] = "H"
    alarms, _ = look(atoms, known)
    (found,) = (one for one in alarms if one.what == "H")
    assert (found.atoms, found.times) == ((1,), np.inf)
    assert found.as_dict()["value"] is None  # JSON has no infinity


def test_contacts(known: Trained) -> None:
    assert known.closest_A == pytest.approx(known.closest_A.T)
    atoms = salt(5)
    limit = known.closest_A[0, 1]
    names = atoms.get_chemical_symbols()
    one = names.index("Cl")
    other = min(
        (n for n, name in enumerate(names) if name == "Na"),
        key=lambda n: atoms.get_distance(one, n, mic=True),
    )
    atoms.set_distance(one, other, limit + 0.01, fix=0, mic=True)
    assert [a for a in look(atoms, known)[0] if a.kind == "contact" and a.what == "Cl-Na"] == []
    atoms.set_distance(one, other, limit - 0.01, fix=0, mic=True)
    (found,) = (a for a in look(atoms, known)[0] if a.kind == "contact" and a.what == "Cl-Na")
    assert set(found.atoms) == {one + 1, other + 1}
    assert found.value == pytest.approx(limit - 0.01)


def test_forces_and_variables(known: Trained) -> None:
    atoms = salt(5)
    limit = 4.0 * np.sqrt(3.0)
    atoms.set_array("forces", np.zeros((8, 3)))
    atoms.arrays["forces"][3, 1] = -limit - 0.1
    values = {"volume": np.array([180.0, 191.0, 169.5]), "other": np.array([1e9])}
    force, variable = look(atoms, known, values)[0]
    assert (force.kind, force.atoms, force.limit) == ("force", (4,), pytest.approx(limit))
    assert (variable.what, variable.value, variable.limit) == ("volume", 191.0, 190.0)
    assert variable.times == pytest.approx(1 + 1 / 20)
    atoms.arrays["forces"][3, 1] = limit - 0.1
    assert look(atoms, known, {"volume": np.array([170.0, 190.0])})[0] == []


def test_an_exploded_frame(known: Trained) -> None:
    atoms = salt(5)
    atoms.positions[2] = np.nan
    (alarm,), _ = look(atoms, known)
    assert (alarm.kind, alarm.atoms) == ("not finite", (3,))
    assert str(alarm) == "positions that are not finite, atom 3"


def test_written_and_read(known: Trained, tmp_path: Path) -> None:
    path = tmp_path / "trained.npz"
    known.write(path)
    again = read(path)
    for name, value in vars(known).items():
        if name[0] != "_":
            assert np.array_equal(getattr(again, name), value), name
    frame = salt(2000, 0.4)
    assert look(frame, again)[0] == look(frame, known)[0] != []
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ParseError, match=r"trained\.npz: cannot be read"):
        read(path)


def test_one_label_is_not_enough() -> None:
    with pytest.raises(InputError, match="two labels or more, not 1"):
        trained(1)
