"""Mean square displacements and diffusion coefficients.

Displacements are sums of the changes of unwrapped positions in units of the cell's vectors, times
the cell of the moment: fluctuations of the cell are not counted as motion, which in a long run at
constant pressure would be large (von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020)).
The motion of the centre of mass is subtracted.

Each walker is divided into blocks; D is the slope of the mean square displacement over a window of
times, over 6, and its error the scatter between blocks. An element diffuses if the displacement
grows, and as fast in the second half of the window as in the first: in a crystal it is constant, of
confined atoms it slows down, and of free flight it becomes faster. Vibrations add a constant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from .frames import Frames

Array = NDArray[np.float64]

BLOCKS = 10
"""Number of blocks of all walkers."""
WINDOW = (0.1, 0.5)
"""Window of the fit, relative to the length of a block."""
MIN_FRAMES = 20
"""Minimum number of frames of a block."""
MIN_GROWTH = 0.1
"""Minimum growth over the window, relative to the displacement at its end."""
MAX_BEND = 0.3
"""Maximum difference of the slopes of the two halves of the window, relative to their mean."""
SIGNIFICANT, BENT = 3.0, 2.0
"""Number of standard errors from which D differs from 0, and the two slopes from each other."""
_ATOMS_AT_ONCE = 256


@dataclass(frozen=True)
class Diffusion:
    """Motion of one element.

    Attributes:
        element: its symbol.
        times_ps: (n,) time differences, up to half of a block.
        msd: (n,) mean square displacement, Å².
        errors: (n,) its standard error; NaN for one block.
        coefficient: D, Å²/ps.
        error: its standard error; NaN for one block.
        growth: of the displacement over the window, relative to that at its end.
        bend: slope in the second half of the window minus that in the first, relative to the mean.
        bend_error: its standard error; NaN for one block.
        window_ps: of the fit.
        blocks: number of blocks.
    """

    element: str
    times_ps: Array
    msd: Array
    errors: Array
    coefficient: float
    error: float
    growth: float
    bend: float
    bend_error: float
    window_ps: tuple[float, float]
    blocks: int

    @property
    def against(self) -> str:
        """Why it is not diffusion; empty if it is."""
        if self.growth < MIN_GROWTH or self.coefficient < SIGNIFICANT * self.error:
            return "the displacement does not grow"
        if abs(self.bend) > max(MAX_BEND, BENT * self.bend_error):
            change = "slows down" if self.bend < 0.0 else "becomes faster"
            return f"its growth {change} (by {100 * abs(self.bend):.0f} % within the window)"
        return ""


def diffusion(walks: Sequence[Frames], timestep_ps: float) -> list[Diffusion]:
    """The motion of each element; empty if there are too few frames.

    Args:
        walks: frames of each walker, in equilibrium.
        timestep_ps: time step.
    """
    walks = [walk for walk in walks if len(walk.steps) >= MIN_FRAMES]
    if not walks:
        return []
    each = max(1, round(BLOCKS / len(walks)))
    length = max(MIN_FRAMES, min(len(walk.steps) for walk in walks) // each)
    lags = np.arange(length // 2 + 1)
    interval_ps = float(np.diff(walks[0].steps).min()) * timestep_ps
    times_ps: Array = np.array(lags * interval_ps, dtype=float)
    parts = []
    for walk in walks:
        moved = displacements(walk)
        count = len(moved) // length
        rest = len(moved) - count * length
        parts += [moved[rest + n * length : rest + (n + 1) * length] for n in range(count)]
    symbols = walks[0].symbols
    found = []
    for element in sorted(set(symbols.tolist())):
        mine = symbols == element
        curves = np.array([squares(part[:, mine])[lags] for part in parts])
        found.append(_fitted(element, curves, times_ps, length * interval_ps))
    return found


def displacements(walk: Frames) -> Array:
    """(n, atoms, 3) motion since the first frame, Å, without that of the centre of mass."""
    masses = np.array([atomic_masses[atomic_numbers[one]] for one in walk.symbols])
    cells = (walk.cells[1:] + walk.cells[:-1]) / 2.0
    steps = np.diff(walk.places, axis=0) @ cells
    moved = np.concatenate([np.zeros((1, *steps.shape[1:])), np.cumsum(steps, axis=0)])
    centre = (moved * masses[:, None]).sum(axis=1, keepdims=True) / masses.sum()
    relative: Array = moved - centre
    return relative


def squares(moved: Array) -> Array:
    """(n,) mean square displacement by time difference, from (n, atoms, 3) positions.

    By Fourier transforms, over all atoms and time origins (Calandrini et al., Collection SFN 12,
    201 (2011)).
    """
    from scipy.fft import irfft, next_fast_len, rfft

    count, atoms = moved.shape[:2]
    size = next_fast_len(2 * count)
    total = np.zeros(count)
    for start in range(0, atoms, _ATOMS_AT_ONCE):
        part = moved[:, start : start + _ATOMS_AT_ONCE].reshape(count, -1)
        products = irfft(np.abs(rfft(part, size, axis=0)) ** 2, size, axis=0)[:count].sum(axis=1)
        squared = (part**2).sum(axis=1)
        sums = np.concatenate([[0.0], np.cumsum(squared)])
        lags = np.arange(count)
        total += sums[count - lags] + sums[-1] - sums[lags] - 2.0 * products
    found: Array = np.maximum(total, 0.0) / (np.arange(count, 0, -1) * atoms)
    return found


def _fitted(element: str, curves: Array, times_ps: Array, block_ps: float) -> Diffusion:
    """The diffusion coefficient from (blocks, n) mean square displacements."""
    low, high = (share * block_ps for share in WINDOW)
    slopes = _slopes(curves, times_ps, low, high)
    halves = [_slopes(curves, times_ps, *ends) for ends in _halves(low, high)]
    mean, blocks = curves.mean(axis=0), len(curves)
    slope = float(slopes.mean())
    bends = (halves[1] - halves[0]) / (slope or 1.0)
    end = float(mean[times_ps <= high][-1])

    def error(values: Array) -> float:
        return float(values.std(ddof=1)) / math.sqrt(blocks) if blocks > 1 else math.nan

    scatter = curves.std(axis=0, ddof=1) if blocks > 1 else np.full(len(mean), math.nan)
    return Diffusion(
        element=element,
        times_ps=times_ps,
        msd=mean,
        errors=scatter / math.sqrt(blocks),
        coefficient=slope / 6.0,
        error=error(slopes / 6.0),
        growth=slope * (high - low) / (end or 1.0),
        bend=float(bends.mean()),
        bend_error=error(bends),
        window_ps=(low, high),
        blocks=blocks,
    )


def _halves(low: float, high: float) -> tuple[tuple[float, float], tuple[float, float]]:
    middle = (low + high) / 2.0
    return (low, middle), (middle, high)


def _slopes(curves: Array, times_ps: Array, low: float, high: float) -> Array:
    """(blocks,) slopes of (blocks, n) curves within a window, Å²/ps."""
    window = (times_ps >= low) & (times_ps <= high)
    found: Array = np.polyfit(times_ps[window], curves[:, window].T, 1)[0]
    return found
