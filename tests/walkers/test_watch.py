"""What walkers do, from the ends of files that grow: whole ones, half ones, and garbage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii

from helpers.fakes import ROOT
from helpers.outputs import stop_line
from phasewalk.structures import structure
from phasewalk.walkers import watch as watching
from phasewalk.walkers.segment import SegmentPlan, SegmentSettings, SystemSettings, Walker
from phasewalk.walkers.watch import Watch

SEGMENT = ROOT / "tests/data/segment"
PLUMED = """\
v: VOLUME
d: DISTANCE ATOMS=1,2
m: METAD ARG=v PACE=30 SIGMA=0.02 HEIGHT=1
PRINT ARG=v,d,m.bias STRIDE=10 FILE=x
"""
STOP = stop_line(205, "force", value=67.1, limit=50, good=180) + "\n"


def plan(atoms: int = 8, steps: int = 110) -> SegmentPlan:
    settings = SystemSettings.model_validate(
        {"structure": "x", "walkers": 2, "ensemble": "npt", "temperature_K": 40, "plumed": PLUMED}
    )
    frame = Atoms("Ar" * atoms, positions=np.zeros((atoms, 3)), cell=[9, 9, 9], pbc=True)
    walkers = tuple(Walker(f"ar-{index}", "ar", index, frame, 110) for index in range(2))
    return SegmentPlan(
        round=2,
        generation=1,
        walkers=walkers,
        systems={"ar": settings},
        settings=SegmentSettings(
            steps=steps, timestep_fs=2, dump_every_steps=20, thermo_every_steps=20
        ),
        histories={},
        model=Path("model.nequip.pth"),
        type_names=("Ar",),
        seed=7,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SEGMENT, tmp_path / "segment"))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_a_segment_that_has_just_ended(folder: Path) -> None:
    first, second = Watch(plan()).look(folder, 5.0)
    assert (first.walker, second.walker) == ("ar-0", "ar-1")
    assert (first.steps_done, first.steps, first.ps, first.state) == (110, 110, 0.22, "done")
    log = (folder / "ar-0.log").read_text().splitlines()
    row = next(line.split() for line in log if line.split()[:1] == ["220"])
    assert (first.temperature_K, first.volume_A3) == (float(row[1]), float(row[5]))
    last = (folder / "ar-0.colvar").read_text().splitlines()[-1].split()
    assert first.colvars == dict(zip(("v", "d", "m.bias"), map(float, last[1:]), strict=True))
    assert first.closest is not None
    assert 1.0 < first.closest < 2.0


def test_before_there_is_anything(tmp_path: Path) -> None:
    watch = Watch(plan())
    rows = watch.look(tmp_path, 0.0)
    assert [(row.steps_done, row.state, row.closest) for row in rows] == [(0, "running", None)] * 2
    assert watch.seconds_left(rows, 0.0) is None


def test_a_walker_that_stopped(folder: Path) -> None:
    log = folder / "ar-0.log"
    text = log.read_text()
    log.write_text(text[: text.index("Loop time")].replace("       220", "       2") + STOP)
    row, _ = Watch(plan()).look(folder, 5.0)
    assert (row.steps_done, row.state) == (95, "stopped: force")


def test_a_long_log_has_its_names_elsewhere(folder: Path) -> None:
    log = folder / "ar-0.log"
    text = log.read_text()
    head = text[: text.index("Loop time")]
    line = head.splitlines()[-1]
    log.write_text(head + f"{line}\n" * 500 + line.replace(" 220 ", " 240 ") + "\n  26")
    row, _ = Watch(plan(steps=200)).look(folder, 5.0)
    assert (row.steps_done, row.state) == (130, "running")
    assert row.temperature_K == float(line.split()[1])


def test_the_last_whole_frame_of_a_dump(folder: Path) -> None:
    dump = folder / "ar-0.dump"
    whole = dump.read_bytes()
    starts = [n for n in range(len(whole)) if whole.startswith(b"ITEM: TIMESTEP", n)]
    cut(dump, starts[2])
    before = Watch(plan()).look(folder, 0.0)[0].closest
    dump.write_bytes(whole[: starts[3] - 30])  # the third frame is not finished
    half = Watch(plan()).look(folder, 0.0)[0].closest
    assert half == before is not None
    dump.write_bytes(whole[: starts[3]])
    assert Watch(plan()).look(folder, 0.0)[0].closest != before


def test_many_walkers_are_looked_at_less_often(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(plan())
    watch.look(folder, 100.0)
    assert not watch.is_due(100.1)
    assert watch.is_due(100.2)  # 2 walkers, 10 in a second
    monkeypatch.setattr(watching, "LOOK_FREE_S", -10.0)  # as if it had taken 10 s more
    watch.look(folder, 200.0)
    assert not watch.is_due(1190.0)
    assert watch.is_due(1500.0)
    assert watch.is_due(2.0)  # the segment was started again


def test_the_closest_contact_is_looked_for_now_and_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Atoms] = []

    def count(atoms: Atoms) -> float:
        seen.append(atoms)
        return 0.5

    monkeypatch.setattr(watching, "closest_contact", count)
    monkeypatch.setattr(watching, "CONTACT_SHARE", 1e9)
    watch = Watch(plan())
    for seconds in (0.0, 0.5, 1.0, 1.9):
        assert [row.closest for row in watch.look(folder, seconds)] == [0.5, 0.5]
    assert len(seen) == 2
    watch.look(folder, 2.5)
    assert len(seen) == 2  # the dumps have not grown
    with (folder / "ar-0.dump").open("a") as stream:
        stream.write("ITEM: TIMESTEP\n")
    watch.look(folder, 5.0)
    assert len(seen) == 3


def test_large_walkers_are_not_searched(folder: Path) -> None:
    assert Watch(plan(watching.MAX_ATOMS + 1)).look(folder, 0.0)[0].closest is None


def test_seconds_left_are_those_of_the_slowest_that_runs(folder: Path) -> None:
    text = (folder / "ar-0.log").read_text()
    head = text[: text.index("       120")]

    def at(first: int, second: int, seconds: float) -> float | None:
        for index, step in enumerate((first, second)):
            row = " ".join([str(step), *["1.0"] * 7])
            (folder / f"ar-{index}.log").write_text(f"{head}{row}\n")
        return watch.seconds_left(watch.look(folder, seconds), seconds)

    watch = Watch(plan(steps=1000))
    assert at(110, 110, 3.0) is None
    assert at(210, 160, 10.0) is None
    assert at(310, 160, 20.0) is None  # the second one's pace is not known yet
    assert at(310, 210, 20.0) == pytest.approx(900 / 5)
    assert at(1110, 210, 20.0) == pytest.approx(900 / 5)


@pytest.mark.parametrize("name", ["ar-0.log", "ar-0.dump", "ar-0.colvar"])
def test_whatever_stands_in_the_files(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for case in range(60):
        content = bytearray(whole[: int(rng.integers(len(whole)))])
        for _ in range(case % 4):
            place = int(rng.integers(len(content) + 1))
            junk = (b"nan", b"\n", b"\xff\0", b"9" * 30, b"Step ", b"ITEM: ATOMS", b"#! FIELDS")
            content[place:place] = junk[int(rng.integers(len(junk)))]
        path.write_bytes(content)
        for row in Watch(plan()).look(folder, 0.0):
            assert 0 <= row.steps_done <= 110


def test_a_file_that_is_a_directory(folder: Path) -> None:
    for name in ("ar-0.log", "ar-0.dump", "ar-0.colvar"):
        (folder / name).unlink()
        (folder / name).mkdir()
    assert Watch(plan()).look(folder, 0.0)[0].steps_done == 0


def test_the_closest_contact_of_a_crystal() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    radii = covalent_radii[11] + covalent_radii[17]
    assert structure.closest_contact(salt) == pytest.approx(2.82 / radii)
    salt.positions[0] += [1.0, 0, 0]
    assert structure.closest_contact(salt) == pytest.approx(1.82 / radii)


def test_the_closest_contact_of_what_ran_away() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    for broken in (np.nan, np.inf, 1e9):
        away = salt.copy()
        away.positions[0, 0] = broken
        assert structure.closest_contact(away) is None
    flat = salt.copy()
    flat.set_cell([5.64, 5.64, 0.01], scale_atoms=True)
    assert structure.closest_contact(flat) is None
    thin = Atoms("He", cell=[30, 30, 30], pbc=True)
    assert structure.closest_contact(thin) is None
