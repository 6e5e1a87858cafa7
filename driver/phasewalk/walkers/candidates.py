"""Select the frame of a walker to label: the last good one; older ones if its label fails."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pydantic import Field

from ..settings import Settings
from ..structures import Guard, clash
from .near_frames import NearFrames

LAST = "last frame"


class CandidateSettings(Settings):
    """Checks that a frame must pass before its label is computed."""

    min_distance_fraction: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="Minimum pair distance, as a fraction of the sum of covalent radii.",
    )
    min_volume_ratio: float = Field(
        0.4, gt=0, lt=1, description="Minimum volume, relative to the system's start structure."
    )
    max_volume_ratio: float = Field(
        2.0, gt=1, description="Maximum volume, relative to the system's start structure."
    )
    tries: int = Field(
        3, ge=1, le=100, description="Maximum number of frames of a walker to try if labels fail."
    )
    tries_apart_fs: float = Field(
        50.0,
        gt=0,
        le=1e6,
        description="Minimum time between one tried frame and the next (older) one.",
    )
    min_rmsd_A: float = Field(
        0.02,
        ge=0,
        description="Skip a frame if its rms displacement from a labelled frame is less than this "
        "and their cells differ by less than min_strain.",
    )
    min_strain: float = Field(
        0.002, ge=0, description="Strain between the cells of two frames, used with min_rmsd_A."
    )
    empty_rounds: int = Field(
        2, ge=1, description="Stop the campaign after this many consecutive rounds without a label."
    )


@dataclass(frozen=True)
class Candidate:
    """The selected frame of a walker, or the reason why there is none.

    Attributes:
        walker, system: origin of the frame.
        step: step counter of the walker.
        atoms: the frame with velocities (ASE units); None if no frame passed the checks.
        reason: why this frame was selected.
        older: good frames to use if its label fails, the newest first.
    """

    walker: str
    system: str
    step: int
    atoms: Atoms | None
    reason: str
    older: tuple[tuple[int, Atoms], ...] = ()


def select(
    walker: str,
    system: str,
    *,
    frames: Sequence[tuple[int, Atoms]],
    start: Atoms,
    settings: CandidateSettings,
    timestep_fs: float,
    guard: Guard | None = None,
) -> Candidate:
    """Select the last good frame of a walker.

    Args:
        walker: id of the walker.
        system: its system.
        frames: (step, frame) in the order of time, without the first frame of the segment.
        start: the system's start structure.
        settings: the checks.
        timestep_fs: time step.
        guard: the bonds that frames must have; None: any.
    """
    found: str | None = None
    good: list[tuple[int, Atoms]] = []
    for step, atoms in reversed(frames):
        fault = screen(atoms, start=start, settings=settings, guard=guard)
        if fault is not None:
            found = found or f"step {step}: {fault}"
        elif not good or (good[-1][0] - step) * timestep_fs >= settings.tries_apart_fs:
            good.append((step, atoms))
        if len(good) == settings.tries:
            break
    if not good:
        return Candidate(walker, system, -1, None, found or "the walker wrote no frame")
    (step, atoms), *older = good
    newest = step == frames[-1][0]
    reason = LAST if newest else f"last good frame (a later one: {found})"
    return Candidate(walker, system, step, atoms, reason, tuple(older))


def volume_limits(start: Atoms, settings: CandidateSettings) -> tuple[float, float]:
    """Smallest and largest volume (Å³) of a good frame."""
    volume = float(start.get_volume())
    return settings.min_volume_ratio * volume, settings.max_volume_ratio * volume


def screen(
    atoms: Atoms, *, start: Atoms, settings: CandidateSettings, guard: Guard | None = None
) -> str | None:
    """Why a frame fails the checks; None if it passes."""
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "positions or cell are not finite"
    low, high = volume_limits(start, settings)
    if not low <= atoms.get_volume() <= high:
        ratio = float(atoms.get_volume() / start.get_volume())
        return (
            f"volume {atoms.get_volume():.0f} Å³ is {ratio:.2f} × the start structure's (limits "
            f"{settings.min_volume_ratio:g} to {settings.max_volume_ratio:g})"
        )
    near = clash(atoms, settings.min_distance_fraction)
    return guard.fault(atoms) if near is None and guard is not None else near


def redundant(atoms: Atoms, known: NearFrames, settings: CandidateSettings) -> str | None:
    """Which known frame is nearly the same; None if the frame is new."""
    near = known.first_within(atoms, rmsd_A=settings.min_rmsd_A, strain=settings.min_strain)
    if near is None:
        return None
    return (
        f"rms displacement from labelled frame {near[0] + 1} is {near[1]:.3f} Å "
        f"(candidates.min_rmsd_A {settings.min_rmsd_A:g})"
    )
