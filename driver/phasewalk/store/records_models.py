"""Outputs of trainings, deployments and evaluations in the journal, as typed models."""

from typing import Any, Literal

from pydantic import Field

from .records_names import COMPARED, COMPILE, DEPLOY, EVALUATE, FORM, RANKS, TRAIN
from .records_parts import Number, Outputs, Part


class Epoch(Part):
    """End of the last epoch of a training (seconds since 1970)."""

    at: Number


class NetworkStatistics(Part):
    """Statistics of the labels that the network uses; see `models.Statistics`."""

    energy_shifts: list[Number]


class Trained(Outputs):
    """A generation's training.

    Of the final model, `trained_with` has the settings that may be changed afterwards, besides its
    budget; None for other generations, and in earlier versions.
    """

    STAGE = TRAIN
    generation: str
    checkpoint: str
    weights: str
    eager: str
    sha256: str
    epochs: Number
    last_epoch: Epoch
    validation: dict[str, Any] | None = None
    training_labels: int
    validation_labels: int
    statistics: NetworkStatistics
    optimizer: Literal["muon", "adam"] = "adam"
    trained_with: dict[str, Any] | None = None


class Compilation(Outputs):
    """A compiled network; `place` is None if its weights cannot be replaced."""

    STAGE = COMPILE
    mode: str = ""
    graph: str = ""
    place: str | None = None
    why: str = ""
    for_ranks: bool = False


class DeployedModel(Outputs):
    """A deployed model; `compiled` is None if it was compiled for this generation only."""

    STAGE = DEPLOY
    generation: str
    file: str
    sha256: str
    mode: str
    stamp: dict[str, Any]
    compiled: str | None = None
    seconds: Number = 0.0
    why: str = ""
    again: bool


class MeasuredErrors(Part):
    """Errors on a set of frames; names as in `validation.Errors`."""

    force_mae_meV_per_A: Number
    force_rmse_meV_per_A: Number
    force_rms_meV_per_A: Number
    pressure_mae_GPa: Number
    pressure_rmse_GPa: Number
    energy_offset_meV_per_atom: Number
    energy_scatter_meV_per_atom: Number | None

    def value(self, name: str) -> float | None:
        """An error by its name; None if it is not known."""
        return getattr(self, name, None)


class FrameErrors(Part):
    """Errors of the model on the frame of one walker; of the energy without the common offset.

    `late`: a frame of the round before, whose label came too late to be judged with the others.
    """

    walker: str
    late: bool = False
    key: str = ""
    force_error_ratio: Number
    force_rmse_meV_per_A: Number | None = None
    energy_error_meV_per_atom: Number | None = None


class Bonds(Part):
    """Number of labels, of those whose bonds were checked, and keys of those with other bonds."""

    labels: int
    checked: int
    changed: list[str]


class Proof(Part):
    """Result of the validation of a deployed model."""

    checks: int
    warnings: list[str]


class Evaluated(Outputs):
    """Errors of a generation on the round's new frames and on the test set.

    `bonds` are those of all labels that the generation learned.
    """

    STAGE = EVALUATE
    generation: str
    frames: str | None = None
    new: MeasuredErrors | None
    test: MeasuredErrors | None
    each: list[FrameErrors] = Field([])
    seconds_per_step: Number
    bonds: Bonds | None = None
    proof: Proof | None = None


class OtherForm(Outputs):
    """The last model deployed in the other mode: TorchScript beside AOTInductor, or the reverse.

    `proof` is the result of its own validation, `seconds_per_step` was measured in it.
    """

    STAGE = FORM
    generation: str
    file: str
    sha256: str
    mode: str
    stamp: dict[str, Any]
    seconds_per_step: Number
    proof: Proof


class ForRanks(Outputs):
    """A model for several MPI ranks, and the proof that on so many it is as on one."""

    STAGE = RANKS
    generation: str
    file: str
    sha256: str
    mode: str
    stamp: dict[str, Any]
    ranks: int
    proof: Proof


class TwoErrors(Part):
    """An error of the last model and of the one before, and the standard error of the change."""

    now: Number
    before: Number
    standard_error: Number


class TwoModels(Outputs):
    """The errors of the last model and of the generation before it, on the same test frames.

    Attributes:
        generation, before: names of both.
        checkpoint: SHA-256 of the checkpoint of the last model.
        frames: number of test frames that both were evaluated on.
        errors: each error of both, by name; empty if there are too few frames.
        worse: names of the errors that are worse.
        better: file of the model before.
    """

    STAGE = COMPARED
    generation: str
    before: str
    checkpoint: str
    frames: int
    errors: dict[str, TwoErrors]
    worse: list[str]
    better: str
