"""New frames of a run, whatever is cut, killed or half written."""

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from phasewalk.alarms import ALARMS, FRAMES, Output, Trained, Watch, again, learn
from phasewalk.errors import InputError

ELEMENTS = ("Cl", "Na")
OUTPUT = Output("walker-0", "walker-0.dump", {"walker-0.colvar": 0.5})
"""A time of 0.5 is one step."""
EVERY = 10


def salt(seed: int, strange: bool = False) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.positions += 0.05 * np.random.default_rng(seed).standard_normal((8, 3))
    if strange:
        atoms.positions[seed % 8] += (0.8, 0.5, 0.1)
    return atoms


@pytest.fixture(scope="module")
def trained() -> Trained:
    frames = [salt(seed) for seed in range(100)]
    return learn(frames, [np.zeros((8, 3))] * 100, ELEMENTS, 5.0, variables={"v": (0.0, 1.0)})


def frame(step: int, *, strange: bool) -> str:
    atoms = salt(1000 + step, strange)
    lines = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", "8"]
    lines += ["ITEM: BOX BOUNDS pp pp pp", *["0 5.64"] * 3]
    lines += ["ITEM: ATOMS id type element x y z ix iy iz"]
    for number, atom in enumerate(atoms, start=1):
        x, y, z = atom.position
        kind = ELEMENTS.index(atom.symbol) + 1
        lines.append(f"{number} {kind} {atom.symbol} {x:.10g} {y:.10g} {z:.10g} 0 0 0")
    return "\n".join(lines) + "\n"


class Run:
    """The folder of a run, in which frames at some steps are strange."""

    def __init__(self, folder: Path, trained: Trained, strange: set[int]) -> None:
        self.folder, self.trained, self.strange = folder, trained, strange
        self.said: list[str] = []
        self.write(0, 0)

    def write(self, first: int, last: int, mode: str = "a") -> None:
        """Frames of these steps, and the rows of PLUMED up to them; v is 5 at step 35."""
        with (self.folder / "walker-0.dump").open(mode) as stream:
            for step in range(first, last, EVERY):
                stream.write(frame(step, strange=step in self.strange))
        with (self.folder / "walker-0.colvar").open(mode) as stream:
            stream.write("#! FIELDS time v\n")
            stream.writelines(
                f"{0.5 * step} {5 * (step == 35)}\n" for step in range(first, last, 5)
            )

    def watch(self, steps: int | None = None) -> Watch:
        watch = Watch(self.folder, self.trained, [OUTPUT], self.said.append)
        watch.begin(None if steps is None else {"walker-0": steps})
        return watch

    def alarms(self) -> list[tuple[int, str]]:
        lines = (self.folder / ALARMS).read_text().splitlines()
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        assert all(one["walker"] == "walker-0" for one in found)
        return [(one["step"], one["kind"]) for one in found if one["kind"] != "contact"]


def test_each_frame_once_and_the_last_one_only_when_it_is_whole(
    tmp_path: Path, trained: Trained
) -> None:
    run = Run(tmp_path, trained, {20, 60})
    watch = run.watch()
    run.write(0, 30)
    watch.look()
    expected = [(20, "environment")]
    assert set(run.alarms()) == set(expected)
    assert any("walker-0, step 20: environment" in line for line in run.said)
    count = len(run.alarms())
    whole = frame(60, strange=True)
    run.write(30, 60)
    with (tmp_path / "walker-0.dump").open("a") as stream:
        stream.write(whole[:-30])
    watch.look()
    assert {step for step, _ in run.alarms()} == {20, 40}  # the variable was outside since 30
    assert (40, "variable") in run.alarms()
    with (tmp_path / "walker-0.dump").open("a") as stream:
        stream.write(whole[-30:])
    watch.end()
    watch.look()
    assert {step for step, _ in run.alarms()} == {20, 40, 60}
    assert len([one for one in run.alarms() if one[0] == 20]) == count
    kept = ase.io.read(tmp_path / FRAMES, ":")
    assert {one.info["step"] for one in kept} == {20, 40, 60}
    assert sorted((one.info["times"] for one in kept), reverse=True) == [
        one.info["times"] for one in kept
    ]
    (strange,) = (one for one in kept if one.info["step"] == 60)
    assert strange.arrays["unlike"].argmax() == 1060 % 8
    assert "environment" in strange.info["alarms"]
    assert next(watch.summary()).startswith("alarms: in 3 of 7 frames")
    assert watch.status == "frames with alarms: 3"


def test_no_alarm_occurs_twice_when_a_run_goes_on_from_an_earlier_step(
    tmp_path: Path, trained: Trained
) -> None:
    run = Run(tmp_path, trained, {20, 40, 60})
    run.write(0, 80)
    run.watch().end()
    expected = run.alarms()
    assert {step for step, _ in expected} == {20, 40, 60}
    run.write(0, 40, "w")  # cut to step 40, at which it goes on
    watch = run.watch(40)
    assert {step for step, _ in run.alarms()} == {20}
    assert watch.status == "frames with alarms: 1"
    run.write(40, 80)
    watch.end()
    assert run.alarms() == expected
    assert next(watch.summary()).startswith("alarms: in 3 of 8 frames")
    run.watch().end()  # nothing is new
    assert run.alarms() == expected
    run.write(0, 0, "w")
    run.watch(0)
    assert run.alarms() == []


def test_a_kill_between_two_files_doubles_nothing(tmp_path: Path, trained: Trained) -> None:
    run = Run(tmp_path, trained, {20, 40})
    run.write(0, 30)
    run.watch().end()
    seen = (tmp_path / "alarms.seen.json").read_bytes()
    run.write(30, 60)
    run.watch().end()
    expected = run.alarms()
    (tmp_path / "alarms.seen.json").write_bytes(seen)  # killed before it was written
    with (tmp_path / ALARMS).open("a") as stream:
        stream.write('{"walker": "walk')
    watch = run.watch()
    watch.end()
    assert run.alarms() == expected
    for damaged in (b"{", b'{"walker-0": {"step": 1}, "other": 3}'):
        (tmp_path / "alarms.seen.json").write_bytes(damaged)  # all is looked at again
        run.watch().end()
        assert run.alarms() == expected


def test_an_interrupt_amid_a_look_doubles_nothing(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, trained, {20, 40})
    watch = run.watch()
    run.write(0, 60)

    def interrupted(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "say", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watch.look()
    assert run.alarms() != []
    monkeypatch.setattr(watch, "say", run.said.append)
    watch.end()
    assert {step for step, _ in run.alarms()} == {20, 40}
    expected = run.alarms()
    (tmp_path / "alarms.seen.json").unlink()
    run.watch().end()
    assert run.alarms() == expected


def test_the_number_of_kept_frames_is_limited(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from phasewalk.alarms import watching

    monkeypatch.setattr(watching, "KEPT", 3)
    run = Run(tmp_path, trained, set(range(0, 200, EVERY)))
    run.write(0, 200)
    watch = run.watch()
    watch.end()
    kept = ase.io.read(tmp_path / FRAMES, ":")
    lines = [json.loads(line) for line in (tmp_path / ALARMS).read_text().splitlines()]
    worst: dict[int, float] = {}
    for one in lines:
        worst[one["step"]] = max(worst.get(one["step"], 0.0), one["times"])
    assert len(worst) == 20
    assert [one.info["step"] for one in kept] == sorted(worst, key=lambda s: -worst[s])[:3]
    monkeypatch.setattr(watching, "KEPT_ATOMS", 16)
    watch.end()
    assert len(ase.io.read(tmp_path / FRAMES, ":")) == 2


def test_a_folder_alone(tmp_path: Path, trained: Trained) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match=r"no trained\.npz"):
        again(tmp_path, print)
    run = Run(tmp_path, trained, {20})
    run.write(0, 40)
    about = {"outputs": [vars(OUTPUT)]}
    replace(trained, about=about).write(tmp_path / "trained.npz")
    assert again(tmp_path, run.said.append).status == "frames with alarms: 1"
    count = len(run.alarms())
    assert again(tmp_path, run.said.append).status == "frames with alarms: 1"
    assert len(run.alarms()) == count


def test_a_run_that_drifts_away_does_not_say_so_with_each_frame(
    tmp_path: Path, trained: Trained
) -> None:
    run = Run(tmp_path, trained, set())
    steps = range(0, 200, EVERY)
    (tmp_path / "walker-0.dump").write_text("".join(frame(n, strange=False) for n in steps))
    values = {n: 2.0 + n / 100 for n in steps}  # the range is 0 … 1
    rows = "".join(f"{0.5 * n} {value}\n" for n, value in values.items())
    (tmp_path / "walker-0.colvar").write_text(f"#! FIELDS time v\n{rows}")
    run.watch().end()
    found = [json.loads(line) for line in (tmp_path / ALARMS).read_text().splitlines()]
    times = [one["times"] for one in found if one["kind"] == "variable"]
    assert len(times) == len(steps)
    said = [line for line in run.said if "variable v" in line]
    assert 3 <= len(said) <= 1 + np.log(times[-1] / times[0]) / np.log(1.1)
    assert said[0].startswith("alarm: walker-0, step 0: ")
