"""Whether the total energy is conserved along NVE runs, however rough the potential is.

A Verlet integrator adds to the slope and to the scatter of the total energy what goes with the
square of the time step, once the step is short enough for the potential. So the step is halved
until that is seen. What a wrong program adds does not vanish with the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..units import FS_PER_PS

Array = NDArray[np.float64]

STEPS_FS = (0.5, 0.25, 0.125, 0.0625)
"""Time steps of the runs, the longest first; the shorter ones where these do not settle it."""
LENGTH_FS, EVERY_FS = 100.0, 5.0
"""How long a run is, and how often its energy is taken."""
MAX_DRIFT = 1.0
"""Slope that is taken for rounding, meV/atom/ps."""
MAX_EXCESS = 1.6
"""Largest ratio of the scatter to what the square of the step lets expect."""
NOISE = 1e-3
"""Scatter below which its order means nothing, meV/atom."""
RESOLVED = 0.5
"""Largest change by the last halving, over the drift itself, of a drift that is real."""


@dataclass(frozen=True)
class Conservation:
    """What NVE runs of one frame at several time steps say.

    Attributes:
        slopes: meV/atom/ps, by time step in fs; the runs whose energies are all finite.
        scatter: of the total energy about its slope, meV/atom, by time step.
        drift: slope at a vanishing step, from the two shortest, meV/atom/ps; NaN with fewer.
        change: how far the last halving moved that estimate, meV/atom/ps.
        excesses: scatter over what the square of the step lets expect, for each halving, the last
            one last; empty within the noise.
    """

    slopes: Mapping[float, float]
    scatter: Mapping[float, float]
    drift: float
    change: float
    excesses: tuple[float, ...]

    @property
    def excess(self) -> float | None:
        """That of the last halving; None within the noise."""
        return self.excesses[-1] if self.excesses else None

    @property
    def settled(self) -> bool:
        """Whether the energy is conserved: shorter steps are not needed."""
        return abs(self.drift) <= MAX_DRIFT and (self.excess is None or self.excess <= MAX_EXCESS)

    @property
    def drifts(self) -> bool:
        """Whether a drift stays however short the step is."""
        return abs(self.drift) > MAX_DRIFT and self.change <= RESOLVED * abs(self.drift)

    @property
    def scatters(self) -> bool:
        """Whether the scatter does not go with the square of the step, halving after halving."""
        return bool(self.excesses) and min(self.excesses[-2:]) > MAX_EXCESS


def analyse(energies: Mapping[float, Sequence[float] | Array], atoms: int) -> Conservation | None:
    """What the runs say; None if the shortest two did not end, or are not finite.

    Args:
        energies: total energies (eV) each `EVERY_FS`, by time step in fs.
        atoms: their number.
    """
    slopes, scatter = {}, {}
    for step in sorted(energies):
        values = np.asarray(energies[step], dtype=float)
        if len(values) < 3 or not np.isfinite(values).all():
            break
        time_ps = np.arange(len(values)) * EVERY_FS / FS_PER_PS
        # Of the differences: a line through −10⁵ eV would be as wrong as that is large.
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
    """The slope at a vanishing step, if the rest goes with the square of the step."""
    square = (long / short) ** 2
    return (square * slopes[short] - slopes[long]) / (square - 1)
