"""A last model that is worse than the generation before it is reported, with the better file."""

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console

from helpers import fake_campaign, fake_engines
from helpers.fake_campaign import LATTICE_A, FakeCampaign
from phasewalk.generations import worse
from phasewalk.report import page
from phasewalk.status import history, summary, verdict
from phasewalk.store import read_campaign

FINAL = "train generation final"


def frames(
    energies: np.ndarray, *, force: float = 80.0, pressure: float = 0.1, formula: str = "ClNa"
) -> list[worse.Frame]:
    """Frames with these errors of the energy, meV/atom."""
    return [
        worse.Frame(
            of="test",
            key=f"{formula}-{number}",
            formula=formula,
            atoms=8,
            energy_eV_per_atom=(-3.0, -3.0 + error / 1000.0),
            pressure_GPa=(1.0, 1.0 - pressure),
            errors={"force_mae_meV_per_A": force},
        )
        for number, error in enumerate(energies)
    ]


def worsened(before: list[worse.Frame], now: list[worse.Frame]) -> list[str]:
    return [name for name, one in worse.differences(before, now).items() if worse.is_worse(one)]


ERRORS = np.random.default_rng(3).normal(size=30)
OTHERS = np.random.default_rng(4).normal(size=30)


def test_numbers_are_those_of_the_evaluation() -> None:
    two = [*frames(ERRORS), *frames(5.0 + 2.0 * OTHERS, formula="ClK")]
    found = worse.differences(two, two)
    apart = np.concatenate([ERRORS - ERRORS.mean(), 2.0 * (OTHERS - OTHERS.mean())])
    assert found["energy_scatter"].now == pytest.approx(np.sqrt(np.mean(apart**2)))
    offset = np.concatenate([ERRORS, 5.0 + 2.0 * OTHERS]).mean()
    assert found["energy_offset"].now == pytest.approx(offset)
    assert found["force_mae"].now == pytest.approx(80.0)
    assert found["pressure_mae"].now == pytest.approx(0.1)
    assert all(one.standard_error == 0.0 for one in found.values())


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (frames(2.1 * OTHERS), ["energy_scatter"]),
        (frames(1.1 * ERRORS), []),  # significant, but by less than a fifth
        (frames(ERRORS, force=100.0), ["force_mae"]),
        (frames(ERRORS, pressure=0.13), ["pressure_mae"]),
        (frames(0.5 * ERRORS, force=40.0), []),
    ],
)
def test_what_is_worse(now: list[worse.Frame], found: list[str]) -> None:
    assert [name for name in worsened(frames(ERRORS), now) if name != "energy_offset"] == found


def test_a_difference_within_the_spread_of_the_frames_is_not_worse() -> None:
    before = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    now = np.array([0.5, -0.5, 0.5, -0.5, 4.0, -0.5])  # by one frame only
    (found,) = [worse.differences(frames(before), frames(now))["energy_scatter"]]
    assert found.now > 1.5 * found.before
    assert not worse.is_worse(found)


def test_equal_models_are_rarely_reported() -> None:
    random = np.random.default_rng(1)
    alarms = sum(
        "energy_scatter" in worsened(frames(one), frames(two))
        for one, two in random.normal(size=(100, 2, 20))
    )
    assert alarms <= 8


def test_one_frame_of_each_composition_has_no_scatter() -> None:
    apart = [frames(ERRORS[:1], formula=name)[0] for name in ("A", "B", "C", "D", "E")]
    assert "energy_scatter" not in worse.differences(apart, apart)


def made(
    folder: Path,
    *,
    count: int = 12,
    final: str = "{budget: {epochs: 2, learning_rate: 0.01}}",
    **options: float,
) -> FakeCampaign:
    """A campaign of one round with so many test frames; factors of errors of trainings."""
    found = fake_campaign.make(
        folder,
        final=final,
        more="test_data: test.extxyz" if count else "",
        programs=fake_engines.FakeEngines(spoils={FINAL: options.get("spoiled", 1.0)}),
    )
    random = np.random.default_rng(5)
    test = []
    for _ in range(count):
        atoms = bulk("NaCl", "rocksalt", a=LATTICE_A["NaCl"], cubic=True)
        atoms.set_cell(atoms.cell.array * random.uniform(0.98, 1.04), scale_atoms=True)
        atoms.positions += random.normal(size=atoms.positions.shape) * 0.03
        atoms.calc = fake_engines.potential()
        said = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces")}
        stress = atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, stress=stress, **said)
        test.append(atoms)
    if test:
        ase.io.write(folder / "test.extxyz", test)
    return found


def test_a_final_model_that_is_worse_is_named_with_the_better_file(tmp_path: Path) -> None:
    campaign = made(tmp_path / "a", spoiled=5.0)
    campaign.run()
    (line,) = [one for one in campaign.watcher.lines if "worse" in one]
    assert line.startswith(
        "the final model is worse than generation 1 on the test set (12 frames): energy scatter "
    )
    assert "meV/atom (generation 1: " in line
    assert "force MAE" in line
    better = "models/gen-001/torchscript-cpu/model.nequip.pth"
    assert f"Use {better}, or train the final model again" in line
    assert (campaign.root / better).is_file()
    assert "model.final.budget.epochs and a larger model.loss_weights.energy" in line
    found = history.read(campaign.root)
    judged = verdict.judge(found)
    assert (judged.word, judged.reasons[0]) == (verdict.LOOK, line)
    assert page.answer(found) == f"{verdict.LOOK}: {line}"
    console = Console(file=io.StringIO(), width=100)
    summary.show(summary.collect(campaign.root), console)
    assert line in console.file.getvalue()  # type: ignore[attr-defined]
    told = worse.advised(found.records)
    assert told == f"{line}; --generation 1 uses that one here"
    campaign.run()  # it is said once
    assert not any("worse" in one for one in campaign.watcher.lines)


def test_after_a_better_final_training_nothing_is_worse(tmp_path: Path) -> None:
    first = made(tmp_path / "a", spoiled=5.0)
    first.run()
    again = made(tmp_path / "b", final="{budget: {epochs: 3, learning_rate: 0.01}}")
    again.run(first.folder)
    state = summary.collect(first.root)["last_model"]
    assert (state["worse"], state["says"]) == ([], "")
    assert worse.advised(read_campaign(first.root).records()) == ""
    assert state["errors"]["force_mae"]["now"] < state["errors"]["force_mae"]["before"]
    assert verdict.judge(history.read(first.root)).word != verdict.LOOK


def test_a_comparison_of_a_former_model_is_not_shown(tmp_path: Path) -> None:
    campaign = made(tmp_path / "a", spoiled=5.0)
    campaign.run()
    records = read_campaign(campaign.root).records()
    (later,) = [one for one in records if one.task == "train generation 1"]
    assert worse.of(records) is not None
    assert worse.of([*records, later]) is None
    assert worse.of([]) is None


@pytest.mark.parametrize(
    ("count", "why"),
    [
        (0, "there are no results of both for frames of test_data"),
        (3, "3 frames of test_data were evaluated with both, and 5 are needed"),
    ],
)
def test_without_test_frames_it_says_that_nothing_is_compared(
    tmp_path: Path, count: int, why: str
) -> None:
    campaign = made(tmp_path / "a", count=count, spoiled=5.0)
    campaign.run()
    line = f"the final model is not compared with generation 1: {why}"
    assert line in campaign.watcher.lines
    assert summary.collect(campaign.root)["last_model"]["says"] == line
    assert line not in verdict.judge(history.read(campaign.root)).reasons


def test_without_a_final_model_the_last_generation_is_compared(tmp_path: Path) -> None:
    campaign = made(tmp_path / "a", final="null")
    campaign.programs.spoils = {"train generation 1": 5.0}
    campaign.run()
    (line,) = [one for one in campaign.watcher.lines if "worse" in one]
    assert line.startswith("generation 1 is worse than generation 0 on the test set")
    assert "Use models/gen-000/torchscript-cpu/model.nequip.pth, or run more rounds" in line


def test_a_file_of_results_may_have_been_deleted(tmp_path: Path) -> None:
    first = made(tmp_path / "a", spoiled=2.0)
    first.run()
    (first.root / "rounds/001/frames-1.json").unlink()
    again = made(tmp_path / "b", final="{budget: {epochs: 3, learning_rate: 0.01}}")
    again.run(first.folder)
    line = "not compared with generation 1: there are no results of both for frames of test_data"
    assert any(line in one for one in again.watcher.lines)
