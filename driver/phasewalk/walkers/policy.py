"""Where a walker continues from, and the errors of the model on its frame that send it back."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ..settings import Settings

ENERGY, FORCE = "energy error", "force error"
"""What exceeds a limit."""


class HoldOutSettings(Settings):
    """Labels of the walkers that are not used for training; they are kept, and count as labels."""

    energy_error_meV_per_atom: float | None = Field(
        30.0,
        gt=0,
        description="Hold a label out if the energy of the model that drove the walker is wrong "
        "by more than this, without the common offset; null: never.",
    )
    force_error_meV_per_A: float | None = Field(
        600.0,
        gt=0,
        description="Hold a label out if the model's force RMSE on the frame exceeds this; null: "
        "never.",
    )


class PolicySettings(Settings):
    """Where a walker continues from; the journal records each decision with its numbers."""

    after_breakdown: Literal["good", "before", "start"] = Field(
        "good",
        description="After a breakdown, continue from: good: the last good frame; before: the "
        "frame that the round began with; start: the system's start structure, which is also used "
        "if no frame is good. New velocities are drawn.",
    )
    after_failed_label: Literal["before", "start"] = Field(
        "before",
        description="Continue from here if the labels of all tried frames failed; values as in "
        "after_breakdown.",
    )
    max_energy_error_meV_per_atom: float | None = Field(
        20.0,
        gt=0,
        description="Reset a walker to the start structure, and make its hills of that round "
        "inactive, if the model's energy of its new frame is wrong by more than this; the median "
        "error on known frames of the same composition (validation labels with intact bonds) is "
        "subtracted. null: never. Default in campaigns that were started by an earlier version: "
        "null.",
    )
    max_force_error_meV_per_A: float | None = Field(
        None,
        gt=0,
        description="The same for the model's force RMSE on the frame. Default: no limit, because "
        "the first generations exceed 200 meV/Å nearly everywhere.",
    )
    max_force_error_ratio: float | None = Field(
        1.0,
        gt=0,
        description="The same for the model's force RMSE on the frame divided by the frame's rms "
        "force; null: never.",
    )
    hold_out: HoldOutSettings | None = Field(
        None,
        description="Limits above which the label of a walker's frame is not used for training; "
        "{}: 30 meV/atom and 600 meV/Å. Default: all labels are used.",
    )

    @property
    def uses_energies(self) -> bool:
        """Whether errors of energies are needed."""
        held = self.hold_out is not None and self.hold_out.energy_error_meV_per_atom is not None
        return held or self.max_energy_error_meV_per_atom is not None

    def limits(self) -> dict[str, float | None]:
        """The limits that reset a walker, for the journal."""
        return {name: getattr(self, name) for name in LIMITS}


LIMITS = ("max_energy_error_meV_per_atom", "max_force_error_meV_per_A", "max_force_error_ratio")
"""Keys of the limits that reset a walker."""


@dataclass(frozen=True)
class FrameError:
    """Errors of the model that drove a walker, on the walker's frame; None: not known.

    Attributes:
        energy_meV_per_atom: model minus reference, without the common offset.
        force_meV_per_A: RMSE of the force components.
        force_ratio: this divided by the rms force of the frame.
    """

    energy_meV_per_atom: float | None = None
    force_meV_per_A: float | None = None
    force_ratio: float | None = None


@dataclass(frozen=True)
class Excess:
    """An error that exceeds a limit: what, as ENERGY or FORCE, and in words with the numbers."""

    kind: str
    says: str


def excess(
    error: FrameError,
    *,
    energy: float | None = None,
    force: float | None = None,
    ratio: float | None = None,
) -> Excess | None:
    """The first error that exceeds its limit; None if there is none. Units as in `FrameError`."""
    wrong = error.energy_meV_per_atom
    if wrong is not None and energy is not None and abs(wrong) > energy:
        return Excess(
            ENERGY,
            f"the model's energy of its frame was wrong by {wrong:+.0f} meV/atom without the "
            f"common offset (limit {energy:g})",
        )
    rmse = error.force_meV_per_A
    if rmse is not None and force is not None and rmse > force:
        text = f"the model's force RMSE on its frame was {rmse:.0f} meV/Å (limit {force:g})"
        return Excess(FORCE, text)
    share = error.force_ratio
    if share is not None and ratio is not None and share > ratio:
        return Excess(
            FORCE,
            f"the model's error on its frame was {share:.2f} × the forces' rms (limit {ratio:g})",
        )
    return None


def limits_in_words(
    energy: float | None = None, force: float | None = None, ratio: float | None = None
) -> str:
    """The given limits as text, to follow "the error exceeds"; empty if there are none."""
    given = (
        (energy, "meV/atom in the energy (without the common offset)"),
        (force, "meV/Å in the force RMSE"),
        (ratio, "× the frame's rms force in the force RMSE"),
    )
    return " or ".join(f"{limit:g} {what}" for limit, what in given if limit is not None)


def resets_in_words(settings: PolicySettings) -> str:
    """The limits that reset a walker, as text; empty if there are none."""
    return limits_in_words(*settings.limits().values())


def hold_out_in_words(settings: PolicySettings) -> str:
    """The limits above which a label is not used for training, as text; empty if all are used."""
    rule = settings.hold_out
    if rule is None:
        return ""
    return limits_in_words(rule.energy_error_meV_per_atom, rule.force_error_meV_per_A)


def reset(error: FrameError, limits: dict[str, float | None]) -> Excess | None:
    """Why a walker is reset; None if no error exceeds the limits (keys as in `LIMITS`)."""
    energy, force, ratio = (limits.get(name) for name in LIMITS)
    return excess(error, energy=energy, force=force, ratio=ratio)


def held_out(error: FrameError, settings: HoldOutSettings) -> Excess | None:
    """Why a label is not used for training; None if it is used."""
    return excess(
        error,
        energy=settings.energy_error_meV_per_atom,
        force=settings.force_error_meV_per_A,
    )
