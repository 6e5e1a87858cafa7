"""What a campaign knows before it begins: its level of theory, and the levels of its data."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import ase.io
import pytest

from helpers.fakes import LEVEL, SALT, FakeLauncher, crystal, label, write_campaign
from phasewalk.campaign import inputs, theory
from phasewalk.campaign.inputs import Campaign
from phasewalk.errors import InputError
from phasewalk.jobs import Job
from phasewalk.labels.label import Label
from phasewalk.store import directory

OLD = replace(LEVEL, cell_multiple=1).as_dict()
FOREIGN = replace(LEVEL, settings={"electronic_temperature_K": 500.0})


def moved(by: float) -> Any:
    atoms = crystal()
    atoms.positions[0, 0] += by
    return atoms


def frames(count: int = 8, **values: Any) -> list[Label]:
    return [label(moved(0.01 * i), **values) for i in range(count)]


def with_data(folder: Path, key: str, labels: Sequence[Label], text: str = "", **info: Any) -> Path:
    written = [one.with_results() for one in labels]
    for atoms in written:
        atoms.info.update(info)
    ase.io.write(folder / "data.extxyz", written)
    if key == "initial_data":
        return write_campaign(folder, SALT + f"initial_data: {{file: data.extxyz{text}}}\n")
    return write_campaign(folder, SALT + f"{key}: data.extxyz\n{text}")


def settled(path: Path) -> Campaign:
    return theory.settle(inputs.load(path), FakeLauncher())[0]


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        settled(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("key", ["test_data", "initial_data"])
def test_data_of_another_level_is_refused_and_the_difference_shown(
    tmp_path: Path, key: str
) -> None:
    found = frames(at=FOREIGN)
    path = with_data(tmp_path, key, found, level_of_theory=FOREIGN.as_dict())
    message = refused(path)
    assert f"{key} (data.extxyz), frame 1: its level of theory differs" in message
    assert "file | campaign: electronic_temperature_K: 500.0 | 300.0" in message


def test_without_more_words_the_fingerprints_are_shown(tmp_path: Path) -> None:
    message = refused(with_data(tmp_path, "test_data", frames(at=FOREIGN)))
    assert f"{FOREIGN.method} | {LEVEL.method}, no details in the file" in message


def test_data_of_the_same_level(tmp_path: Path) -> None:
    found = settled(with_data(tmp_path, "initial_data", frames()))
    assert [one.level for one in found.initial] == [LEVEL.key] * 8
    assert [one.key for one in found.initial] == [one.key for one in frames()]
    assert found.initial[3].origin == {
        "system": "salt",
        "round": 0,
        "file": "data.extxyz",
        "frame": 4,
    }
    assert found.bootstrap_count == 0


def test_a_frame_that_stands_twice_is_one_label(tmp_path: Path) -> None:
    found = settled(with_data(tmp_path, "initial_data", [*frames(), *frames()]))
    assert len(found.initial) == 8


def silent(folder: Path, text: str = "") -> Path:
    return with_data(folder, "initial_data", frames(level=""), text)


def test_a_level_that_is_not_told_must_be_declared(tmp_path: Path) -> None:
    message = refused(silent(tmp_path))
    assert "frame 1: no level of theory given" in message
    assert "initial_data.same_level: true" in message
    found = settled(silent(tmp_path, ", same_level: true"))
    assert all(one.made["declared"] for one in found.initial)
    assert {one.level for one in found.initial} == {LEVEL.key}


def test_some_of_the_frames(tmp_path: Path) -> None:
    path = silent(tmp_path, ", same_level: true")
    path.write_text(
        path.read_text().replace("data.extxyz", "data.extxyz@2:") + "validation_every: 6\n"
    )
    assert len(settled(path).initial) == 6


def test_a_cell_of_another_size_is_another_level(tmp_path: Path) -> None:
    large = [label(crystal().repeat((1, 1, 2)), level="")]
    path = with_data(tmp_path, "initial_data", large * 8, ", same_level: true")
    message = refused(path)
    assert (
        "initial_data, frame 1: 16 atoms, but systems.salt of the same composition has 8" in message
    )


IMPORTED = """reference: {imported: {level_of_theory: "PBE-D3, from a paper"}}
rounds: 0
"""


def test_labels_from_elsewhere_alone(tmp_path: Path) -> None:
    path = silent(tmp_path)
    path.write_text(path.read_text() + IMPORTED)
    found = settled(path)
    assert found.reference.method.program == "PBE-D3, from a paper"
    assert {one.level for one in found.initial} == {found.level("salt").key}
    path.write_text(path.read_text().replace("rounds: 0", "rounds: 1"))
    with pytest.raises(InputError, match=r"reference\.imported computes no labels, but rounds: 1"):
        inputs.load(path)


def test_labels_of_two_levels_from_elsewhere(tmp_path: Path) -> None:
    path = with_data(tmp_path, "initial_data", [*frames(4), *frames(4, at=FOREIGN)])
    path.write_text(path.read_text() + IMPORTED)
    assert "labels of 2 levels of theory" in refused(path)


def test_the_program_is_asked_for_its_version_once(tmp_path: Path) -> None:
    def play(job: Job) -> int:
        (job.directory / "result.json").write_text(json.dumps({"version": "ase 3.0"}))
        return 0

    text = SALT + "reference: {ase: {calculator: ase.calculators.lj.LennardJones}}\n"
    launcher = FakeLauncher(play)
    campaign, _ = theory.settle(inputs.load(write_campaign(tmp_path, text)), launcher)
    assert campaign.reference.method.version == "ase 3.0"
    theory.settle(campaign, launcher)
    assert len(launcher.jobs) == 1
    assert launcher.jobs[0].argv[:3] == (sys.executable, "-m", "phasewalk.reference")


@pytest.mark.parametrize(
    ("here", "command", "jobs"),
    [
        (True, "", 0),  # the package of this Python
        (False, "", 1),
        (False, "  command: [/opt/py, -m, phasewalk.reference]\n", 1),
        (False, "  command: [/bin/label]\n", 0),  # a user's program may not know what is asked
    ],
)
def test_the_version_of_xtb_is_that_where_labels_are_computed(
    tmp_path: Path, here: bool, command: str, jobs: int
) -> None:
    def play(job: Job) -> int:
        (job.directory / "result.json").write_text(json.dumps({"version": "tblite 9.9"}))
        return 0

    text = SALT + "reference:\n  xtb: {method: GFN1-xTB}\n" + command
    launcher = FakeLauncher(play, here=here)
    loaded = inputs.load(write_campaign(tmp_path, text))
    campaign, _ = theory.settle(loaded, launcher)
    assert len(launcher.jobs) == jobs
    version = "tblite 9.9" if jobs else loaded.reference.method.version
    assert campaign.reference.method.version == version


def test_xtb_may_be_missing_here_if_a_command_starts_another_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    text = SALT + "reference:\n  xtb: {method: GFN1-xTB}\n"
    with pytest.raises(InputError, match="reference: the package tblite is not installed"):
        inputs.load(write_campaign(tmp_path, text))
    there = write_campaign(tmp_path, text + "  command: [/opt/py, -m, phasewalk.reference]\n")
    assert inputs.load(there).reference.method.version == ""


def test_a_program_that_does_not_start_is_bad_input(tmp_path: Path) -> None:
    def play(job: Job) -> int:
        (job.directory / "stderr.txt").write_text("ModuleNotFoundError: No module named 'gpaw'\n")
        return 1

    text = SALT + "reference: {ase: {calculator: gpaw.GPAW}}\n"
    campaign = inputs.load(write_campaign(tmp_path, text))
    with pytest.raises(InputError, match=r"reference: .*No module named 'gpaw'") as caught:
        theory.settle(campaign, FakeLauncher(play))
    assert "all files are in" not in str(caught.value)


def test_a_directory_of_before_goes_on_at_the_level_that_it_names(tmp_path: Path) -> None:
    """When the command was no part of the level; a plain campaign never takes up a command."""
    stub = tmp_path / "stub.py"
    stub.write_text("print(1)\n")
    text = SALT + f"reference: {{command: [python3, {stub}]}}\n"
    campaign = inputs.load(write_campaign(tmp_path, text))
    root = tmp_path / "run"
    with closing(
        directory.open_campaign(root, {**campaign.identity(), "level of theory": OLD})
    ) as old:
        old.write("campaign.yaml", text.encode())
        found, _ = theory.settle(campaign, FakeLauncher(), root)
        assert found.reference.method.method == LEVEL.method
        assert not found.reference.shares
        old.write("campaign.yaml", SALT.encode())
        found, _ = theory.settle(campaign, FakeLauncher(), root)
        assert found.reference.method == campaign.reference.method != LEVEL


def test_memory_that_once_counted_as_theory_does_not_end_a_campaign(tmp_path: Path) -> None:
    campaign, root = inputs.load(write_campaign(tmp_path, SALT)), tmp_path / "run"
    memory = "FORCE_EVAL/DFT/XC/HF/MEMORY/MAX_MEMORY"
    before = {**OLD, "settings": {**OLD["settings"], memory: 900}}
    with closing(
        directory.open_campaign(root, {**campaign.identity(), "level of theory": before})
    ) as s:
        s.write("campaign.yaml", SALT.encode())
        found, _ = theory.settle(campaign, FakeLauncher(), root)
        assert found.identity()["level of theory"] == before
