"""Statistics, the configuration of nequip-train, and the jobs of training and deployment."""

import json
import math
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from pydantic import ValidationError

from helpers.fakes import LEVEL, crystal, label
from phasewalk.errors import EngineFailed, InputError, ParseError
from phasewalk.jobs import Finished, Job
from phasewalk.labels.label import Label
from phasewalk.models import compile_child
from phasewalk.models import model as models
from phasewalk.models.model import Deployed
from phasewalk.models.settings import PRESETS, Budget, ModelSettings, Statistics
from phasewalk.models.training_config import training_config

TYPES = ("Cl", "K", "Na")
NUMBERS = Statistics(average_neighbors=18.0, energy_scale=0.5, energy_shifts=(-1.0, -2.0, -3.0))
BUDGET = Budget(epochs=7, learning_rate=0.02)


def salts(*energies: tuple[str, float]) -> list[Label]:
    return [label(crystal(name), energy=energy) for name, energy in energies]


def residuals(labels: list[Label], numbers: Statistics, types: tuple[str, ...]) -> np.ndarray:
    shift = dict(zip(types, numbers.energy_shifts, strict=True))
    return np.array([one.energy - sum(shift[s] for s in one.atoms.symbols) for one in labels])


def test_one_composition_leaves_no_mean_residual_and_equal_shifts() -> None:
    """Least squares alone would be rank 1 and leave eV per atom to the network."""
    labels = salts(("NaCl", -800.0), ("NaCl", -801.0), ("NaCl", -804.0))
    numbers = models.statistics(labels, ("Cl", "Na"), 4.0)
    assert residuals(labels, numbers, ("Cl", "Na")).mean() == pytest.approx(0.0, abs=1e-9)
    assert numbers.energy_shifts == pytest.approx([-801.6666667 / 8] * 2)


def test_each_composition_has_no_mean_residual() -> None:
    labels = salts(("NaCl", -800.0), ("NaCl", -802.0), ("KCl", -640.0), ("KCl", -646.0))
    found = residuals(labels, models.statistics(labels, TYPES, 4.0), TYPES)
    assert found[:2].mean() == pytest.approx(0.0, abs=1e-6)
    assert found[2:].mean() == pytest.approx(0.0, abs=1e-6)


def test_as_many_compositions_as_types_are_solved_exactly() -> None:
    alloys = [Atoms("NaCl", cell=[5, 5, 5], pbc=True), Atoms("NaCl2", cell=[5, 5, 5], pbc=True)]
    for atoms in alloys:
        atoms.positions = np.arange(3 * len(atoms)).reshape(-1, 3) % 5
    labels = [label(a, energy=e) for a, e in zip(alloys, (-30.0, -50.0), strict=True)]
    numbers = models.statistics(labels, ("Cl", "Na"), 4.0)
    assert numbers.energy_shifts == pytest.approx([-20.0, -10.0])


def test_neighbours_are_counted_in_evenly_spread_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the first, the middle and the last; all of them took minutes with 10⁵ labels."""
    far, near = crystal("KCl"), crystal("KCl")
    near.set_cell(near.cell * 0.7, scale_atoms=True)
    labels = [label(atoms) for atoms in (far, near, far, near, far)]
    alone = models.statistics([label(far)], ("Cl", "K"), 4.0).average_neighbors
    assert models.statistics(labels, ("Cl", "K"), 4.0).average_neighbors > alone
    monkeypatch.setattr(models, "COUNTED", 3)
    assert models.statistics(labels, ("Cl", "K"), 4.0).average_neighbors == alone


def test_a_type_that_no_label_holds_gets_a_sane_shift() -> None:
    labels = salts(("NaCl", -800.0), ("NaCl", -802.0))
    numbers = models.statistics(labels, ("Ar", "Cl", "Na"), 4.0)
    assert all(-110 < shift < -90 for shift in numbers.energy_shifts)
    assert residuals(labels, numbers, ("Ar", "Cl", "Na")).mean() == pytest.approx(0.0, abs=1e-9)


def test_neighbours_and_force_scale() -> None:
    made = label(forces=np.full((8, 3), 0.5))
    numbers = models.statistics([made], ("Cl", "Na"), 4.1)
    assert numbers.average_neighbors == pytest.approx(6 + 12)  # 2.82 Å and 3.99 Å
    assert numbers.energy_scale == pytest.approx(0.5)


def test_no_forces_at_all_still_give_a_scale() -> None:
    made = label(forces=np.zeros((8, 3)))
    assert models.statistics([made], ("Cl", "Na"), 4.1).energy_scale == 1e-3


def recipe(settings: ModelSettings | None = None, *, warm: bool = False) -> dict[str, Any]:
    return training_config(
        TYPES,
        settings=settings or ModelSettings(),
        budget=BUDGET,
        numbers=NUMBERS,
        frames=9,
        warm=warm,
        seed=5,
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_the_recipe_is_json_and_holds_the_preset(preset: str) -> None:
    config = recipe(ModelSettings(preset=preset))  # type: ignore[arg-type]
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    model = config["training_module"]["model"]
    assert model["r_max"] == PRESETS[preset]["r_max_A"]
    assert PRESETS[preset]["network"].items() <= model.items()
    assert model["type_names"] == list(TYPES)
    assert model["per_type_energy_shifts"] == {"Cl": -1.0, "K": -2.0, "Na": -3.0}
    assert (model["avg_num_neighbors"], model["per_type_energy_scales"]) == (18.0, 0.5)


def test_the_recipe_trains_stress_for_the_budget() -> None:
    config = recipe()
    loss = config["training_module"]["loss"]
    assert loss["coeffs"] == {"total_energy": 10.0, "forces": 1.0, "stress": 1000.0}
    assert config["trainer"]["max_epochs"] == 7
    assert "max_time" not in config["trainer"]
    groups = config["training_module"]["optimizer"]["param_groups"]
    assert (groups["muon"], groups["adam"]) == ({"lr": 0.02, "weight_decay": 0.02}, {"lr": 0.02})
    assert config["data"]["seed"] == config["training_module"]["model"]["seed"] == 5


def test_adam_alone_if_asked() -> None:
    found = recipe(ModelSettings(optimizer="adam"))["training_module"]["optimizer"]
    assert found == {"_target_": "torch.optim.Adam", "lr": 0.02}


def test_the_learning_rate_is_at_rest_when_the_last_step_is_done() -> None:
    config = recipe(ModelSettings(batch_size=4))
    schedule = config["training_module"]["lr_scheduler"]
    assert schedule["interval"] == "step"
    steps = 7 * 3  # epochs, and batches of 4 + 4 + 1 frames
    assert steps <= schedule["scheduler"]["total_steps"] <= steps + 1  # one more is an error


def test_a_budget_in_minutes() -> None:
    budget = Budget(epochs=7, minutes=1.5, learning_rate=0.02)
    config = training_config(
        TYPES,
        settings=ModelSettings(),
        budget=budget,
        numbers=NUMBERS,
        frames=9,
        warm=False,
        seed=1,
    )
    assert config["trainer"]["max_time"] == {"minutes": 1.5}


def callbacks(config: dict[str, Any]) -> list[str]:
    return [entry["_target_"].rsplit(".", 1)[1] for entry in config["trainer"]["callbacks"]]


def test_only_a_warm_start_takes_weights_over_and_the_rest_is_the_same() -> None:
    cold, warm = recipe(), recipe(warm=True)
    assert callbacks(cold) == ["ModelCheckpoint", "Progress", "Keep", "Export"]
    assert callbacks(warm) == ["ModelCheckpoint", "Progress", "Keep", "Export", "WarmStart"]
    warm["trainer"]["callbacks"].pop()
    assert warm == cold  # the same model: a checkpoint never needs its ancestors


def test_no_path_of_this_machine_is_in_the_recipe() -> None:
    assert "/" not in json.dumps(recipe(warm=True))


def test_overrides_reach_any_key() -> None:
    settings = ModelSettings(
        overrides={
            "training_module.model.num_features": 24,
            "training_module.ema_decay": 0.9,
            "trainer.gradient_clip_val": 1.0,
            "trainer.callbacks": [],
        }
    )
    config = recipe(settings)
    assert config["training_module"]["model"]["num_features"] == 24
    assert config["training_module"]["ema_decay"] == 0.9
    assert config["trainer"]["gradient_clip_val"] == 1.0
    assert callbacks(config) == []


@pytest.mark.parametrize("path", ["trainr.max_epochs", "trainer.max_epochs.x", "run.x", "a.b.c"])
def test_an_override_of_nothing(path: str) -> None:
    with pytest.raises(InputError, match=r"model\.overrides: .* has no group"):
        recipe(ModelSettings(overrides={path: 1}))


def test_loggers_of_nequip_and_zbl() -> None:
    assert recipe()["trainer"]["logger"] is False
    config = recipe(ModelSettings(loggers=["tensorboard", "wandb"], zbl=True))
    assert len(config["trainer"]["logger"]) == 2
    assert config["training_module"]["model"]["pair_potential"]["chemical_species"] == list(TYPES)


def training_job(directory: Path, **changes: Any) -> Job:
    arguments: dict[str, Any] = {
        "validation": salts(("KCl", -640.0)),
        "types": TYPES,
        "settings": ModelSettings(threads=2),
        "budget": BUDGET,
        "numbers": NUMBERS,
        "previous": None,
        "probed": [crystal()],
        "seed": 5,
        "directory": directory,
        **changes,
    }
    training = arguments.pop("training", salts(("NaCl", -800.0), ("KCl", -641.0)))
    return models.training_job("train generation 0", training, **arguments)


def test_the_training_job_brings_all_its_files(tmp_path: Path) -> None:
    job = training_job(tmp_path / "it's here")
    assert set(job.inputs) == {
        "config.yaml", "train.extxyz", "validation.extxyz", "probed.json"
    }  # fmt: skip
    place = ("-cp", str(tmp_path / "it's here"))
    assert job.argv[1:] == ("-m", "phasewalk.models.train_child", *place, "-cn", "config")
    assert (job.cores, job.env["OMP_NUM_THREADS"], job.env["OMP_WAIT_POLICY"]) == (
        2,
        "2",
        "passive",
    )
    (tmp_path / "x.extxyz").write_bytes(job.inputs["train.extxyz"])
    first, second = ase.io.read(tmp_path / "x.extxyz", index=":")
    assert first.get_potential_energy() == -800.0
    for atoms, exact in ((first, label()), (second, label(crystal("KCl")))):  # to the last bit
        assert (atoms.get_stress() == exact.stress).all()
        assert (atoms.get_forces() == exact.forces).all()
        assert (atoms.positions == exact.atoms.positions).all()
        assert (atoms.cell.array == exact.atoms.cell.array).all()


def test_a_warm_start_brings_the_checkpoint_along(tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").write_bytes(b"weights")
    job = training_job(tmp_path / "x", previous=tmp_path / "old.ckpt")
    assert job.links["previous.ckpt"].read_bytes() == b"weights"
    assert "WarmStart" in job.inputs["config.yaml"].decode()


def test_nothing_to_train_or_to_validate_on(tmp_path: Path) -> None:
    for empty in ("training", "validation"):
        with pytest.raises(InputError, match="at least one of each is required"):
            training_job(tmp_path, **{empty: []})


def test_labels_of_two_levels_are_not_trained_together(tmp_path: Path) -> None:
    other = label(at=LEVEL.at(8))
    with pytest.raises(InputError, match="two levels of theory"):
        training_job(tmp_path, validation=[other])
    assert other.level != LEVEL.key


def finished(directory: Path, code: int = 0) -> Finished:
    directory.mkdir(exist_ok=True)
    return Finished(Job("train generation 0", (), directory), code, 1.0)


def test_progress_is_the_last_whole_line(tmp_path: Path) -> None:
    assert models.training_progress(tmp_path) is None
    for text, epoch in (("", None), ('{"epoch": 1}\n{"ep', 1), ('{"epoch": 1}\n{"epoch": 2}\n', 2)):
        (tmp_path / "progress.jsonl").write_text(text)
        found = models.training_progress(tmp_path)
        assert (found and found["epoch"]) == epoch


def test_a_training_without_a_checkpoint_has_failed(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text('{"epoch": 1}\n')
    (tmp_path / "stderr.txt").write_text("loss is nan\n")
    with pytest.raises(EngineFailed, match="ended without writing a checkpoint: loss is nan"):
        models.read_training(finished(tmp_path))
    paths = [tmp_path / name for name in (models.CHECKPOINT, models.WEIGHTS, models.EAGER)]
    for path in paths:
        path.touch()
    assert models.read_training(finished(tmp_path)) == models.Trained(*paths, {"epoch": 1})
    with pytest.raises(EngineFailed, match="ended with code 1"):
        models.read_training(finished(tmp_path, 1))


STAMP = Deployed(
    file="model.nequip.pth",
    mode="torchscript",
    device="cpu",
    dtype="float32",
    types=("Cl", "Na"),
    r_max_A=4.0,
    torch="2.13.0",
    nequip="0.19.1",
    cpu="AVX512",
    processor="fma sse",
    seconds=1.5,
    graph="0123",
    checkpoint="abc",
)


def test_a_stamp_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    path.write_text(models.stamp_text(STAMP))
    assert models.read_stamp(path) == STAMP
    assert models.read_deployment(finished(tmp_path)) == STAMP


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"types": []}'])
def test_a_stamp_that_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "stamp.json").write_text(text)
    with pytest.raises(ParseError, match="not a deployed model's stamp"):
        models.read_stamp(tmp_path / "stamp.json")


@pytest.mark.parametrize("mode", models.ENDINGS)
def test_the_deployment_job(tmp_path: Path, mode: str) -> None:
    job = models.deploy_job(
        "deploy", Path("a b.ckpt"), mode=mode, device="cpu", directory=tmp_path, cores=2
    )
    assert f"model{models.ENDINGS[mode]}" in job.argv
    assert str(Path("a b.ckpt").absolute()) in job.argv
    assert job.cores == 2


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_learning_rate_that_is_none(value: float) -> None:
    with pytest.raises(ValidationError):
        Budget(epochs=1, learning_rate=value)


def test_a_failed_compilation_is_named_by_the_compilers_first_error() -> None:
    """And not by the warnings that follow it."""
    said = "C++ compile error\n\nOutput:\na.cpp:5:4: error: no\na.cpp:9:1: warning: so\n"
    assert compile_child.reason(RuntimeError(said)) == "a.cpp:5:4: error: no"
    assert compile_child.reason(ValueError("one\ntwo")) == "one"
    assert compile_child.reason(ValueError()) == "ValueError"
