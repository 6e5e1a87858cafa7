"""Whether the total energy is conserved along NVE runs, also for a rough potential.

A Verlet integrator contributes terms to the slope and the scatter of the total energy that are
proportional to the square of the time step, if the step is short enough for the potential. The step
is therefore halved until this is observed. Errors of the program do not vanish with the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..units import FS_PER_PS

Array = NDArray[np.float64]

STEPS_FS = (0.5, 0.25, 0.125, 0.0625)
"""Time steps of the runs, the longest first; shorter ones are used only if needed."""
LENGTH_FS, EVERY_FS = 100.0, 5.0
"""Length of a run, and interval between its energies."""
MAX_DRIFT = 1.0
"""Maximum slope that is attributed to rounding, meV/atom/ps."""
MAX_EXCESS = 1.6
"""Maximum ratio of the scatter to the value expected from the square of the step."""
NOISE = 1e-3
"""Scatter below which its dependence on the step is not significant, meV/atom."""
RESOLVED = 0.5
"""Maximum change of a drift in the last halving, relative to the drift, for it to be real."""


@dataclass(frozen=True)
class Conservation:
    """Results of NVE runs of one frame with several time steps.

    Attributes:
        slopes: time step (fs) → slope of the total energy, meV/atom/ps, for runs whose energies
            are all finite.
        scatter: time step (fs) → scatter of the total energy about its slope, meV/atom.
        drift: slope extrapolated to zero step from the two shortest steps, meV/atom/ps.
        change: change of the drift in the last halving, meV/atom/ps.
        excesses: ratio of the scatter to the value expected from the square of the step, for each
            halving in order; empty if the scatter is below the noise.
    """

    slopes: Mapping[float, float]
    scatter: Mapping[float, float]
    drift: float
    change: float
    excesses: tuple[float, ...]

    @property
    def excess(self) -> float | None:
        """The ratio of the last halving; None if the scatter is below the noise."""
        return self.excesses[-1] if self.excesses else None

    @property
    def conserved(self) -> bool:
        """Whether the energy is conserved, so that shorter steps are not needed."""
        return abs(self.drift) <= MAX_DRIFT and (self.excess is None or self.excess <= MAX_EXCESS)

    @property
    def drifts(self) -> bool:
        """Whether there is a drift that does not vanish with the step."""
        return abs(self.drift) > MAX_DRIFT and self.change <= RESOLVED * abs(self.drift)

    @property
    def scatters(self) -> bool:
        """Whether the scatter is not proportional to the square of the step."""
        return bool(self.excesses) and min(self.excesses[-2:]) > MAX_EXCESS


def analyse(energies: Mapping[float, Sequence[float] | Array], atoms: int) -> Conservation | None:
    """Analyse the runs; None if fewer than two have finite energies.

    Args:
        energies: time step (fs) → total energies (eV) every `EVERY_FS`.
        atoms: number of atoms.
    """
    slopes, scatter = {}, {}
    for step in sorted(energies):
        values = np.asarray(energies[step], dtype=float)
        if len(values) < 3 or not np.isfinite(values).all():
            break
        time_ps = np.arange(len(values)) * EVERY_FS / FS_PER_PS
        # A fit to differences: with values of −10⁵ eV rounding would dominate.
        slope, start = np.polyfit(time_ps, values - values[0], 1)
        slopes[step] = 1000.0 * float(slope) / atoms
        left = values - values[0] - slope * time_ps - start
        scatter[step] = 1000.0 * float(np.std(left)) / atoms
    if len(slopes) < 2:
        return None
    steps = sorted(slopes)
    pairs = list(pairwise(steps))
    drifts = [_at_zero(slopes, short, long) for short, long in pairs]
    before = drifts[1] if len(drifts) > 1 else slopes[steps[0]]
    excesses = [
        scatter[short] / scatter[long] * (long / short) ** 2
        for short, long in reversed(pairs)
        if min(scatter[short], scatter[long]) > NOISE
    ]
    quiet = scatter[steps[0]] <= NOISE
    return Conservation(
        slopes, scatter, drifts[0], abs(drifts[0] - before), () if quiet else tuple(excesses)
    )


def _at_zero(slopes: Mapping[float, float], short: float, long: float) -> float:
    """The slope extrapolated to zero step, for an error proportional to the square of the step."""
    square = (long / short) ** 2
    return (square * slopes[short] - slopes[long]) / (square - 1)
