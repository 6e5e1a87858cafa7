"""Settings of model, training and deployment, and the numbers that all generations share."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from ..settings import Settings

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
    """How long one training may take: whichever limit is met first ends it."""

    epochs: int = Field(ge=1, description="Passes over the training labels.")
    minutes: float | None = Field(None, gt=0, description="Wall-clock limit, minutes.")
    learning_rate: float = Field(
        gt=0, le=1, description="Adam's highest learning rate; it falls to 0 by the last epoch."
    )


class LossWeights(Settings):
    """Weights of the squared errors: energy per atom, force component, stress component."""

    energy: float = Field(10.0, ge=0, description="Energy per atom, eV.")
    forces: float = Field(1.0, ge=0, description="Forces, eV/Å.")
    stress: float = Field(1000.0, ge=0, description="Stress, eV/Å³; 0 leaves NPT untrained.")


class FinalSettings(Settings):
    """The last model, trained on all labels when the rounds are over."""

    from_scratch: bool = Field(False, description="Forget the weights of the last generation.")
    budget: Budget = Field(
        Budget(epochs=100, learning_rate=0.01), description="Length of this training."
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
        Budget(epochs=70, learning_rate=0.02), description="Training of generation 0."
    )
    warm: Budget = Field(
        Budget(epochs=25, learning_rate=0.01), description="Training of each later generation."
    )
    final: FinalSettings | None = Field(FinalSettings(), description="Final model; null for none.")
    max_force_error_ratio: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest force error on the validation labels, relative to that of a model "
        "without forces, with which generation 0 is sent walking (later ones: 1); null for any.",
    )
    batch_size: int = Field(2, ge=1, description="Frames in one step of the optimizer.")
    loss_weights: LossWeights = Field(LossWeights(), description="Weights of the loss.")
    zbl: bool = Field(
        False,
        description="Add the ZBL repulsion, which keeps atoms apart where nothing was learned.",
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
        energy_shifts: energy of each type, eV, in the model's order; see models.energy_shifts.
        shifts_from: where these come from, in words.
    """

    average_neighbors: float
    energy_scale: float
    energy_shifts: tuple[float, ...]
    shifts_from: str = ""
