"""What the reference is asked, and how its answers are read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fakes import LEVEL, crystal, label
from phasewalk.errors import EngineFailed, InputError, NotConverged, ParseError
from phasewalk.jobs import Finished, Job
from phasewalk.reference import programs, requests
from phasewalk.reference.programs import Reference
from phasewalk.reference.requests import Result, Try
from phasewalk.reference.settings import ReferenceSettings


def loaded(folder: Path, **settings: Any) -> Reference:
    return programs.load(ReferenceSettings.model_validate(settings), folder, {})


def finished(directory: Path, code: int | None, result: str | None) -> Finished:
    if result is not None:
        (directory / requests.RESULT).write_text(result)
    return Finished(Job("label x", ("reference",), directory, timeout_s=9.0), code, 1.0)


def read(directory: Path, code: int | None, result: str | None) -> Result:
    return requests.read(finished(directory, code, result), crystal(), reference=loaded(directory))


def result(**changes: Any) -> str:
    made = label()
    return json.dumps(
        {
            "energy_eV": made.energy,
            "forces_eV_per_A": made.forces.tolist(),
            "stress_eV_per_A3": made.stress.tolist(),
            "seconds": 2.0,
            "version": LEVEL.version,
            **changes,
        }
    )


def test_a_result(tmp_path: Path) -> None:
    found = read(tmp_path, 0, result())
    assert (found.energy, found.seconds, found.version) == (label().energy, 2.0, LEVEL.version)
    assert found.forces.tolist() == label().forces.tolist()


def test_a_failed_program_has_no_result_even_with_a_file(tmp_path: Path) -> None:
    (tmp_path / Finished.STDERR).write_text("it broke\n")
    with pytest.raises(EngineFailed, match="label x ended with code 1: it broke"):
        read(tmp_path, 1, result())
    with pytest.raises(EngineFailed, match="was stopped at its time limit of 9 s"):
        read(tmp_path, None, result())
    with pytest.raises(NotConverged, match="label x did not converge: it broke"):
        read(tmp_path, 3, result())


def test_what_ended_a_program_from_outside_comes_first(tmp_path: Path) -> None:
    """CP2K's output, which was cut off, would be called incomplete."""
    tree = replace(loaded(tmp_path), input="&GLOBAL\n&END")
    ended = replace(
        finished(tmp_path, 137, None), why="killed for memory; raise memory_GB of label"
    )
    with pytest.raises(EngineFailed, match="label x was killed for memory; raise memory_GB"):
        requests.read(ended, crystal(), reference=tree)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", result(energy_eV="much")])
def test_a_result_that_is_none(tmp_path: Path, text: str | None) -> None:
    with pytest.raises(ParseError, match="not a result of the reference"):
        read(tmp_path, 0, text)


def test_another_version_is_another_level(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"computed by tblite 9\.9, but .* is tblite"):
        read(tmp_path, 0, result(version="tblite 9.9"))
    assert read(tmp_path, 0, result(version="")).version == ""  # a program that does not tell


def test_the_job_runs_in_its_own_process_with_its_own_threads(tmp_path: Path) -> None:
    xtb = loaded(tmp_path, cores_per_label=2, timeout_s=7.0, xtb={"max_iterations": 9})
    job = requests.job("x", crystal(), reference=xtb, directory=tmp_path, attempt=Try())
    assert job.argv[1:] == ("-m", "phasewalk.reference", "request.json", "result.json")
    assert (job.cores, job.timeout_s, job.env["OMP_NUM_THREADS"]) == (2, 7.0, "2")
    request = json.loads(job.inputs["request.json"])
    assert request["arguments"]["max_iterations"] == 9
    assert np.array_equal(request["frame"]["positions_A"], crystal().positions)


def test_another_program_gets_the_same_two_names(tmp_path: Path) -> None:
    xtb = loaded(tmp_path, command=["my dft", "--x; rm"])
    job = requests.job("x", crystal(), reference=xtb, directory=tmp_path, attempt=Try())
    assert job.argv == ("my dft", "--x; rm", "request.json", "result.json")


def test_a_level_comes_from_what_changes_numbers_and_from_nothing_else(tmp_path: Path) -> None:
    patient = loaded(tmp_path, timeout_s=9.0, cores_per_label=3, xtb={"max_iterations": 500})
    assert patient.method.at(4) == loaded(tmp_path).method.at(4) == LEVEL
    warm = loaded(tmp_path, xtb={"electronic_temperature_K": 301.0})
    other = loaded(tmp_path, xtb={"method": "GFN2-xTB"})
    assert len({warm.method.key, other.method.key, LEVEL.at(1).key}) == 3


def test_the_tries_are_the_declared_ones_and_a_guess_comes_first(tmp_path: Path) -> None:
    xtb = loaded(tmp_path, xtb={"retries": [{"max_iterations": 900}, {"mixer_damping": 0.1}]})
    tries = requests.tries(xtb, tmp_path)
    assert [(one.changes, one.guess) for one in tries] == [
        ({}, tmp_path),
        ({}, None),
        ({"max_iterations": 900}, None),
        ({"mixer_damping": 0.1}, None),
    ]
    job = requests.job("x", crystal(), reference=xtb, directory=tmp_path, attempt=tries[3])
    asked = json.loads(job.inputs["request.json"])["arguments"]
    assert (asked["max_iterations"], asked["mixer_damping"]) == (250, 0.1)


def test_an_ase_calculator_s_arguments_and_files_are_its_level(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("1")
    own = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"rc": 5.0}}
    one = loaded(tmp_path, ase={**own, "files": ["model.txt"]})
    (tmp_path / "model.txt").write_text("2")
    two = loaded(tmp_path, ase={**own, "files": ["model.txt"]})
    three = loaded(tmp_path, ase={**own, "arguments": {"rc": 6.0}})
    assert len({each.method.key for each in (one, two, three)}) == 3
    job = requests.job("x", crystal(), reference=two, directory=tmp_path, attempt=Try())
    assert job.links == {"model.txt": tmp_path / "model.txt"}
    with pytest.raises(InputError, match=r"reference\.ase\.files: .*none\.txt: no such file"):
        loaded(tmp_path, ase={**own, "files": ["none.txt"]})


@pytest.mark.parametrize(
    ("symbol", "spin"),
    [("H", 2), ("C", 3), ("N", 4), ("O", 3), ("Al", 2), ("Zn", 1), ("Fe", 5), ("Ce", 1), ("Lr", 2)],
)
def test_the_spin_of_free_atoms(symbol: str, spin: int) -> None:
    assert requests.multiplicity(symbol) == spin
