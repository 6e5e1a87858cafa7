"""Labels: their content address, what makes them believable, their file, their job."""

import contextlib
import dataclasses
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.fakes import LEVEL, crystal, label
from phasewalk.errors import InputError, ParseError
from phasewalk.labels import label as labels

HERE = Path("labels/x.json")


def bits(values: Any) -> bytes:
    flat = np.asarray(values, dtype=float).ravel()
    return struct.pack(f"<{flat.size}d", *flat)


def test_the_address_depends_on_frame_and_level() -> None:
    moved = crystal()
    moved.positions[0, 0] += 1e-12
    keys = [
        labels.label_key(crystal(), LEVEL),
        labels.label_key(moved, LEVEL),
        labels.label_key(crystal(), LEVEL.at(8)),
    ]
    assert len(set(keys)) == 3
    assert labels.label_key(crystal(), LEVEL) == keys[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"energy": math.nan}, "not finite"),
        ({"forces": np.full((8, 3), math.inf)}, "not finite"),
        ({"stress": np.array([0, 0, 0, 0, 0, math.nan])}, "not finite"),
        ({"forces": np.zeros((7, 3))}, r"\(7, 3\).* do not match 8 atoms"),
        ({"stress": np.zeros((3, 3))}, "do not match"),
        (
            {"forces": np.full((8, 3), 0.1)},
            r"net force 1\.39 eV/Å exceeds 1\.13 \(0\.4 × √8, reference\.max_net",
        ),
        ({"forces": np.full((8, 3), -30.5)}, r"30\.5 eV/Å exceeds 30 \(reference\.max_force"),
    ],
)
def test_what_must_not_be_believed(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        labels.check(label(**change), max_force=30.0, max_net_force=0.4)


def test_what_may_be_believed() -> None:
    forces = np.array([[29.9, -29.9, 0.1]] * 4 + [[-29.9, 29.9, 0.0]] * 4)
    labels.check(label(forces=forces), max_force=30.0, max_net_force=0.4)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    numbers, st.lists(numbers, min_size=24, max_size=24), st.lists(numbers, min_size=6, max_size=6)
)
def test_a_file_keeps_every_bit(energy: float, forces: list[float], stress: list[float]) -> None:
    atoms = crystal()
    atoms.positions = np.array(forces).reshape(8, 3)[::-1]
    made = label(
        atoms,
        energy=energy,
        forces=np.array(forces).reshape(8, 3),
        stress=np.array(stress),
    )
    found = labels.from_json(labels.to_json(made), HERE)
    for name in ("energy", "forces", "stress", "seconds"):
        assert bits(getattr(found, name)) == bits(getattr(made, name))
    assert bits(found.atoms.positions) == bits(atoms.positions)
    assert labels.label_key(found.atoms, LEVEL) == made.key
    assert (found.key, found.level, found.origin) == (made.key, made.level, made.origin)


TEXT = labels.to_json(label())


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(TEXT)
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "\0\0\0",
        TEXT[:-1],
        TEXT[: len(TEXT) // 2],
        edited(lambda d: d.pop("stress_eV_per_A3")),
        edited(lambda d: d.update(forces_eV_per_A=[[1, 2], [3]])),
        edited(lambda d: d.update(forces_eV_per_A="many")),
        edited(lambda d: d.update(energy_eV=None)),
        edited(lambda d: d.update(frame=[])),
        edited(lambda d: d["frame"].pop("cell_A")),
        edited(lambda d: d["frame"].update(positions_A=[[0, 0, 0]])),
        edited(lambda d: d["frame"].update(numbers=["Na"] * 8)),
    ],
)
def test_a_corrupt_file_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError, match=r"^labels/x\.json: not a label") as caught:
        labels.from_json(text, HERE)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_no_damage_gives_another_exception(data: st.DataObject) -> None:
    """Any one value of the file replaced by any JSON."""
    content: Any = json.loads(TEXT)
    group, key = content, data.draw(st.sampled_from(sorted(content)))
    if key == "frame":
        group, key = content["frame"], data.draw(st.sampled_from(sorted(content["frame"])))
    group[key] = data.draw(
        st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=3)
        | st.lists(st.integers() | st.lists(numbers, max_size=3), max_size=8)
        | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
    )  # fmt: skip
    with contextlib.suppress(InputError):
        labels.from_json(json.dumps(content), HERE)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(2, 12))
def test_the_split_never_moves_a_label(count: int, more: int, every: int) -> None:
    before, after = labels.split(count, every), labels.split(count + more, every)
    assert after[:count] == before
    assert sum(after) - (count + more) // every in (0, 1)


def test_the_split_by_hand() -> None:
    assert labels.split(6, 3) == [False, False, True, False, False, True]
    assert labels.split(6, 2) == [False, True, True, False, False, True]


def test_no_walker_is_always_the_one_for_validation() -> None:
    chosen = [index % 4 for index, held in enumerate(labels.split(64, 8)) if held]
    assert set(chosen) == {0, 1, 2, 3}


def test_the_text_for_a_training_is_that_of_the_label() -> None:
    first = label()
    other = dataclasses.replace(first, energy=first.energy + 1.0)
    assert f"energy={first.energy!r}" in first.training_text
    assert f"energy={other.energy!r}" in other.training_text


def test_labels_of_two_levels_never_train_one_model() -> None:
    other = label(at=LEVEL.at(8))
    with pytest.raises(InputError, match="two levels of theory"):
        labels.same_level([label(), other])
    with pytest.raises(InputError, match="2 methods"):
        labels.same_level([label(), label(at=dataclasses.replace(LEVEL, version="tblite 9"))])
    labels.same_level([label(), label()])


def test_a_label_as_ase_writes_it() -> None:
    made = label()
    atoms = made.with_results()
    assert atoms.get_potential_energy() == made.energy
    assert bits(atoms.get_forces()) == bits(made.forces)
    assert bits(atoms.get_stress()) == bits(made.stress)
    assert atoms.info["key"] == made.key
    assert atoms.info["system"] == "salt"
    assert made.atoms.calc is None
