"""Errors against numbers worked out by hand; labelled files; the job in LAMMPS."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from helpers.fakes import crystal, label
from phasewalk.errors import EngineFailed, InputError, ParseError
from phasewalk.jobs import Finished, Job
from phasewalk.labels.label import Label
from phasewalk.validation import accuracy
from phasewalk.validation.accuracy import Prediction

PER_GPA = 1.0 / 160.21766208


def predicted(
    truth: Label, energy: float = 0.0, force: float = 0.0, stress: Any = 0.0
) -> Prediction:
    """The truth with errors in eV/atom, eV/Å, GPa."""
    return Prediction(
        energy=truth.energy + energy * len(truth.atoms),
        energies=np.full(len(truth.atoms), energy),
        forces=truth.forces + force,
        stress=truth.stress + np.asarray(stress) * PER_GPA,
    )


def test_no_error() -> None:
    truth = [label(), label()]
    found = accuracy.errors(truth, [predicted(one) for one in truth]).as_dict()
    assert found.pop("frames") == 2
    assert found.pop("force_rms_meV_per_A") == pytest.approx(
        1000 * np.sqrt((truth[0].forces ** 2).mean())
    )
    assert found.pop("force_zero_mae_meV_per_A") == pytest.approx(
        1000 * np.abs(truth[0].forces).mean()
    )
    assert set(found.pop("energy_offsets_meV_per_atom").values()) == {0.0}
    assert set(found.values()) == {0.0}


def test_errors_by_hand() -> None:
    truth = [label(), label()]
    shear = [0, 0, 0, 3.0, 0, 0]
    made = [
        predicted(truth[0], 0.010, 0.3, [0.2, 0.4, 0.6, 0, 0, 0]),
        predicted(truth[1], 0.014, -0.1, shear),
    ]
    found = accuracy.errors(truth, made)
    assert found.energy_offset_meV_per_atom == pytest.approx(12.0)
    assert found.energy_mae_meV_per_atom == pytest.approx(12.0)
    assert found.energy_rmse_meV_per_atom == pytest.approx(np.sqrt((100 + 196) / 2))
    assert found.energy_scatter_meV_per_atom == pytest.approx(2.0)
    assert found.force_mae_meV_per_A == pytest.approx(200.0)
    assert found.force_rmse_meV_per_A == pytest.approx(np.sqrt((300**2 + 100**2) / 2))
    assert found.pressure_mae_GPa == pytest.approx((0.4 + 0.0) / 2)
    assert found.pressure_rmse_GPa == pytest.approx(0.4 / np.sqrt(2))
    assert found.stress_mae_GPa == pytest.approx((0.2 + 0.4 + 0.6 + 3.0) / 12)
    assert found.stress_rmse_GPa == pytest.approx(np.sqrt((0.04 + 0.16 + 0.36 + 9.0) / 12))


def test_each_composition_has_its_own_offset() -> None:
    """Energies of different compositions need not share a zero: only the scatter within counts."""
    potash = crystal("KCl", 6.29)
    truth = [label(), label(), label(potash), label(potash)]
    shifts = [0.100, 0.102, -0.500, -0.506]
    found = accuracy.errors(
        truth, [predicted(one, shift) for one, shift in zip(truth, shifts, strict=True)]
    )
    assert found.energy_scatter_meV_per_atom == pytest.approx(np.sqrt((1 + 1 + 9 + 9) / 4))


def test_energies_count_per_atom_also_in_frames_of_different_size() -> None:
    truth = [label(), label(crystal().repeat((2, 1, 1)))]
    found = accuracy.errors(truth, [predicted(one, 0.005) for one in truth])
    assert found.energy_mae_meV_per_atom == pytest.approx(5.0)


@pytest.mark.parametrize(("labels", "predictions"), [(0, 0), (1, 0), (1, 2)])
def test_nothing_to_compare(labels: int, predictions: int) -> None:
    with pytest.raises(InputError, match=f"compare {labels} labels with {predictions} predictions"):
        accuracy.errors([label()] * labels, [predicted(label())] * predictions)


def labelled(**results: Any) -> Atoms:
    atoms = crystal()
    values = {"energy": -1.0, "forces": np.ones((8, 3)), "stress": np.arange(6.0), **results}
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in values.items() if v is not None})
    return atoms


def test_labelled_frames_as_ase_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "it's data.extxyz"
    atoms = labelled()
    atoms.info["level"] = "0123456789abcdef"
    ase.io.write(path, [atoms, labelled(energy=-2.0)])
    first, second = accuracy.read_labelled(path)
    assert (first.energy, second.energy) == (-1.0, -2.0)
    assert first.stress == pytest.approx(np.arange(6.0))
    assert first.level == "0123456789abcdef"


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (labelled(stress=None), "frame 2: no stress; required: energy"),
        (labelled(energy=None, forces=None), "frame 2: no energy and no forces"),
        (crystal(), "no energy and no forces and no stress"),
        (labelled(energy=math.nan), "frame 2: energy contains a value that is not finite"),
    ],
)
def test_frames_that_are_not_labelled(tmp_path: Path, atoms: Atoms, reason: str) -> None:
    path = tmp_path / "data.extxyz"
    ase.io.write(path, [labelled(), atoms])
    with pytest.raises(InputError, match=reason) as caught:
        accuracy.read_labelled(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_a_file_that_ends_within_its_last_line(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "data.extxyz"
    ase.io.write(path, [labelled()])
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(InputError, match="line 10: the last line has no end"):
        accuracy.read_labelled(path)


def test_frames_without_a_cell(tmp_path: Path) -> None:
    atoms = labelled()
    atoms.pbc = False
    ase.io.write(tmp_path / "data.extxyz", atoms)
    with pytest.raises(InputError, match="frame 1: not periodic in three dimensions"):
        accuracy.read_labelled(tmp_path / "data.extxyz")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "no such file"),
        (lambda path: path.write_text(""), "cannot read it"),
        (lambda path: path.write_text("3\nnothing\n"), "cannot read it"),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, prepare: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "data.extxyz"
    prepare(path)
    with pytest.raises(InputError, match=reason):
        accuracy.read_labelled(path)


def test_the_job_links_the_model_so_that_no_path_reaches_lammps(tmp_path: Path) -> None:
    model = tmp_path / 'a "b" $c.nequip.pt2'
    model.write_bytes(b"model")
    job = accuracy.job("x", model, frames=[crystal()], directory=tmp_path / "x", env={"A": "1"})
    request = json.loads(job.inputs["request.json"])
    assert request["model"] == "model.nequip.pt2"
    assert request["device"] is None
    assert job.links["model.nequip.pt2"].read_bytes() == b"model"
    assert len(request["frames"]) == 1
    assert job.env == {"A": "1"}


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.nequip\.pth or \.nequip\.pt2"):
        accuracy.job("x", tmp_path / "m.pth", frames=[], directory=tmp_path, env={})


def finished(directory: Path, text: str | None, code: int = 0) -> Finished:
    if text is not None:
        (directory / accuracy.RESULT).write_text(text)
    return Finished(Job("evaluate", (), directory), code, 1.0)


RESULT = {
    "frames": [
        {
            "energies_eV": [1.0],
            "energy_eV": -1.0,
            "forces_eV_per_A": [[0, 0, 1]],
            "stress_eV_per_A3": [0] * 6,
        }
    ],
    "seconds_per_step": 0.002,
}


def test_predictions_are_read(tmp_path: Path) -> None:
    found = accuracy.read(finished(tmp_path, json.dumps(RESULT)))
    assert found.seconds_per_step == 0.002
    assert found.frames[0].forces.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"frames": [{}]}', '{"frames": []}'])
def test_predictions_that_are_none(tmp_path: Path, text: str | None) -> None:
    with pytest.raises(ParseError, match="not a result of predict_child"):
        accuracy.read(finished(tmp_path, text))


def test_a_failed_prediction(tmp_path: Path) -> None:
    (tmp_path / "stderr.txt").write_text("ERROR: no such type\n")
    with pytest.raises(EngineFailed, match="no such type"):
        accuracy.read(finished(tmp_path, json.dumps(RESULT), 1))
