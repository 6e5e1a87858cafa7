"""Averages of correlated series with their standard errors, by pymbar.

The start of a series is discarded up to the point that leaves the most independent samples
(Chodera, J. Chem. Theory Comput. 12, 1799 (2016)). Of the n samples that are left, n/g are
independent, where g, the statistical inefficiency, is 1 + twice the sum of the autocorrelation
function (Chodera et al., J. Chem. Theory Comput. 3, 26 (2007)). Walkers have one mean and one g, so
that those which stay in different states give a large g, and with it a large error.

From few samples g is too small: of series with 20 independent samples, the mean is within twice
that error in 84 %. With fewer than `FEW`, the error is at least that of the means of five blocks,
times half of Student's t, as for free energies; then it is in 91 % (400 runs). Shorter series are
mostly, but not always, recognized as too short.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..free_energies import student

Array = NDArray[np.float64]

MIN_INDEPENDENT = 10
"""Minimum number of independent samples for an error."""
FEW, BLOCKS = 100, 5
"""Number of independent samples below which blocks count as well, and how many blocks."""
MOST = 5000
"""Longer series are replaced by this number of means of blocks."""
STARTS = 200
"""Number of points at which a series may begin to count."""
CONSTANT = 1e-10
"""A series is constant if it varies by less than this, relative to its largest value."""


@dataclass(frozen=True)
class Average:
    """The mean of a quantity.

    Attributes:
        mean: of what is not discarded, by all walkers; NaN if there is nothing.
        error: standard error of the mean; NaN if there are too few independent samples.
        independent: number of independent samples; inf for a constant.
        discarded: for each walker, the fraction of its samples, at its beginning, not used.
    """

    mean: float
    error: float
    independent: float
    discarded: tuple[float, ...] = ()

    @property
    def too_short(self) -> bool:
        """Whether there are too few independent samples for an error."""
        return self.independent < MIN_INDEPENDENT


def average(series: Sequence[Array], *, discard: Sequence[float] | None = None) -> Average:
    """The mean of a quantity and its standard error.

    Args:
        series: for each walker, its (n,) values, evenly spaced in time.
        discard: fraction of each series to discard; None: what is not in equilibrium.
    """
    shares = [equilibration(one) for one in series] if discard is None else list(discard)
    kept = [one[math.ceil(share * len(one)) :] for one, share in zip(series, shares, strict=True)]
    kept = [one for one in kept if len(one)]
    if not kept:
        return Average(math.nan, math.nan, 0.0, tuple(shares))
    everything = np.concatenate(kept)
    mean = float(everything.mean())
    blocks = [_blocks(one) for one in kept]
    count = sum(len(one) for one in blocks)
    if count <= MIN_INDEPENDENT:
        return Average(mean, math.nan, 1.0, tuple(shares))
    if constant(everything):
        return Average(mean, 0.0, math.inf, tuple(shares))
    independent = count / _timeseries().statistical_inefficiency_multiple(blocks)
    variance = float(np.concatenate(blocks).var())
    if independent < FEW:
        independent = min(independent, 1.0 + variance / _block_error(blocks) ** 2)
    known = independent >= MIN_INDEPENDENT
    error = math.sqrt(variance / (independent - 1.0)) if known else math.nan
    return Average(mean, error, float(independent), tuple(shares))


def _block_error(series: Sequence[Array]) -> float:
    """The standard error of the mean from the scatter of a few blocks; see above."""
    each = math.ceil(BLOCKS / len(series))
    means = [part.mean() for one in series for part in np.array_split(one, each) if len(part)]
    scatter = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return max(scatter * student(len(means) - 1) / 2.0, 1e-300)


def constant(values: Array) -> bool:
    """Whether all values are equal, but for rounding."""
    return float(np.ptp(values)) <= CONSTANT * float(np.abs(values).max())


def equilibration(series: Array) -> float:
    """Fraction of a series, at its beginning, that is not in equilibrium."""
    if len(series) <= MIN_INDEPENDENT or constant(series):
        return 0.0
    blocks = _blocks(series)
    if constant(blocks):
        return 0.0
    skip = max(1, len(blocks) // STARTS)
    start, _, _ = _timeseries().detect_equilibration(blocks, fast=True, nskip=skip)
    return float(start) / len(blocks)


def _blocks(series: Array) -> Array:
    """The series, or means of its blocks if it is long; what does not fill a block is left out."""
    size = math.ceil(len(series) / MOST)
    rest = len(series) % size
    found: Array = series[rest:].reshape(-1, size).mean(axis=1)
    return found


def _timeseries() -> Any:
    """The module of pymbar, without what it says at import of packages that are not needed here."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    from pymbar import timeseries

    return timeseries
