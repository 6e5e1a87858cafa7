"""The configuration of nequip-train: presets, data, trainer, loss, optimizer and model."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .settings import PRESETS, Budget, ModelSettings, Statistics

SCHEDULE = "training_module.lr_scheduler"
PROGRESS, PREVIOUS = "progress.jsonl", "previous.ckpt"
WEIGHTS, PROBED, EAGER = "weights.npz", "probed.json", "eager.json"
RESUME, RESUMES, KEPT = "resume-{:06d}.ckpt", "resume-*.ckpt", 2
"""Names of checkpoints to continue from, by number of epochs, and how many are kept: if the last
one is damaged, the one before is used."""
WEIGHT_DECAY = 0.02
"""Of weight matrices with Muon: each step multiplies them by 1 − learning rate × this."""
SWAPPED = ("seed", "per_type_energy_shifts")
"""Keys of a network's configuration that affect its weights but not its graph."""


def epochs_of(checkpoint: Path) -> int:
    """Number of epochs in the name of a checkpoint; 0 if there is none."""
    found = re.fullmatch(r"resume-(\d{1,9})\.ckpt", checkpoint.name)
    return int(found[1]) if found else 0


def network(
    types: Sequence[str], *, settings: ModelSettings, numbers: Statistics, seed: int
) -> dict[str, Any]:
    """The network's part of the configuration, which depends on neither labels nor budget."""
    config = training_config(
        types,
        settings=settings,
        budget=settings.first,
        numbers=numbers,
        frames=1,
        warm=False,
        seed=seed,
    )
    return dict(config["training_module"]["model"])


def graph_of(network: Mapping[str, Any]) -> str:
    """Hash of everything that is compiled: the network's configuration without its weights."""
    kept = {key: value for key, value in network.items() if key not in SWAPPED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def training_config(
    types: Sequence[str],
    *,
    settings: ModelSettings,
    budget: Budget,
    numbers: Statistics,
    frames: int,
    warm: bool,
    seed: int,
) -> dict[str, Any]:
    """The configuration of nequip-train; its files are in the directory in which it runs.

    Every generation builds the same model from the same numbers and then copies the weights of the
    previous one, so that a checkpoint does not depend on earlier ones.

    Args:
        types: elements, in the model's order.
        settings: of the model.
        budget: length of the training.
        numbers: of the first training set.
        frames: number of training frames.
        warm: whether to start from the weights of the previous generation.
        seed: of weights and order of frames.
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
            "optimizer": _optimizer(settings, budget),
            "model": _model(types, settings, numbers, seed),
        },
    }
    overrides = dict(settings.overrides)
    for path in [path for path in overrides if not path.startswith(SCHEDULE)]:
        _override(config, path, overrides.pop(path))
    batch = config["data"]["train_dataloader"]["batch_size"]
    steps = config["trainer"]["max_epochs"] * -(-frames // batch)
    config["training_module"]["lr_scheduler"] = _schedule(budget, steps=steps)
    for path, value in overrides.items():
        _override(config, path, value)
    return config


def _optimizer(settings: ModelSettings, budget: Budget) -> dict[str, Any]:
    """Muon orthogonalizes the updates of weight matrices (Jordan et al. 2024).

    With the same number of epochs its errors on MIL-53(Al) are a fifth smaller; without a decay of
    weights the network outweighs the repulsion of compressed bonds (docs/study.md).
    """
    rate = {"lr": budget.learning_rate}
    if settings.optimizer == "adam":
        return {"_target_": "torch.optim.Adam", **rate}
    groups = {
        "_target_": "nequip.model.MuonParamGroups",
        "muon": {**rate, "weight_decay": WEIGHT_DECAY},
        "adam": rate,
    }
    return {"_target_": "nequip.train.MuonWithAuxAdam", "param_groups": groups}


def _schedule(budget: Budget, *, steps: int) -> dict[str, Any]:
    """Learning rate that rises in the first tenth of the steps and then decays to zero.

    Without the rise, the errors of a warm start grow in its first epoch before they recover.
    """
    return {
        "scheduler": {
            "_target_": "torch.optim.lr_scheduler.OneCycleLR",
            "max_lr": budget.learning_rate,
            "total_steps": steps + 1,
            "pct_start": 0.1,
            "cycle_momentum": False,
            "div_factor": 10,
            "final_div_factor": 1000,
        },
        "interval": "step",
        "frequency": 1,
    }


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
        {"_target_": "phasewalk.models.train_child.Progress", "path": PROGRESS},
        {"_target_": "phasewalk.models.train_child.Keep"},
        {
            "_target_": "phasewalk.models.train_child.Export",
            "weights": WEIGHTS,
            "frames": PROBED,
            "results": EAGER,
        },
    ]
    if warm:
        callbacks.append({"_target_": "phasewalk.models.train_child.WarmStart", "path": PREVIOUS})
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
            "units": "metal",
            "chemical_species": list(types),
            **_range(settings),
        }
    return model


def _range(settings: ModelSettings) -> dict[str, Any]:
    """Class of the repulsion, and its range."""
    if settings.zbl_range_fraction is None:
        return {"_target_": "nequip.nn.pair_potential.ZBL"}
    short = "phasewalk.models.repulsion.ShortZBL"
    return {"_target_": short, "range_fraction": settings.zbl_range_fraction}


def _override(config: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path; only the last key may be new."""
    *parents, last = path.split(".")
    group: Any = config
    for parent in parents:
        group = group.get(parent) if isinstance(group, dict) else None
        if not isinstance(group, dict):
            raise InputError(
                f"model.overrides: {path!r}: nequip-train's configuration has no group {parent!r}; "
                "correct the path"
            )
    group[last] = value
