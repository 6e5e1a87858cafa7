"""Alarms of a whole run whose LAMMPS is a fake: while it runs, after a failure, at its end."""

import json
from pathlib import Path
from types import SimpleNamespace

import ase.io
import pytest
from ase.build import bulk

from helpers import fake_campaign, fake_engines
from helpers.fake_lammps import DUMPED, KILLED, SETTINGS, STEPS, STRANGE, Lammps
from helpers.fakes import FakeLauncher, Watcher
from phasewalk.alarms import choose, label, of_campaign
from phasewalk.alarms import chosen as chosen_from
from phasewalk.campaign import Work
from phasewalk.engines import here
from phasewalk.errors import EngineFailed, InputError
from phasewalk.producing import make, running, settings
from phasewalk.rounds import added
from phasewalk.status import library
from phasewalk.store import read_campaign


def alarms(folder: Path) -> list[tuple[int, str, tuple[int, ...]]]:
    lines = (folder / "alarms.jsonl").read_text().splitlines()
    found = map(json.loads, lines)
    return [
        (one["step"], one["kind"], tuple(one["atoms"][:1]))
        for one in found
        if one["kind"] != "contact"
    ]


def test_each_alarm_once_also_after_a_failure(tmp_path: Path) -> None:
    made = fake_campaign.make(tmp_path / "a", bootstrap=12)
    made.run()
    file, folder = tmp_path / "p.yaml", tmp_path / "p.production"
    file.write_text(json.dumps(SETTINGS))
    plan = make(settings.read(file), file, here())
    engines = fake_engines.engines(tmp_path)
    launcher = FakeLauncher(Lammps(plan, kill=KILLED))
    said: list[str] = []
    shown: list[str] = []
    with pytest.raises(EngineFailed):
        running.run(plan, folder, launcher, engines, show=shown.append, say=said.append)
    first = alarms(folder)
    assert {(20, "environment", (3,)), (60, "environment", (3,))} <= set(first)
    assert {step for step, _, _ in first} == set(STRANGE)
    assert any(line.startswith("alarm: walker-0, step 20: environment ") for line in said)
    ended = running.run(plan, folder, launcher, engines, show=shown.append, say=said.append)
    assert ended.done
    again = alarms(folder)
    assert [one for one in again if one[0] != 90] == first  # that of 60 was cut, and found again
    assert [one for one in again if one[0] == 90] == [(90, "variable", ())]
    assert shown[-1].endswith(", frames with alarms: 1")  # before the second LAMMPS wrote any
    assert f"alarms: in 3 of {STEPS // DUMPED + 1} frames" in next(
        line for line in reversed(said) if line.startswith("alarms: ")
    )
    kept = ase.io.read(folder / "alarms.extxyz", ":")
    assert {one.info["step"] for one in kept} == {20, 60, 90}
    assert len(kept[0]) == 16
    for path in folder.glob("alarms.*"):  # killed after LAMMPS had ended
        path.unlink()
    starts = len(launcher.jobs)
    assert running.run(plan, folder, launcher, engines, show=shown.append, say=said.append).done
    assert alarms(folder) == again
    assert (folder / "alarms.extxyz").stat().st_size
    with (folder / "walker-0.thermo").open("a") as stream:  # as on a full disk
        stream.truncate(stream.tell() - 4)
    assert len(launcher.jobs) == starts
    assert running.run(plan, folder, launcher, engines, show=shown.append, say=said.append).done
    assert len(launcher.jobs) == starts + 1
    assert (folder / "walker-0.thermo").read_text().endswith(f"\n{STEPS} 300\n")


def test_a_finished_run_looks_at_the_frames_that_are_left(tmp_path: Path) -> None:
    """Killed after LAMMPS had ended, before the last look."""
    made = fake_campaign.make(tmp_path / "a", bootstrap=12)
    made.run()
    file, folder = tmp_path / "p.yaml", tmp_path / "p.production"
    file.write_text(json.dumps(SETTINGS))
    plan = make(settings.read(file), file, here())
    engines, launcher = fake_engines.engines(tmp_path), FakeLauncher(Lammps(plan))
    running.run(plan, folder, launcher, engines, show=str, say=str)
    found = alarms(folder)
    written = (folder / "walker-0.dump").read_bytes()
    for name in ("alarms.jsonl", "alarms.seen.json", "alarms.extxyz"):
        (folder / name).unlink()
    said: list[str] = []
    assert running.run(plan, folder, launcher, engines, show=str, say=said.append).done
    assert len(launcher.jobs) == 1  # nothing is started
    assert alarms(folder) == found
    assert any(line.startswith("alarms: in 3 of 11 frames") for line in said)
    (folder / "trained.npz").write_bytes(b"")  # is made again
    said.clear()
    running.run(plan, folder, launcher, engines, show=str, say=said.append)
    assert said[0].startswith("alarms: in 3 of 11 frames")
    assert (folder / "walker-0.dump").read_bytes() == written


def test_the_frames_that_differ_most_are_labelled_and_learned(tmp_path: Path) -> None:
    made = fake_campaign.make(
        tmp_path / "a", bootstrap=12, final="{budget: {epochs: 2, learning_rate: 0.01}}"
    )
    made.run()
    file = tmp_path / "p.yaml"
    folders = {}
    for name, supercell in (("one", [1, 1, 1]), ("two", [2, 1, 1])):
        folders[name] = tmp_path / name
        file.write_text(json.dumps({**SETTINGS, "supercell": supercell, "plumed": None}))
        plan = make(settings.read(file), file, here())
        lammps = Lammps(plan, moved=(0.35, 0.3, 0.2))
        engines = fake_engines.engines(tmp_path)
        launcher = FakeLauncher(lammps)
        running.run(plan, folders[name], launcher, engines, show=str, say=str)
    assert {step for step, _, _ in alarms(folders["one"])} == set(STRANGE)
    with pytest.raises(
        InputError, match=r"16 atoms, the campaign's systems have others \(NaCl 8\)"
    ):
        choose(made.campaign, made.root, folders["two"], 5)
    turned = ase.io.read(folders["one"] / "alarms.extxyz", "0")[::-1]
    with pytest.raises(InputError, match=r"other elements than .*, or the same in another order"):
        chosen_from._system(made.campaign, turned, folders["one"], {})
    other = fake_campaign.make(tmp_path / "b")
    other.run()
    with pytest.raises(InputError, match=r"its model is of the campaign .*a/run, not of"):
        choose(other.campaign, other.root, folders["one"], 5)
    chosen = choose(made.campaign, made.root, folders["one"], 5)
    assert {frame.origin["step"] for frame in chosen} == set(STRANGE)
    assert [frame.origin["step"] for frame in chosen[:1]] == [
        frame.origin["step"] for frame in choose(made.campaign, made.root, folders["one"], 1)
    ]
    before, _ = library.campaign_labels(made.root)
    programs = FakeLauncher(made.programs)
    work = Work(made.campaign, read_campaign(made.root), programs, engines, Watcher())
    found = label(work, folders["one"], chosen)
    started = len(programs.jobs)
    once_more = label(work, folders["one"], chosen)
    assert [one.key for one in once_more] == [one.key for one in found]
    assert len(programs.jobs) == started  # nothing twice
    assert added.take(made.root, found, "final", source="production").count == 2
    assert added.take(made.root, found, "final", source="production").count == 0
    after, _ = library.campaign_labels(made.root)
    assert len(after) == len(before) + 2
    assert after[-1].origin["production"] == "final"
    assert "train generation final" in " ".join(made.run())
    again = of_campaign(made.root, "final", plan.model.stamp.types, 4.0, atoms=8, plumed_text=None)
    assert again.about["labels"] == len(after)


@pytest.mark.parametrize(
    ("source", "system"),
    [
        ({"system": "wide"}, "wide"),
        ({"walker": "wide-1"}, "wide"),
        ({"walker": "NaCl-0"}, "NaCl"),
        ({"file": "wide.cif"}, "NaCl"),
        ({}, "NaCl"),
    ],
)
def test_of_two_systems_with_the_same_atoms_that_of_the_run(
    source: dict[str, str], system: str
) -> None:
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    campaign = SimpleNamespace(structures={"NaCl": salt, "wide": salt.copy()})
    assert chosen_from._system(campaign, salt, Path(), source) == system  # type: ignore[arg-type]


def test_a_frame_with_atoms_too_close_is_not_labelled(tmp_path: Path) -> None:
    made = fake_campaign.make(tmp_path / "a", bootstrap=12)
    made.run()
    file = tmp_path / "p.yaml"
    file.write_text(json.dumps({**SETTINGS, "supercell": [1, 1, 1], "plumed": None}))
    plan = make(settings.read(file), file, here())
    folder, engines = tmp_path / "one", fake_engines.engines(tmp_path)
    lammps = Lammps(plan, moved=(1.8, 0.0, 0.0))
    running.run(plan, folder, FakeLauncher(lammps), engines, show=str, say=str)
    with pytest.raises(InputError, match="none of 2 alarm frames can be labelled: "):
        choose(made.campaign, made.root, folder, 5)
