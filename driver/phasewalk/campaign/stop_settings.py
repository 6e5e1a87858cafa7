"""When a campaign ends by itself: settings alone; `stopping` judges them."""

from typing import Literal

from pydantic import Field, model_validator

from ..settings import Settings


class ErrorGoal(Settings):
    """Out-of-sample errors that must be below their limits; those that are left out do not count.

    Out of sample: on frames that the model has not learned.
    """

    on: Literal["new", "test"] = Field(
        "new",
        description="new: each round's new frames, before they are learned; test: test_data, by "
        "each round's new generation.",
    )
    rounds: int = Field(2, ge=1, description="In so many rounds, one after the other.")
    force_mae_meV_per_A: float | None = Field(
        None, gt=0, description="Mean absolute error of force components."
    )
    force_rmse_meV_per_A: float | None = Field(
        None, gt=0, description="Root mean square error of force components."
    )
    energy_scatter_meV_per_atom: float | None = Field(
        None,
        gt=0,
        description="Root mean square error of energies without the common offset of each "
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
        """The limits that are given, by the names of `evaluation.Errors`."""
        found = self.model_dump(exclude={"on", "rounds"})
        return {name: limit for name, limit in found.items() if limit is not None}

    @model_validator(mode="after")
    def _some(self) -> "ErrorGoal":
        if not self.limits:
            raise ValueError(f"give at least one limit: {', '.join(_LIMITS)}")
        return self


_LIMITS = [name for name in ErrorGoal.model_fields if name not in ("on", "rounds")]


class CoverGoal(Settings):
    """A range of a collective variable that must be covered by labelled frames of walkers."""

    system: str | None = Field(None, description="Which system; needed where there are several.")
    colvar: str = Field(min_length=1, description="An argument of METAD in the system's plumed.")
    min: float = Field(description="Where the range begins, in the units of the PLUMED text.")
    max: float = Field(description="Where it ends.")
    bins: int = Field(10, ge=1, le=10_000, description="The range is cut into so many bins …")
    frames: int = Field(1, ge=1, description="… each of which must hold so many labelled frames.")

    @model_validator(mode="after")
    def _ordered(self) -> "CoverGoal":
        if self.max <= self.min:
            raise ValueError(f"max: {self.max:g} is not above min: {self.min:g}")
        return self


class FreeEnergyGoal(Settings):
    """Free energies of two successive generations, each frozen and biased anew, that must agree.

    Costs `segments` more segments of all walkers for each generation, and only where all other
    goals are met already.
    """

    max_difference_kJ_per_mol: float = Field(
        gt=0, description="Largest difference, once both are aligned."
    )
    segments: int = Field(10, ge=1, le=10_000, description="Segments for each free energy.")
    hills: float = Field(
        0.2, gt=0, le=1, description="Their height, × METAD's; lower ones err less, and fill later."
    )
    min_shared: float = Field(
        0.8, gt=0, le=1, description="Share of what each has sampled that the other must know too."
    )
    within_kJ_per_mol: float = Field(
        40.0, gt=0, description="Compared where both are this close to their minimum."
    )


class StopSettings(Settings):
    """Goals and budgets, looked at after each round.

    The campaign ends where all goals that are given are met, or where one budget is spent. Without
    any it ends after `rounds`.
    """

    errors: ErrorGoal | None = Field(None, description="Goal: out-of-sample errors.")
    covered: tuple[CoverGoal, ...] | None = Field(
        None, description="Goal: ranges of collective variables.", strict=False
    )
    free_energy: FreeEnergyGoal | None = Field(
        None, description="Goal: free energies that do not change any more."
    )
    max_labels: int | None = Field(
        None,
        ge=1,
        description="Budget: no round begins that could bring the labels to more than this, those "
        "included that other campaigns left.",
    )
    max_core_hours: float | None = Field(
        None, gt=0, description="Budget: no round begins after so many core-hours of all stages."
    )
    max_wall_hours: float | None = Field(
        None,
        gt=0,
        description="Budget: no round begins after the campaign has run for so long, pauses "
        "between its runs not counted.",
    )

    @property
    def given(self) -> list[str]:
        """Names of the rules that are given."""
        return [name for name in type(self).model_fields if getattr(self, name) not in (None, ())]
