"""Models: training settings, the nequip-train job of a generation, checkpoint, deployed model."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase.neighborlist import neighbor_list
from pydantic import Field, field_validator

from .errors import EngineFailed, InputError, ParseError
from .jobs import Finished, Job
from .labels import Label, same_level
from .settings import Settings

PROGRESS = "progress.jsonl"
CHECKPOINT, PREVIOUS = "last.ckpt", "previous.ckpt"
ENDINGS = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}

PRESETS: dict[str, dict[str, Any]] = {
    # For tests and for trying a campaign out: seconds of training.
    "tiny": {
        "r_max_A": 4.0,
        "network": {
            "num_layers": 2,
            "l_max": 1,
            "parity": False,
            "num_features": 8,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 16,
        },
    },
    # Measured on MIL-53(Al): the best force error for a minute of one core.
    "small": {
        "r_max_A": 4.5,
        "network": {
            "num_layers": 3,
            "l_max": 1,
            "parity": False,
            "num_features": 16,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 32,
        },
    },
    # Vandenhaute et al. 2023, Methods.
    "paper": {
        "r_max_A": 5.0,
        "network": {
            "num_layers": 4,
            "l_max": 1,
            "parity": True,
            "num_features": 32,
            "radial_mlp_depth": 2,
            "radial_mlp_width": 64,
        },
    },
}


class Budget(Settings):
    """How long one training may take: whichever limit is met first ends it."""

    epochs: int = Field(ge=1, description="Passes over the training labels.")
    minutes: float | None = Field(None, gt=0, description="Wall-clock limit, minutes.")
    learning_rate: float = Field(gt=0, le=1, description="Adam's learning rate at the start.")


class LossWeights(Settings):
    """Weights of the squared errors: energy per atom, force component, stress component."""

    energy: float = Field(10.0, ge=0, description="Energy per atom, eV.")
    forces: float = Field(1.0, ge=0, description="Forces, eV/Å.")
    stress: float = Field(1000.0, ge=0, description="Stress, eV/Å³; 0 leaves NPT untrained.")


class FinalSettings(Settings):
    """The last model, trained on all labels when the rounds are over."""

    from_scratch: bool = Field(False, description="Forget the weights of the last generation.")
    budget: Budget = Field(
        Budget(epochs=100, learning_rate=0.005), description="Length of this training."
    )


class ModelSettings(Settings):
    """The NequIP model and its training."""

    preset: Literal["tiny", "small", "paper"] = Field(
        "small", description="Size of the network: tiny (tests), small, paper (as published)."
    )
    r_max_A: float | None = Field(
        None, gt=1, le=12, description="Cutoff radius, Å; default: the preset's."
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the model.")
    species: list[str] | None = Field(
        None,
        description="Elements that the model knows; default: those of all systems. More can never "
        "be added later.",
    )
    first: Budget = Field(
        Budget(epochs=150, learning_rate=0.01), description="Training of generation 0."
    )
    warm: Budget = Field(
        Budget(epochs=40, learning_rate=0.005), description="Training of each later generation."
    )
    final: FinalSettings | None = Field(
        FinalSettings(), description="Final model; null for none."
    )
    batch_size: int = Field(5, ge=1, description="Frames in one step of the optimizer.")
    loss_weights: LossWeights = Field(LossWeights(), description="Weights of the loss.")
    zbl: bool = Field(
        False, description="Add the ZBL repulsion, which keeps atoms apart where nothing was learned."
    )
    threads: int = Field(1, ge=1, description="Threads of one training.")
    loggers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="NequIP's own loggers, besides phasewalk's progress."
    )
    overrides: dict[str, Any] = Field(
        {},
        description="Any key of nequip-train's configuration by its dotted path, for example "
        "training_module.model.num_features: 24.",
    )

    @field_validator("species")
    @classmethod
    def _known(cls, value: list[str] | None) -> list[str] | None:
        from ase.data import chemical_symbols

        for symbol in value or []:
            if symbol not in chemical_symbols[1:]:
                raise ValueError(f"{symbol!r} is not an element")
        return value

    @property
    def cutoff_A(self) -> float:
        """The cutoff radius in force, Å."""
        return self.r_max_A or float(PRESETS[self.preset]["r_max_A"])


class DeploySettings(Settings):
    """How a checkpoint becomes a model that LAMMPS runs."""

    mode: Literal["auto", "torchscript", "aotinductor"] = Field(
        "auto",
        description="torchscript compiles in seconds, aotinductor in a minute but steps 2–3 times "
        "faster; auto takes what makes the next segment finish earlier.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs; auto: cuda where torch sees a GPU."
    )


@dataclass(frozen=True)
class Statistics:
    """Numbers of the first training set that all generations share.

    Attributes:
        average_neighbors: within the cutoff.
        energy_scale: root mean square of the force components, eV/Å.
        energy_shifts: energy of each type, eV, in the model's order: the smallest change from
            equal shifts that leaves no mean residual for any composition.
    """

    average_neighbors: float
    energy_scale: float
    energy_shifts: tuple[float, ...]


def statistics(labels: Sequence[Label], types: Sequence[str], cutoff_A: float) -> Statistics:
    """Statistics of generation 0's labels."""
    counts = np.array([[label.atoms.symbols.count(t) for t in types] for label in labels], float)
    energies = np.array([label.energy for label in labels])
    mean = float(energies.sum() / counts.sum())
    # With fewer compositions than types the fit has many solutions; lstsq takes the one nearest to
    # equal shifts, so that the residual is zero and no type gets an absurd energy.
    change, *_ = np.linalg.lstsq(counts, energies - mean * counts.sum(axis=1), rcond=1e-8)
    edges = sum(len(neighbor_list("i", label.atoms, cutoff_A)) for label in labels)
    forces = np.concatenate([label.forces.ravel() for label in labels])
    return Statistics(
        average_neighbors=edges / float(counts.sum()),
        energy_scale=max(float(np.sqrt(np.mean(forces**2))), 1e-3),
        energy_shifts=tuple(float(mean + c) for c in change),
    )


def training_job(  # noqa: PLR0913
    name: str,
    training: Sequence[Label],
    *,
    validation: Sequence[Label],
    types: Sequence[str],
    settings: ModelSettings,
    budget: Budget,
    numbers: Statistics,
    previous: Path | None,
    seed: int,
    directory: Path,
) -> Job:
    """nequip-train on these labels, from the weights of `previous` where one is given.

    Raises:
        InputError: nothing to train or to validate on, or labels of different levels of theory.
    """
    if not training or not validation:
        raise InputError(
            f"{name}: {len(training)} training and {len(validation)} validation labels; "
            "each needs at least one"
        )
    same_level([*training, *validation])
    config = training_config(
        types, settings=settings, budget=budget, numbers=numbers, warm=previous is not None, seed=seed
    )
    inputs = {
        "config.yaml": json.dumps(config, indent=1).encode(),
        "train.extxyz": _extxyz(training),
        "validation.extxyz": _extxyz(validation),
    }
    if previous is not None:
        inputs[PREVIOUS] = previous.read_bytes()
    threads = str(settings.threads)
    return Job(
        name=name,
        argv=(sys.executable, "-m", "phasewalk.training", "-cp", str(directory.absolute()), "-cn", "config"),
        directory=directory,
        inputs=inputs,
        env={
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "passive",
            "HYDRA_FULL_ERROR": "1",
        },
        cores=settings.threads,
    )


def _extxyz(labels: Sequence[Label]) -> bytes:
    stream = StringIO()
    ase.io.write(stream, [label.with_results() for label in labels], format="extxyz")
    return stream.getvalue().encode()


def training_config(
    types: Sequence[str],
    *,
    settings: ModelSettings,
    budget: Budget,
    numbers: Statistics,
    warm: bool,
    seed: int,
) -> dict[str, Any]:
    """The configuration of nequip-train. File names are relative: it runs where they are.

    Every generation builds the same model from the same numbers and then takes over the weights of
    the one before, so that a checkpoint never needs its ancestors.
    """
    config: dict[str, Any] = {
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
        "run": ["train"],
        "data": _data(types, settings, seed),
        "trainer": _trainer(settings, budget, warm=warm),
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.99,
            "loss": {
                "_target_": "nequip.train.EnergyForceStressLoss",
                "per_atom_energy": True,
                "coeffs": {
                    "total_energy": settings.loss_weights.energy,
                    "forces": settings.loss_weights.forces,
                    "stress": settings.loss_weights.stress,
                },
            },
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceStressMetrics",
                "coeffs": {
                    "total_energy_rmse": None,
                    "per_atom_energy_rmse": 1.0,
                    "forces_rmse": 1.0,
                    "forces_mae": None,
                    "stress_rmse": 1.0,
                },
            },
            "optimizer": {
                "_target_": "torch.optim.Adam",
                "lr": budget.learning_rate,
                "amsgrad": True,
            },
            "lr_scheduler": {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
                    "T_max": budget.epochs,
                    "eta_min": 1e-2 * budget.learning_rate,
                },
                "interval": "epoch",
                "frequency": 1,
            },
            "model": _model(types, settings, numbers, seed),
        },
    }
    for path, value in settings.overrides.items():
        _override(config, path, value)
    return config


def _data(types: Sequence[str], settings: ModelSettings, seed: int) -> dict[str, Any]:
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": settings.batch_size}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": seed,
        "train_file_path": "train.extxyz",
        "val_file_path": "validation.extxyz",
        "ase_args": {"format": "extxyz"},
        "transforms": [
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": list(types),
            },
            {
                "_target_": "nequip.data.transforms.NeighborListTransform",
                "r_max": settings.cutoff_A,
            },
        ],
        "train_dataloader": {**loader, "shuffle": True},
        "val_dataloader": loader,
    }


def _trainer(settings: ModelSettings, budget: Budget, *, warm: bool) -> dict[str, Any]:
    callbacks: list[dict[str, Any]] = [
        {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
            "dirpath": ".",
            "save_last": True,
            "save_top_k": 0,
        },
        {"_target_": "phasewalk.training.Progress", "path": PROGRESS},
    ]
    if warm:
        callbacks.append({"_target_": "phasewalk.training.WarmStart", "path": PREVIOUS})
    loggers: list[dict[str, Any]] = []
    if "tensorboard" in settings.loggers:
        loggers.append(
            {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "tensorboard"}
        )
    if "wandb" in settings.loggers:
        loggers.append({"_target_": "lightning.pytorch.loggers.WandbLogger", "save_dir": "."})
    trainer = {
        "_target_": "lightning.Trainer",
        "accelerator": "auto",
        "devices": 1,
        "max_epochs": budget.epochs,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "callbacks": callbacks,
        "logger": loggers or False,
    }
    if budget.minutes is not None:
        trainer["max_time"] = {"minutes": budget.minutes}
    return trainer


def _model(
    types: Sequence[str], settings: ModelSettings, numbers: Statistics, seed: int
) -> dict[str, Any]:
    model = {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": seed,
        "model_dtype": settings.dtype,
        "type_names": list(types),
        "r_max": settings.cutoff_A,
        **PRESETS[settings.preset]["network"],
        "avg_num_neighbors": numbers.average_neighbors,
        "per_type_energy_scales": numbers.energy_scale,
        "per_type_energy_shifts": dict(zip(types, numbers.energy_shifts, strict=True)),
        "per_type_energy_scales_trainable": False,
        "per_type_energy_shifts_trainable": False,
    }
    if settings.zbl:
        model["pair_potential"] = {
            "_target_": "nequip.nn.pair_potential.ZBL",
            "units": "metal",
            "chemical_species": list(types),
        }
    return model


def _override(config: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path; only the last key may be new."""
    *parents, last = path.split(".")
    group: Any = config
    for parent in parents:
        group = group.get(parent) if isinstance(group, dict) else None
        if not isinstance(group, dict):
            raise InputError(
                f"model.overrides: {path!r}: nequip-train's configuration has no group {parent!r}"
            )
    group[last] = value


def training_progress(directory: Path) -> dict[str, Any] | None:
    """The last finished epoch of a running training; None before the first."""
    path = directory / PROGRESS
    if not path.is_file():
        return None
    lines = path.read_text().split("\n")[:-1]
    try:
        return dict(json.loads(lines[-1])) if lines else None
    except ValueError:
        return None


def read_training(finished: Finished) -> tuple[Path, dict[str, Any]]:
    """The checkpoint of a finished training, and its last epoch's numbers."""
    finished.require_success()
    checkpoint = finished.directory / CHECKPOINT
    last = training_progress(finished.directory)
    if not checkpoint.is_file() or last is None:
        raise EngineFailed(
            f"{finished.job.name} ended without a checkpoint: {finished.last_lines()} "
            f"(everything is in {finished.directory})"
        )
    return checkpoint, last


@dataclass(frozen=True)
class Deployed:
    """A compiled model and what it was compiled for."""

    file: str
    mode: str
    device: str
    dtype: str
    types: tuple[str, ...]
    r_max_A: float
    torch: str
    nequip: str
    cpu: str
    seconds: float


def deploy_job(
    name: str, checkpoint: Path, *, mode: str, device: str, directory: Path, cores: int
) -> Job:
    """Compile a checkpoint for LAMMPS; the child writes `model.nequip.*` and `stamp.json`."""
    threads = str(cores)
    return Job(
        name=name,
        argv=(
            *(sys.executable, "-m", "phasewalk.deployment", str(checkpoint.absolute())),
            *(f"model{ENDINGS[mode]}", "--mode", mode, "--device", device),
        ),
        directory=directory,
        env={"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        cores=cores,
    )


def read_deployment(finished: Finished) -> Deployed:
    """What the deployment made; EngineFailed where it failed."""
    finished.require_success()
    return read_stamp(finished.directory / "stamp.json")


def read_stamp(path: Path) -> Deployed:
    """A deployed model's stamp."""
    try:
        data: Mapping[str, Any] = json.loads(path.read_text())
        return Deployed(**{**data, "types": tuple(data["types"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParseError(path, f"not a deployed model's stamp ({error!r})") from error


def stamp_text(deployed: Deployed) -> str:
    """The reverse of `read_stamp`."""
    return json.dumps(asdict(deployed), indent=1) + "\n"
