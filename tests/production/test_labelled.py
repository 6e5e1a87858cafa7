"""Frames of a frozen run, labelled by the reference: fake engines, whose two potentials differ."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from helpers import fake_campaign, fake_engines
from helpers.fake_campaign import FakeCampaign
from helpers.fakes import FakeLauncher, Watcher
from phasewalk.campaign import theory
from phasewalk.campaign.config import parse
from phasewalk.campaign.tasks import Work
from phasewalk.errors import InputError
from phasewalk.free_energies import cells, correction
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.jobs import Job
from phasewalk.production import freeze, labelled
from phasewalk.production.freeze import Frozen
from phasewalk.rounds import reopen, steer
from phasewalk.store.directory import read_campaign
from phasewalk.structures import Guard
from phasewalk.walkers import FrameError

AXIS = np.linspace(0.5, 9.5, 10)


def flat() -> FreeEnergy:
    zero = np.zeros(10)
    return FreeEnergy((Variable("v"),), (AXIS,), zero, zero, zero, 300.0, (1,), (), 0.0)


def frame(walker: str, step: int, value: float) -> labelled._Sampled:
    return labelled._Sampled((walker, 1, step), np.array([value]), Atoms("H"))


def test_frames_fill_the_cells_evenly_and_of_all_walkers() -> None:
    """Most frames are in the first cell, and of the first walker."""
    frames = [frame("a-0", n, 0.1) for n in range(50)] + [frame("a-1", n, 0.4) for n in range(5)]
    frames += [frame("a-0", 50 + n, n % 9 + 1.0) for n in range(18)]
    over = cells.grid(flat(), 80)
    assert over.count == 10
    chosen = labelled.spread(frames, over, 20, {})
    counts = Counter(over.cell_of(np.array([one.values for one in chosen])).tolist())
    assert counts == Counter(dict.fromkeys(range(10), 2))
    assert {one.place[0] for one in chosen if one.values[0] < 1.0} == {"a-0", "a-1"}
    assert len({one.place for one in chosen}) == 20
    again = labelled.spread(frames, over, 3, {cell: 5 for cell in range(10) if cell != 7})
    assert all(over.cell_of(one.values[None])[0] == 7 for one in again[:2])
    assert len(labelled.spread(frames, over, 1000, {})) == len(frames)


def test_the_first_frames_of_a_walker_are_far_apart() -> None:
    assert labelled._far_apart(8)[:4] == [0, 4, 2, 6]
    for count in (1, 2, 5, 9, 100):
        assert sorted(labelled._far_apart(count)) == list(range(count))


@dataclass
class Bench:
    """A campaign of one round, and calls of `freeze` on it."""

    made: FakeCampaign
    root: Path
    watcher: Watcher
    play: Callable[[Job], int | None]
    jobs: list[Job]

    def freeze(self, segments: int, against: int) -> Frozen:
        opened = read_campaign(self.root)
        launcher = FakeLauncher(self.play)
        engines = fake_engines.engines(self.root.parent)
        work = Work(self.made.campaign, opened, launcher, engines, self.watcher)
        generation = reopen.read_generation(opened, None)
        try:
            return freeze.freeze(work, generation, segments, against=against)["NaCl"]
        finally:
            self.jobs[:] = launcher.jobs

    def labels(self) -> list[str]:
        return [job.name for job in self.jobs if job.kind == "label"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    made = fake_campaign.make(
        tmp_path_factory.mktemp("labelled") / "c", steps=200, more="reference: {share: false}"
    )
    made.run()
    return made


@pytest.fixture
def bench(walked: FakeCampaign, tmp_path: Path) -> Bench:
    shutil.copytree(walked.folder, tmp_path / "c", symlinks=True)
    return Bench(walked, tmp_path / "c" / "run", Watcher(), walked.programs, [])


def test_labels_are_never_paid_twice_and_the_campaign_is_only_read(bench: Bench) -> None:
    before = (bench.root / "journal.jsonl").read_bytes()
    first = bench.freeze(3, 12)
    assert first.against is not None
    assert (first.against.frames, first.against.failed) == (12, 0)
    assert len(bench.labels()) == 12
    assert len(set(bench.labels())) == 12
    again = bench.freeze(3, 12)
    assert bench.jobs == []
    assert again.against is not None
    assert again.against.as_dict() == first.against.as_dict()
    more = bench.freeze(3, 16)
    assert len(bench.labels()) == 4
    assert more.against is not None
    assert more.against.frames == 16
    later = bench.freeze(4, 0)  # asked for segments alone: what is known of labels stays
    assert bench.labels() == []
    assert later.against is not None
    assert later.against.frames == 16
    kept = json.loads((bench.root / "fes/gen-001/fes.json").read_text())["NaCl"]
    assert kept["against_reference"]["frames"] == 16
    assert (bench.root / "journal.jsonl").read_bytes() == before


def test_the_stages_of_a_free_energy_say_so(bench: Bench) -> None:
    bench.freeze(2, 12)
    assert bench.watcher.begun == [
        "1 free energy of generation 1: segment 1 of 2",
        "2 free energy of generation 1: segment 2 of 2",
        "0 free energy of generation 1: label",
        "0 free energy of generation 1: evaluate generation 1",
    ]
    bench.watcher.begun.clear()
    bench.freeze(3, 12)
    assert bench.watcher.begun == [
        "3 free energy of generation 1: segment 3 of 3",
        "0 free energy of generation 1: evaluate generation 1",
    ]


def test_a_walker_whose_bonds_changed_begins_at_the_start_structure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = bench.made.campaign.structures["NaCl"]
    faults = iter(["the bond Na1–Cl2 is broken"] * 2)  # of the walkers' last frames
    monkeypatch.setattr(Guard, "fault", lambda guard, atoms: next(faults, None))
    bench.freeze(2, 0)
    said = "NaCl-0 begins at the start structure: the bond Na1–Cl2 is broken"
    assert said in bench.watcher.lines
    states = json.loads((bench.root / "fes/gen-001/rounds/000/walkers.json").read_text())
    for state in states:
        assert state["frames"][-1]["frame"]["positions_A"] == pytest.approx(start.positions)


def otherwise(bench: Bench, limit: float | None) -> None:
    """Bonds that are free, and one limit alone on the errors of walkers' frames."""
    campaign = bench.made.campaign
    policy = campaign.settings.policy.model_copy(
        update={"max_energy_error_meV_per_atom": limit, "max_force_error_ratio": None}
    )
    system = campaign.settings.systems["NaCl"].model_copy(update={"bonds": "free"})
    settings = campaign.settings.model_copy(update={"policy": policy, "systems": {"NaCl": system}})
    made: Any = SimpleNamespace(campaign=replace(campaign, settings=settings))
    bench.made = made


def test_a_walker_whose_label_was_far_off_begins_at_the_start_structure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the bonds are free: of these only the label tells."""
    errors = {"NaCl-0": FrameError(-45.0, 100.0, 0.5)}
    monkeypatch.setattr(
        steer, "frame_error", lambda work, round_, walker, **_: errors.get(walker, FrameError(3.0))
    )
    otherwise(bench, 20.0)
    bench.freeze(2, 0)
    said = [line for line in bench.watcher.lines if "start" in line]
    assert said == [
        "NaCl-0 begins at the start structure: the model's energy of its frame was wrong by -45 "
        "meV/atom without the common offset (limit 20)"
    ]
    states = json.loads((bench.root / "fes/gen-001/rounds/000/walkers.json").read_text())
    start = bench.made.campaign.structures["NaCl"].positions
    began = [np.array(state["frames"][-1]["frame"]["positions_A"]) for state in states]
    assert began[0] == pytest.approx(start)
    assert np.abs(began[1] - start).max() > 0.01


def test_where_no_start_frame_can_be_tested_that_is_said(bench: Bench) -> None:
    otherwise(bench, None)
    bench.freeze(2, 0)
    assert bench.watcher.lines[0] == (
        "NaCl: its start frames are not tested: bonds are free, and policy has no limit"
    )
    bench.watcher.lines.clear()
    bench.freeze(3, 0)  # it has begun
    assert not any("not tested" in line for line in bench.watcher.lines)


def test_without_being_asked_nothing_is_labelled(bench: Bench) -> None:
    found = bench.freeze(2, 0)
    assert found.against is None
    assert bench.labels() == []
    assert found.as_dict()["against_reference"] is None


def test_the_difference_is_that_of_the_two_potentials(bench: Bench) -> None:
    """The fake model's ε is larger by a share: so is each energy, exactly."""
    found = bench.freeze(3, 24).against
    assert found is not None
    place = bench.root / "fes/gen-001"
    entries = json.loads((place / "rounds/000/frames-1.json").read_text())
    energies = np.array([one["energy_eV_per_atom"] for one in entries]) * 8 * 96.48530749925792
    apart = energies[:, 0] - energies[:, 1]
    share = apart / energies[:, 0]
    assert share == pytest.approx(share[0])
    assert len(entries) == found.frames == 24
    means = [cell.mean for cell in found.cells]
    counts = [cell.frames for cell in found.cells]
    assert sum(counts) == 24
    assert max(counts) - min(counts) <= 2
    assert found.moves == pytest.approx(max(means) - min(means))
    assert not found.broken


def test_it_goes_on_where_it_was_killed(bench: Bench) -> None:
    bench.freeze(3, 0)
    programs, done = bench.play, []

    def dies(job: Job) -> int | None:
        if job.kind == "label":
            done.append(job.name)
            if len(done) == 5:
                raise KeyboardInterrupt
        return programs(job)

    bench.play = dies
    with pytest.raises(KeyboardInterrupt):
        bench.freeze(3, 8)
    bench.play = programs
    found = bench.freeze(3, 8)
    assert len(bench.labels()) == 4  # four were paid, and the fifth was not finished
    assert not set(bench.labels()) & set(done[:4])
    assert found.against is not None
    assert found.against.frames == 8


def test_frames_that_cannot_be_labelled_are_replaced_by_others(bench: Bench) -> None:
    programs, failed = bench.play, []

    def fails(job: Job) -> int | None:
        if job.kind == "label" and len(failed) < 2:
            failed.append(job.name)
            (job.directory / "stderr.txt").write_text("no memory\n")
            return 1
        return programs(job)

    bench.play = fails
    found = bench.freeze(3, 8).against
    assert found is not None
    assert (found.frames, found.failed) == (8, 2)
    assert any("no memory" in line or "failed" in line for line in bench.watcher.lines)


def test_no_label_at_all_is_an_error_of_one_line(bench: Bench) -> None:
    programs = bench.play
    bench.play = lambda job: 1 if job.kind == "label" else programs(job)
    with pytest.raises(InputError, match="NaCl: none of 4 frames could be labelled"):
        bench.freeze(3, 4)


def test_dumps_that_were_deleted_are_missed(bench: Bench) -> None:
    bench.freeze(2, 0)
    for path in (bench.root / "fes/gen-001").glob("rounds/*/segment/*.dump"):
        path.unlink()
    with pytest.raises(InputError, match=r"no frame of NaCl to label \(4 dumps were deleted"):
        bench.freeze(2, 4)


def test_a_label_of_the_campaign_is_taken(bench: Bench) -> None:
    bench.freeze(3, 6)
    place = bench.root / "fes/gen-001"
    for path in (place / "labels").glob("*.json"):
        shutil.copy(path, bench.root / "labels")
    shutil.rmtree(place)
    found = bench.freeze(3, 6)
    assert bench.labels() == []
    assert found.against is not None
    assert found.against.frames == 6


def test_a_broken_walker_is_in_the_warnings() -> None:
    of = flat()
    answered = correction.Answered(
        np.repeat(AXIS, 2)[:, None], np.zeros(20), np.tile([0.0, 400.0], 10), ["a-0", "a-1"] * 10
    )
    told = correction.against(of, answered, over=cells.grid(of, 20), atoms=8)
    frozen: Any = Frozen(
        system="a", found=of, generation="1", checkpoint="", segments=1, walkers=2,
        ps_per_walker=1.0, stopped_early=0, walks=2, explored=(), covered=(), printed=True,
        made_from={},
    )  # fmt: skip
    (warning,) = set(replace(frozen, against=told).warnings) - set(frozen.warnings)
    assert "walker a-1 samples another structure" in warning


def settings(bench: Bench, reference: str) -> Any:
    text = (bench.root / "campaign.yaml").read_text()
    return parse(text.replace("reference: {share: false}", f"reference: {reference}"), "there")


@pytest.mark.parametrize(
    "reference",
    ["{command: [x]}", "{cp2k: {input: x.inp}}", "{ase: {calculator: a.B}}",
     "{function: {function: 'a:b'}}"],
)  # fmt: skip
def test_a_reference_that_may_run_code_needs_trust(bench: Bench, reference: str) -> None:
    found = settings(bench, reference)
    with pytest.raises(InputError, match=r"there: reference\.\w+ may run code of whoever.*--trust"):
        reopen.reference_side(found, "there", trusted=False)
    reopen.reference_side(found, "there", trusted=True)
    reopen.reference_side(settings(bench, "{}"), "there", trusted=False)


def test_the_reference_is_that_of_the_labels(bench: Bench) -> None:
    campaign = reopen.read_inputs(read_campaign(bench.root))
    asked = {"folder": bench.root.parent, "environ": {}}

    def again(reference: str) -> Any:
        other = replace(campaign, settings=settings(bench, reference))
        return theory.reference_again(other, FakeLauncher(), bench.root, **asked)

    found = again("{share: false}")
    assert found.reference.command
    assert found.reference.method == campaign.reference.method
    with pytest.raises(InputError, match=r"another level of theory.*GFN1-xTB.*GFN2-xTB"):
        again("{xtb: {method: GFN2-xTB}}")
    with pytest.raises(InputError, match="imported, no frame can be labelled"):
        again("{imported: {level_of_theory: x}}")
