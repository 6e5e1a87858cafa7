"""Labels: their content address, what makes them believable, their file, their job."""

import contextlib
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
from phasewalk import labels
from phasewalk.errors import EngineFailed, InputError, ParseError
from phasewalk.jobs import Finished, Job
from phasewalk.labels import Level, ReferenceSettings

HERE = Path("labels/x.json")


def bits(values: Any) -> bytes:
    flat = np.asarray(values, dtype=float).ravel()
    return struct.pack(f"<{flat.size}d", *flat)


def test_levels_differ_in_method_smearing_and_cell() -> None:
    levels = [
        LEVEL,
        Level("GFN1-xTB", 300.0, 8),
        Level("GFN1-xTB", 301.0, 4),
        Level("GFN2-xTB", 300.0, 4),
    ]
    assert len({level.key for level in levels}) == 4
    assert str(LEVEL) == "GFN1-xTB, Γ point of 4 primitive cell(s), 300 K electrons"


def test_a_level_comes_from_what_changes_numbers_and_from_nothing_else() -> None:
    patient = ReferenceSettings(max_iterations=500, timeout_s=9.0, cores_per_label=3)
    assert labels.level(patient, 4) == labels.level(ReferenceSettings(), 4) == LEVEL


def test_the_address_depends_on_frame_and_level() -> None:
    moved = crystal()
    moved.positions[0, 0] += 1e-12
    keys = [
        labels.label_key(crystal(), LEVEL),
        labels.label_key(moved, LEVEL),
        labels.label_key(crystal(), Level("GFN1-xTB", 300.0, 8)),
    ]
    assert len(set(keys)) == 3
    assert labels.label_key(crystal(), LEVEL) == keys[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"energy": math.nan}, "not finite"),
        ({"forces": np.full((8, 3), math.inf)}, "not finite"),
        ({"stress": np.array([0, 0, 0, 0, 0, math.nan])}, "not finite"),
        ({"forces": np.zeros((7, 3))}, r"\(7, 3\).* do not fit 8 atoms"),
        ({"stress": np.zeros((3, 3))}, "do not fit"),
        ({"forces": np.full((8, 3), -30.5)}, r"30\.5 eV/Å \(limit 30, reference\.max_force"),
    ],
)
def test_what_must_not_be_believed(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        labels.check(label(**change), 30.0)


def test_what_may_be_believed() -> None:
    labels.check(label(forces=np.full((8, 3), -29.9)), 30.0)


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


def finished(directory: Path, code: int | None, result: str | None) -> Finished:
    if result is not None:
        (directory / labels.RESULT).write_text(result)
    return Finished(Job("label x", ("reference",), directory, timeout_s=9.0), code, 1.0)


def read(directory: Path, code: int | None, result: str | None) -> labels.Label:
    return labels.read(
        finished(directory, code, result), crystal(), at=LEVEL, origin={"round": 3}, max_force=30.0
    )


def result(**changes: Any) -> str:
    made = label()
    return json.dumps(
        {
            "energy_eV": made.energy,
            "forces_eV_per_A": made.forces.tolist(),
            "stress_eV_per_A3": made.stress.tolist(),
            "seconds": 2.0,
            **changes,
        }
    )


def test_a_result_becomes_a_label(tmp_path: Path) -> None:
    found = read(tmp_path, 0, result())
    assert found.key == labels.label_key(crystal(), LEVEL)
    assert found.level == LEVEL.key
    assert found.origin == {"round": 3}
    assert found.forces.shape == (8, 3)


def test_a_failed_program_is_no_label_even_with_a_result(tmp_path: Path) -> None:
    (tmp_path / Finished.STDERR).write_text("SCF not converged\n")
    with pytest.raises(EngineFailed, match="label x ended with code 1: SCF not converged"):
        read(tmp_path, 1, result())
    with pytest.raises(EngineFailed, match="ran past its limit of 9 s"):
        read(tmp_path, None, result())


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", result(energy_eV="much")])
def test_a_result_that_is_none(tmp_path: Path, text: str | None) -> None:
    with pytest.raises(ParseError, match="not a result of the reference"):
        read(tmp_path, 0, text)


def test_a_result_that_is_not_believable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit 30"):
        read(tmp_path, 0, result(forces_eV_per_A=[[99.0, 0, 0]] * 8))


def test_the_job_runs_in_its_own_process_with_its_own_threads(tmp_path: Path) -> None:
    settings = ReferenceSettings(cores_per_label=2, timeout_s=7.0, max_iterations=9)
    job = labels.job("label x", crystal(), settings=settings, directory=tmp_path)
    assert job.argv[1:] == ("-m", "phasewalk.reference", "request.json", "result.json")
    assert (job.cores, job.timeout_s, job.env["OMP_NUM_THREADS"]) == (2, 7.0, "2")
    request = json.loads(job.inputs["request.json"])
    assert request["max_iterations"] == 9
    assert bits(request["frame"]["positions_A"]) == bits(crystal().positions)


def test_another_program_gets_the_same_two_names(tmp_path: Path) -> None:
    settings = ReferenceSettings(command=["my dft", "--x; rm"])
    job = labels.job("x", crystal(), settings=settings, directory=tmp_path)
    assert job.argv == ("my dft", "--x; rm", "request.json", "result.json")


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


def test_labels_of_two_levels_never_train_one_model() -> None:
    other = label(at=Level("GFN1-xTB", 300.0, 8))
    with pytest.raises(InputError, match="two levels of theory"):
        labels.same_level([label(), other])
    with pytest.raises(InputError, match="2 methods"):
        labels.same_level([label(), label(at=Level("GFN1-xTB", 500.0, 4))])
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
