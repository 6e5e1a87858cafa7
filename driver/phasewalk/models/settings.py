"""Settings of the model, its training and deployment, and statistics shared by all generations."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from ..settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    # For tests and trial campaigns: trains in seconds.
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
    # The lowest force error on MIL-53(Al) after one minute of training on one core.
    "small": {
        "r_max_A": 4.0,
        "network": {
            "num_layers": 3,
            "l_max": 1,
            "parity": False,
            "num_features": 16,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 64,
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
            "radial_mlp_depth": 1,
            "radial_mlp_width": 128,
        },
    },
}


class Budget(Settings):
    """Length of one training run, which ends when the first limit is reached."""

    epochs: int = Field(ge=1, description="Maximum number of epochs.")
    minutes: float | None = Field(None, gt=0, description="Wall-time limit, minutes.")
    learning_rate: float = Field(
        gt=0, le=1, description="Peak learning rate; decays to 0 by the last epoch."
    )


class LossWeights(Settings):
    """Weights of the squared errors in the loss function."""

    energy: float = Field(10.0, ge=0, description="Weight of the energy per atom, eV.")
    forces: float = Field(1.0, ge=0, description="Weight of force components, eV/Å.")
    stress: float = Field(
        1000.0,
        ge=0,
        description="Weight of stress components, eV/Å³. With 0 the stress is not trained and NPT "
        "is unreliable.",
    )


class FinalSettings(Settings):
    """The final model, trained on all labels after the last round."""

    from_scratch: bool = Field(
        False, description="Start from random weights, not from the last generation's."
    )
    budget: Budget = Field(
        Budget(epochs=100, learning_rate=0.05), description="Length of the final training."
    )


class ModelSettings(Settings):
    """The NequIP model and its training."""

    preset: Literal["tiny", "small", "paper"] = Field(
        "small", description="Network size: tiny (for tests), small, or paper (as published)."
    )
    r_max_A: float | None = Field(
        None, gt=1, le=12, description="Cutoff radius, Å. Default: that of the preset."
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="Floating-point precision of the model."
    )
    species: list[str] | None = Field(
        None,
        description="Elements that the model supports. Default: the elements of all systems. "
        "Elements cannot be added later.",
    )
    first: Budget = Field(
        Budget(epochs=70, learning_rate=0.05), description="Length of the training of generation 0."
    )
    warm: Budget = Field(
        Budget(epochs=25, learning_rate=0.05),
        description="Length of the training of each later generation.",
    )
    final: FinalSettings | None = Field(FinalSettings(), description="The final model; null: none.")
    max_force_error_ratio: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="Maximum force RMSE on the validation labels, divided by the rms force, for "
        "generation 0 to be used in MD (later generations: 1); null: no limit.",
    )
    optimizer: Literal["muon", "adam"] = Field(
        "muon",
        description="Optimizer. muon: Muon for the weight matrices of the layers and Adam for all "
        "other weights; adam needs lower learning rates (0.02 first, then 0.01). Default: adam "
        "with these in campaigns that were started by an earlier version.",
    )
    batch_size: int = Field(2, ge=1, description="Number of frames per optimizer step.")
    loss_weights: LossWeights = Field(LossWeights(), description="Weights of the loss terms.")
    zbl: bool = Field(
        True,
        description="Add the ZBL short-range repulsion, which keeps atoms apart at distances that "
        "no label covers. Default: false in campaigns that were started by an earlier version.",
    )
    zbl_range_fraction: float | None = Field(
        0.8,
        gt=0,
        le=1.2,
        description="The repulsion ends at this × the sum of covalent radii; null: at the cutoff, "
        "as in earlier versions, so that the network must learn to cancel it between bonded atoms.",
    )
    threads: int = Field(1, ge=1, description="Number of CPU threads for training.")
    loggers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="NequIP loggers to use in addition to phasewalk's progress output."
    )
    overrides: dict[str, Any] = Field(
        {},
        description="Values that replace keys of the nequip-train configuration, given by dotted "
        "path; for example training_module.model.num_features: 24.",
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
        """Cutoff radius, Å: r_max_A if given, else that of the preset."""
        return self.r_max_A or float(PRESETS[self.preset]["r_max_A"])

    @property
    def of_every_training(self) -> dict[str, Any]:
        """What every training depends on, but the network does not; as data for JSON."""
        return self.model_dump(include={"batch_size", "loss_weights", "optimizer", "overrides"})


class DeploySettings(Settings):
    """How a checkpoint is compiled into a model that LAMMPS can run."""

    mode: Literal["auto", "torchscript", "aotinductor"] = Field(
        "auto",
        description="torchscript compiles in seconds; aotinductor compiles in about a minute and "
        "runs 2–7 times faster; auto selects the one with which the next segment ends earlier, "
        "and torchscript if the other fails to compile. With aotinductor and auto the last model "
        "is deployed with both at the end.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device that runs the model; auto: cuda if torch finds a GPU, else cpu."
    )


@dataclass(frozen=True)
class Statistics:
    """Statistics of the first training set, used by all generations.

    Attributes:
        average_neighbors: average number of neighbors within the cutoff.
        energy_scale: root mean square of the force components, eV/Å.
        energy_shifts: energy of each type, eV, in the model's order; see models.energy_shifts.
        shifts_from: description of how these were obtained.
    """

    average_neighbors: float
    energy_scale: float
    energy_shifts: tuple[float, ...]
    shifts_from: str = ""
