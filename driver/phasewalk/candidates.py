"""Which frame of a walker goes to the reference: the last good one, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pydantic import Field

from .settings import Settings
from .structures import clash


class CandidateSettings(Settings):
    """What makes a frame good enough to pay for its label."""

    min_distance_fraction: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="Closest pair allowed, as a fraction of the sum of covalent radii.",
    )
    min_volume_ratio: float = Field(
        0.4, gt=0, lt=1, description="Smallest volume, relative to the system's start structure."
    )
    max_volume_ratio: float = Field(
        2.0, gt=1, description="Largest volume, relative to the system's start structure."
    )


@dataclass(frozen=True)
class Candidate:
    """The frame of a walker that was chosen, or why there is none.

    Attributes:
        walker, system: where it comes from.
        step: the walker's step counter at this frame.
        atoms: the frame with velocities (ASE units); None where no frame is good.
        reason: why this one.
    """

    walker: str
    system: str
    step: int
    atoms: Atoms | None
    reason: str


def select(
    walker: str,
    system: str,
    *,
    frames: Sequence[tuple[int, Atoms]],
    start: Atoms,
    settings: CandidateSettings,
) -> Candidate:
    """The last good frame of a walker.

    Args:
        walker: id of the walker.
        system: its system.
        frames: (step, frame) in the order of time, without the frame that the segment began with.
        start: the system's start structure.
        settings: the screens.
    """
    found: str | None = None
    for step, atoms in reversed(frames):
        fault = screen(atoms, start=start, settings=settings)
        if fault is None:
            reason = "last frame" if found is None else f"last good frame (a later one: {found})"
            return Candidate(walker, system, step, atoms, reason)
        found = found or f"step {step}: {fault}"
    return Candidate(walker, system, -1, None, found or "the walker made no frame")


def screen(atoms: Atoms, *, start: Atoms, settings: CandidateSettings) -> str | None:
    """What is wrong with a frame; None where it is good."""
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "positions or cell are not finite"
    ratio = float(atoms.get_volume() / start.get_volume())
    if not settings.min_volume_ratio <= ratio <= settings.max_volume_ratio:
        return (
            f"volume {atoms.get_volume():.0f} Å³ is {ratio:.2f} × the start structure's (limits "
            f"{settings.min_volume_ratio:g} to {settings.max_volume_ratio:g})"
        )
    return clash(atoms, settings.min_distance_fraction)
