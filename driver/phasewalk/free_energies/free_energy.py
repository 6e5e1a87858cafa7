"""Free energies on a grid: data, JSON, and differences. `reweight` computes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from ..files import OrNan, made_by, numbers, typed
from ..units import BOLTZMANN_KJ_PER_MOL_K

Array = NDArray[np.float64]

COMPARED_KT = 10.0
"""Histogram and hills are compared in bins with F below this, kT."""
AGREE_KT = 1.0
"""Histogram and hills agree if they differ by less than this (rms, kT), whatever the error."""
KNOWN = 0.9
"""Minimum fraction of compared bins with an error, for an error of a difference."""
MIN_CROSSINGS, FEW_CROSSINGS = 8, 32
"""Numbers of crossings of the range, by all walkers, for an error; for one that is not wide."""


@dataclass(frozen=True)
class Variable:
    """A collective variable, in the units of the PLUMED text.

    Attributes:
        name: as in PLUMED's files.
        period: inf if it is not periodic.
        lowest: start of the period; not used without one.
    """

    name: str
    period: float = math.inf
    lowest: float = 0.0

    def wrap(self, values: Array) -> Array:
        """Values wrapped into the period that starts at `lowest`; unchanged without a period."""
        if not math.isfinite(self.period):
            return values
        wrapped: Array = self.lowest + np.mod(values - self.lowest, self.period)
        return wrapped


@dataclass(frozen=True)
class FreeEnergy:
    """A free energy on a grid of one or two variables; unknown values are NaN (null in JSON).

    Attributes:
        variables: of the grid.
        centres: for each variable, the (n,) centres of its bins, evenly spaced.
        values: (n,) or (n, m) free energy, kJ/mol, zero in the lowest bin.
        errors: same shape: error of the difference from the lowest bin, kJ/mol; twice this contains
            the exact value in 95 % of all cases (see `uncertainty`).
        from_hills: same shape: the free energy from the hills, shifted to the same mean as
            `values` over the compared bins.
        temperature_K: of the walkers.
        frames: number of frames used, of each walker.
        blocks: number of blocks of all walkers, and the rms error (kJ/mol) over the compared bins;
            the shortest blocks last.
        opinions_differ: rms difference (kJ/mol) between `values` and `from_hills` over the
            compared bins.
        crossings: of the range, by each walker; empty if not counted (earlier versions).
        compared: whether a bin is compared: sampled, and below `COMPARED_KT` kT.
    """

    variables: tuple[Variable, ...]
    centres: tuple[Array, ...]
    values: Array
    errors: Array
    from_hills: Array
    temperature_K: float
    frames: tuple[int, ...]
    blocks: tuple[tuple[int, float], ...]
    opinions_differ: float
    crossings: tuple[int, ...] = ()

    @property
    def kT(self) -> float:
        """Thermal energy, kJ/mol."""
        return BOLTZMANN_KJ_PER_MOL_K * self.temperature_K

    @property
    def compared(self) -> NDArray[np.bool_]:
        """See above."""
        return below(self.values, COMPARED_KT * self.kT)

    @property
    def largest_error(self) -> float:
        """Largest known error of the compared bins, kJ/mol; NaN if none is known."""
        known = self.errors[self.compared & np.isfinite(self.errors)]
        return float(known.max()) if known.size else math.nan

    def covered(self, axis: int, ends: tuple[float, float]) -> float:
        """Fraction of a range of one variable that was sampled."""
        centres = self.centres[axis]
        width = float(centres[1] - centres[0]) if len(centres) > 1 else 1.0
        rows = np.moveaxis(self.values, axis, 0).reshape(len(centres), -1)
        sampled = np.isfinite(rows).any(axis=1)
        inside = (centres + width / 2 > ends[0]) & (centres - width / 2 < ends[1])
        return min(1.0, float((sampled & inside).sum()) * width / max(ends[1] - ends[0], width))

    @property
    def agree(self) -> bool:
        """Whether histogram and hills differ by less than `AGREE_KT` kT.

        The limit does not depend on the error: with a large error, anything would agree.
        """
        return self.opinions_differ <= AGREE_KT * self.kT

    @property
    def crossed(self) -> str:
        """How many times the range was crossed, and what follows for the error, as text."""
        if not self.crossings:
            return ""
        total = sum(self.crossings)
        text = f"the walkers crossed the range {total} times ({', '.join(map(str, self.crossings))}"
        if total < MIN_CROSSINGS and math.isnan(self.largest_error):
            return f"{text}): too few, no error can be given yet (minimum {MIN_CROSSINGS})"
        if total < FEW_CROSSINGS:
            return f"{text}): few, so the error is wide"
        return f"{text})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "unit": "kJ/mol",
            "temperature_K": self.temperature_K,
            "variables": [
                {
                    "name": variable.name,
                    "period": variable.period if math.isfinite(variable.period) else None,
                    "lowest": variable.lowest,
                    "centres": centres.tolist(),
                }
                for variable, centres in zip(self.variables, self.centres, strict=True)
            ],
            "free_energy": to_json(self.values),
            "error": to_json(self.errors),
            "from_hills": to_json(self.from_hills),
            "frames": list(self.frames),
            "blocks": [
                {"count": count, "rms_error": None if math.isnan(error) else error}
                for count, error in self.blocks
            ],
            "largest_error": None if math.isnan(self.largest_error) else self.largest_error,
            "opinions_differ": self.opinions_differ,
            "opinions_compared_below": COMPARED_KT * self.kT,
            "opinions_agree": self.agree,
            "crossings": list(self.crossings),
            "crossings_needed": MIN_CROSSINGS,
        }


@dataclass(frozen=True)
class Difference:
    """Difference of two free energies over the bins in which both are known.

    Attributes:
        largest: largest absolute difference, kJ/mol, after a shift to the same mean; NaN if there
            are no such bins.
        rms: root mean square difference, likewise.
        shared: fraction of the known bins of the first that are also known in the second.
        error: expected rms difference from the errors of both, kJ/mol; NaN if more than a tenth of
            these bins have no error.
    """

    largest: float
    rms: float
    shared: float
    error: float = math.nan


class _Axis(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    period: float | None
    lowest: float
    centres: Annotated[Array, numbers(None)]


class _Blocks(BaseModel):
    model_config = ConfigDict(strict=True)

    count: int
    rms_error: OrNan


_Grid = Annotated[Array, made_by(lambda values: np.array(values, dtype=float))]


class _Stored(BaseModel):
    """What `FreeEnergy.as_dict` gives."""

    model_config = ConfigDict(strict=True)

    temperature_K: float
    variables: list[_Axis]
    free_energy: _Grid
    error: _Grid
    from_hills: _Grid
    frames: tuple[int, ...]
    blocks: list[_Blocks]
    opinions_differ: float
    crossings: tuple[int, ...] = ()


def from_dict(data: Mapping[str, Any]) -> FreeEnergy:
    """The reverse of `FreeEnergy.as_dict`; raises InputError for other data."""
    one = typed(data, _Stored, unlike="not a free energy")
    shape = tuple(len(axis.centres) for axis in one.variables)
    if any(grid.shape != shape for grid in (one.free_energy, one.error, one.from_hills)):
        raise InputError("not a free energy (it has not one value for each bin)")
    return FreeEnergy(
        variables=tuple(
            Variable(axis.name, math.inf if axis.period is None else axis.period, axis.lowest)
            for axis in one.variables
        ),
        centres=tuple(axis.centres for axis in one.variables),
        values=one.free_energy,
        errors=one.error,
        from_hills=one.from_hills,
        temperature_K=one.temperature_K,
        frames=one.frames,
        blocks=tuple((blocks.count, blocks.rms_error) for blocks in one.blocks),
        opinions_differ=one.opinions_differ,
        crossings=one.crossings,
    )


def points(centres: Sequence[Array]) -> Array:
    """(bins, d) centres of all bins of a grid, the last variable fastest."""
    found: Array = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, len(centres))
    return found


def difference(
    one: FreeEnergy, other: FreeEnergy, within_kJ_per_mol: float = math.inf
) -> Difference:
    """Difference of two free energies of the same variables, where both are known.

    The second one is interpolated to the bins of the first.

    Args:
        one: a free energy.
        other: of the same variables.
        within_kJ_per_mol: compare only bins in which both are below this.
    """
    if [v.name for v in one.variables] != [v.name for v in other.variables]:
        names = [", ".join(v.name for v in each.variables) for each in (one, other)]
        raise InputError(
            f"cannot compare free energies of different variables: {names[0]} and {names[1]}"
        )
    known = below(one.values, within_kJ_per_mol)
    at = points(one.centres)
    there, errors = (
        _interpolate(other, values, at).reshape(one.values.shape)
        for values in (other.values, other.errors)
    )
    both = known & below(there, within_kJ_per_mol)
    if not both.any():
        return Difference(math.nan, math.nan, 0.0)
    apart = (one.values - there)[both]
    apart = np.abs(apart - apart.mean())
    share = float(both.sum() / known.sum())
    expected = np.hypot(one.errors, errors)[both]
    known = np.isfinite(expected)
    error = float(np.sqrt(np.mean(expected[known] ** 2))) if known.mean() >= KNOWN else math.nan
    return Difference(float(apart.max()), float(np.sqrt(np.mean(apart**2))), share, error)


def places(variable: Variable, axis: Array, column: Array) -> Array:
    """Values in units of the bin width, from the centre of the first bin; −0.5 is its lower end."""
    width = axis[1] - axis[0] if len(axis) > 1 else 1.0
    counted: Array = (variable.wrap(column) - axis[0]) / width
    return counted


def _interpolate(free: FreeEnergy, of: Array, at: Array) -> Array:
    """(n,) values of bins at (n, d) points, interpolated linearly between bins; NaN if unknown."""
    total = np.zeros(len(at))
    corners: list[list[tuple[NDArray[np.intp], Array, NDArray[np.bool_]]]] = []
    for variable, axis, column in zip(free.variables, free.centres, at.T, strict=True):
        place, last = places(variable, axis, column), len(axis)
        low = np.floor(place + 1e-9).astype(int)
        share = np.where(np.abs(place - np.rint(place)) < 1e-9, 0.0, place - low)
        ends = []
        for index, part in ((low, 1.0 - share), (low + 1, share)):
            inside = (index >= 0) & (index < last)
            if math.isfinite(variable.period):
                index, inside = np.mod(index, last), np.ones(len(at), dtype=bool)
            ends.append((np.clip(index, 0, last - 1), part, inside))
        corners.append(ends)
    for corner in product(*corners):
        part = np.prod([share for _, share, _ in corner], axis=0)
        inside = np.all([inside for _, _, inside in corner], axis=0)
        values = np.where(inside, of[tuple(index for index, _, _ in corner)], math.nan)
        total += np.where(part > 0, part * values, 0.0)
    return total


def below(values: Array, limit: float) -> NDArray[np.bool_]:
    """Whether values are known and at most the limit."""
    return np.isfinite(values) & (np.nan_to_num(values, nan=math.inf) <= limit)


def to_json(values: Array) -> Any:
    """Numbers as nested lists; None for what is not known."""
    return [
        to_json(row) if row.ndim else float(row) if np.isfinite(row) else None for row in values
    ]
