"""Force errors of a generation relative to those of zero forces.

The RMSE of zero forces is the rms force, and the MAE the mean absolute force. The limit of
generation 0 was measured: with a ratio of 0.63 (KCl, six neighbors within the cutoff) every walker
broke down; 0.38 (KCl), 0.20 (ice) and 0.12 (MIL-53(Al)) were stable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import TooPoor
from ..labels import Label
from ..models import Budget, ModelSettings, Statistics

WORST_LATER = 1.0
"""Limit of later generations, whose frames are more difficult than those of the bootstrap."""


@dataclass(frozen=True)
class Explained:
    """Errors of a generation on labels that it was not trained on, meV/Å.

    Attributes:
        frames: number of labels.
        force_mae_meV_per_A, force_rmse_meV_per_A: of the generation.
        force_zero_mae_meV_per_A, force_rms_meV_per_A: the same of zero forces.
    """

    frames: int
    force_mae_meV_per_A: float
    force_rmse_meV_per_A: float
    force_zero_mae_meV_per_A: float
    force_rms_meV_per_A: float

    @property
    def ratio(self) -> float:
        """Error divided by that of zero forces: the smaller of the ratios of MAE and RMSE.

        A single frame from a breakdown can dominate one of them, but hardly both.
        """
        return min(
            self.force_mae_meV_per_A / self.force_zero_mae_meV_per_A,
            self.force_rmse_meV_per_A / self.force_rms_meV_per_A,
        )

    def as_dict(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"force MAE {self.force_mae_meV_per_A:.0f} meV/Å (zero forces: "
            f"{self.force_zero_mae_meV_per_A:.0f}), RMSE {self.force_rmse_meV_per_A:.0f} (zero "
            f"forces: {self.force_rms_meV_per_A:.0f}) on {self.frames} validation labels"
        )


def explained(last_epoch: Mapping[str, Any], validation: Sequence[Label]) -> Explained | None:
    """Errors on the validation labels in the last epoch; None if all their forces are zero.

    Args:
        last_epoch: `forces_mae` and `forces_rmse`, eV/Å, as written by the training.
        validation: the validation labels.
    """
    zero, rms = of_zero(validation)
    errors = [last_epoch.get(name) for name in ("forces_mae", "forces_rmse")]
    if rms <= 0 or None in errors:
        return None
    mae, rmse = (1000.0 * float(error or 0.0) for error in errors)
    return Explained(len(validation), mae, rmse, zero, rms)


def of_zero(labels: Sequence[Label]) -> tuple[float, float]:
    """MAE and RMSE of zero forces, meV/Å."""
    forces = 1000.0 * np.concatenate([label.forces.ravel() for label in labels] or [np.zeros(1)])
    return float(np.abs(forces).mean()), float(np.sqrt(np.mean(forces**2)))


def check(
    name: str,
    found: Explained | None,
    *,
    settings: ModelSettings,
    budget: Budget,
    numbers: Statistics,
    first: bool,
) -> None:
    """Raise TooPoor if the force errors of a generation are too large for MD.

    Args:
        name: of the generation.
        found: its errors; None if they are not known.
        settings: of the model.
        budget: that it was trained with.
        numbers: of the first training set.
        first: whether it is generation 0.
    """
    limit = settings.max_force_error_ratio
    if found is None or limit is None:
        return
    limit = limit if first else max(limit, WORST_LATER)
    # NaN (a diverged training) passes here and fails the gate.
    if not found.ratio > limit:
        return
    more = (
        f"model.first.epochs ({budget.epochs}), model.r_max_A ({settings.cutoff_A:g} Å, with "
        f"{numbers.average_neighbors:.0f} neighbours per atom), bootstrap.count, "
        "bootstrap.displacement_A or bootstrap.strain"
        if first
        else f"model.warm.epochs ({budget.epochs})"
    )
    raise TooPoor(
        f"generation {name} is too inaccurate for MD: {found}; the ratio to the errors of zero "
        f"forces is {found.ratio:.2f}, limit {limit:g} (model.max_force_error_ratio). Increase "
        f"{more}, then run the same command again; labels are kept"
    )


def advice(settings: ModelSettings) -> str | None:
    """Advice on settings that cannot be changed after generation 0; None if there is none."""
    if settings.zbl:
        return None
    return (
        "model.zbl is false: no repulsion at distances that no label covers; true is recommended, "
        "and cannot be set after generation 0"
    )
