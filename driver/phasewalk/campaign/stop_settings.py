"""Settings of the stop rules; `campaign.stop` evaluates them."""

from typing import Literal

from pydantic import Field, model_validator

from ..settings import Settings


class ErrorGoal(Settings):
    """Limits of the errors on frames that the model was not trained on.

    Errors without a limit are ignored.
    """

    on: Literal["new", "test"] = Field(
        "new",
        description="new: errors on the new frames of each round, before they are trained on; "
        "test: errors of each new generation on test_data.",
    )
    rounds: int = Field(2, ge=1, description="Number of consecutive rounds.")
    force_mae_meV_per_A: float | None = Field(
        None, gt=0, description="Mean absolute error of force components."
    )
    force_rmse_meV_per_A: float | None = Field(
        None, gt=0, description="Root mean square error of force components."
    )
    energy_scatter_meV_per_atom: float | None = Field(
        None,
        gt=0,
        description="Root mean square error of energies after subtracting the mean error of each "
        "composition.",
    )
    pressure_mae_GPa: float | None = Field(
        None, gt=0, description="Mean absolute error of the pressure."
    )
    stress_mae_GPa: float | None = Field(
        None, gt=0, description="Mean absolute error of stress components."
    )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by the field names of `accuracy.Errors`."""
        found = self.model_dump(exclude={"on", "rounds"})
        return {name: limit for name, limit in found.items() if limit is not None}

    @model_validator(mode="after")
    def _some(self) -> "ErrorGoal":
        if not self.limits:
            raise ValueError(f"give at least one limit: {', '.join(_LIMITS)}")
        return self


_LIMITS = [name for name in ErrorGoal.model_fields if name not in ("on", "rounds")]


class CoverGoal(Settings):
    """A range of a collective variable that must be covered by labelled frames."""

    system: str | None = Field(
        None, description="Name of the system; required if there are several."
    )
    colvar: str = Field(
        min_length=1, description="Collective variable: an ARG of METAD in the system's plumed."
    )
    min: float = Field(description="Lower end of the range, in the units of the PLUMED input.")
    max: float = Field(description="Upper end of the range.")
    bins: int = Field(10, ge=1, le=10_000, description="Number of bins in the range.")
    frames: int = Field(1, ge=1, description="Minimum number of labelled frames in each bin.")

    @model_validator(mode="after")
    def _ordered(self) -> "CoverGoal":
        if self.max <= self.min:
            raise ValueError(f"max: {self.max:g} must be greater than min: {self.min:g}")
        return self


class FreeEnergyGoal(Settings):
    """Agreement of the free energies of two successive generations, each from its own bias.

    Costs `segments` additional segments of all walkers for each generation. It is evaluated only
    if all other goals are met.
    """

    max_difference_kJ_per_mol: float = Field(
        gt=0, description="Maximum difference after alignment."
    )
    segments: int = Field(
        10, ge=1, le=10_000, description="Number of segments for each free energy."
    )
    hills: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Hill height as a fraction of METAD's HEIGHT; lower hills give smaller errors "
        "but fill more slowly.",
    )
    min_shared: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Minimum fraction of the region sampled by each that the other has sampled.",
    )
    within_kJ_per_mol: float = Field(
        40.0, gt=0, description="Compare only where both are within this of their minimum."
    )


class StopSettings(Settings):
    """Goals and budgets, evaluated after each round.

    The campaign ends when all given goals are met or one budget is exhausted, at the latest after
    `rounds` rounds.
    """

    errors: ErrorGoal | None = Field(
        None, description="Goal: errors on frames the model was not trained on."
    )
    covered: tuple[CoverGoal, ...] | None = Field(
        None, description="Goal: covered ranges of collective variables.", strict=False
    )
    free_energy: FreeEnergyGoal | None = Field(None, description="Goal: converged free energies.")
    max_labels: int | None = Field(
        None,
        ge=1,
        description="Budget: no round starts that could exceed this number of labels, including "
        "labels reused from other campaigns; those added of free energies and production "
        "runs do not count.",
    )
    max_core_hours: float | None = Field(
        None, gt=0, description="Budget: no round starts after this many core-hours in all stages."
    )
    max_wall_hours: float | None = Field(
        None,
        gt=0,
        description="Budget: no round starts after the campaign has run for this time; pauses "
        "between runs are not counted.",
    )

    @property
    def given(self) -> list[str]:
        """Names of the given rules."""
        return [name for name in type(self).model_fields if getattr(self, name) not in (None, ())]
