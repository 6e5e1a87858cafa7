"""Comparison of a frozen model with its reference, and the free energy of the reference itself.

At one value s of the variables, the frames of a run with the model are distributed as without a
bias. With d = E_reference − E_model of these frames, the free energy of the reference is

    F_ref(s) = F(s) − kT ln⟨exp(−d/kT)⟩_s + constant

The mean of exp(−d/kT) is dominated by the frames with the lowest d: if the standard deviation of d
exceeds about 2 kT, no practical number of frames is enough. Up to this limit, the first two
cumulants are used, ⟨d⟩ − var(d)/(2 kT), with the error of each; their deviation from the
exponential average over all frames is added to the error. Beyond it, F is not corrected, and only
⟨d⟩ along the variable is given, by which F may change.

The frames of a walker in another structure (such as a framework with a broken bond) have much
higher energies by the reference. Such a walker is detected by the median energy of its frames,
relative to that of the lowest walker in the same cells; its frames are not used.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UNREADABLE, InputError, brief
from ..units import KJ_PER_MOL_PER_EV
from .cells import Cells, Grid
from .free_energy import FreeEnergy, to_json
from .uncertainty import student

Array = NDArray[np.float64]

MIN_FRAMES = 3
"""Minimum number of frames of a cell."""
SPREAD_KT = 2.0
"""Maximum standard deviation of d within cells for a correction of F, kT."""
BROKEN = 5.0
"""Maximum excess energy of an intact walker, relative to the thermal fluctuation of the energy."""


@dataclass(frozen=True)
class Answered:
    """Frames with the energies of model and reference.

    Attributes:
        values: (n, d) of the variables.
        model, reference: (n,) kJ/mol.
        walkers: (n,) names of the walkers.
    """

    values: Array
    model: Array
    reference: Array
    walkers: Sequence[str]

    def some(self, which: NDArray[np.bool_]) -> "Answered":
        """The frames selected by a mask."""
        names = [name for name, good in zip(self.walkers, which, strict=True) if good]
        return Answered(self.values[which], self.model[which], self.reference[which], names)


@dataclass(frozen=True)
class Cell:
    """Statistics of d = E_reference − E_model in a cell, kJ/mol.

    Attributes:
        centre: of the cell, in the variables' units.
        frames: number of them.
        mean: of d, minus its mean over all cells.
        error: of that mean; twice this contains the exact value in 95 % of all cases.
        spread: standard deviation of d.
        lowers: the second cumulant, var(d)/(2 kT).
        lowers_error: its error.
    """

    centre: tuple[float, ...]
    frames: int
    mean: float
    error: float
    spread: float
    lowers: float
    lowers_error: float


@dataclass(frozen=True)
class Against:
    """Comparison of the free energy of a frozen model with its reference.

    Attributes:
        free: the model's free energy.
        frames, failed: numbers of frames that were labelled, and whose labels failed.
        cells: along the variables.
        compared: for each variable, the range of the cells; empty if there are none.
        spread: standard deviation of d within cells, kJ/mol; NaN if no cell has enough frames.
        n_eff: effective number of frames in the mean of exp(−d/kT).
        broken: walkers in another structure, with their excess energy, kJ/mol.
        excess_limit: kJ/mol.
        corrected: free energy of the reference and its error on the bins of `free`; None if it
            cannot be determined.
    """

    free: FreeEnergy
    frames: int
    failed: int
    cells: tuple[Cell, ...]
    spread: float
    n_eff: float
    broken: Mapping[str, float]
    excess_limit: float
    corrected: tuple[Array, Array] | None
    compared: tuple[tuple[float, float], ...] = ()

    @property
    def along(self) -> str:
        """The variables and the ranges in which they were compared, as text."""
        ranges = self.compared or (None,) * len(self.free.variables)
        return " and ".join(
            variable.name + (f" ({ends[0]:.5g} to {ends[1]:.5g})" if ends else "")
            for variable, ends in zip(self.free.variables, ranges, strict=True)
        )

    @property
    def moves(self) -> float:
        """Range of ⟨d⟩ along the variables, kJ/mol."""
        means = [cell.mean for cell in self.cells]
        return max(means) - min(means) if means else math.nan

    @property
    def changes(self) -> float:
        """Largest difference of the corrected free energy from the model's, kJ/mol."""
        if self.corrected is None:
            return math.nan
        apart = (self.corrected[0] - self.free.values)[self.free.compared]
        apart = apart[np.isfinite(apart)]
        return float(np.abs(apart - apart.mean()).max()) if apart.size else math.nan

    @property
    def verdict(self) -> str:
        """Result of the comparison, as text."""
        along = self.along
        spread, kT = self.spread, self.free.kT
        apart = (
            f"the model differs from the reference by {self.moves:.1f} kJ/mol along {along} and by "
            f"{spread:.1f} kJ/mol ({spread / kT:.1f} kT; limit {SPREAD_KT:g}) from frame to frame"
        )
        if self.broken:
            others = f"; on the other frames, {apart}" if self.cells else ""
            return f"not converged: {'; '.join(self._broken())}{others}"
        if not self.cells:
            return (
                f"unknown: {self.frames} frames are too few; each cell needs {MIN_FRAMES} or more"
            )
        if self.corrected is None:
            return f"not converged: {apart}; train it on more labels"
        errors = self.corrected[1][self.free.compared]
        known = errors[np.isfinite(errors)]
        error = f"error up to {known.max():.1f}" if known.size > 1 else "no error can be given yet"
        return (
            f"along {along} the free energy of the reference differs from the model's by up to "
            f"{self.changes:.1f} kJ/mol ({error})"
        )

    def _broken(self) -> list[str]:
        return [
            f"walker {name} samples another structure: the reference energies of its frames are "
            f"{excess:.0f} kJ/mol ({excess / KJ_PER_MOL_PER_EV:.1f} eV) above those of the others "
            f"(limit {self.excess_limit:.0f})"
            for name, excess in self.broken.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values, errors = self.corrected or (None, None)
        return {
            "frames": self.frames,
            "failed": self.failed,
            "cells": [
                {
                    "centre": list(cell.centre),
                    "frames": cell.frames,
                    "difference": cell.mean,
                    "error": cell.error,
                    "spread": cell.spread,
                }
                for cell in self.cells
            ],
            "compared": [list(ends) for ends in self.compared],
            "moves": _number(self.moves),
            "spread": _number(self.spread),
            "spread_kT": _number(self.spread / self.free.kT),
            "spread_limit_kT": SPREAD_KT,
            "n_eff": _number(self.n_eff),
            "broken_walkers": dict(self.broken),
            "corrected": None if values is None else to_json(values),
            "corrected_error": None if errors is None else to_json(errors),
            "changes": _number(self.changes),
            "verdict": self.verdict,
        }


def from_dict(data: Mapping[str, Any] | None, free: FreeEnergy) -> tuple[Array, Array]:
    """Corrected free energy and its error (kJ/mol) from `Against.as_dict`; NaN if there is none."""
    none = np.full(free.values.shape, math.nan)
    if data is None:
        return none, none
    try:
        str(data["verdict"]), int(data["frames"])
        values, errors = (
            none if data[key] is None else np.array(data[key], dtype=float).reshape(none.shape)
            for key in ("corrected", "corrected_error")
        )
        return values, errors
    except UNREADABLE as error:
        raise InputError(f"not a comparison with the reference ({brief(repr(error))})") from error


def against(
    free: FreeEnergy, answered: Answered, *, over: Grid, atoms: int, failed: int = 0
) -> Against:
    """Compare the free energy of a frozen model with its reference on labelled frames.

    Args:
        free: of the model.
        answered: frames with both energies.
        over: cells in which they are compared.
        atoms: number of atoms of a frame.
        failed: number of frames whose labels failed.
    """
    numbers, kT = over.cell_of(answered.values), free.kT
    excess, limit = _excess(answered, numbers, kT * math.sqrt(1.5 * atoms))
    broken = {name: above for name, above in excess.items() if above > limit}
    good = np.array([name not in broken for name in answered.walkers], dtype=bool)
    intact, numbers = answered.some(good & (numbers >= 0)), numbers[good & (numbers >= 0)]
    names, counts = np.unique(numbers, return_counts=True)
    used = [int(cell) for cell in names[counts >= MIN_FRAMES]]
    apart = intact.reference - intact.model
    kept = np.isin(numbers, used)
    cells, spread = _cells(apart[kept], numbers[kept], intact.some(kept).walkers, used, over, kT)
    corrected, n_eff = None, math.nan
    if cells:
        rest = apart[kept] - _means(apart[kept], numbers[kept], used)
        weights = np.exp(-(rest - rest.min()) / kT)
        n_eff = float(weights.sum() ** 2 / (weights**2).sum())
        if not broken and spread <= SPREAD_KT * kT:
            beyond = -kT * math.log(weights.mean()) + rest.min() + float(np.var(rest)) / (2.0 * kT)
            corrected = _corrected(free, over, used, cells, abs(beyond))
    return Against(
        free=free,
        frames=len(answered.walkers),
        failed=failed,
        cells=cells,
        spread=spread,
        n_eff=n_eff,
        broken=broken,
        excess_limit=limit,
        corrected=corrected,
        compared=over.ends(used) if used else (),
    )


def _excess(answered: Answered, numbers: Cells, thermal: float) -> tuple[dict[str, float], float]:
    """Excess energy of each walker relative to the lowest one, and the limit, kJ/mol.

    Each frame is compared with the lowest walker in its cell; if there is only one walker in the
    cell, with the lowest one of all cells.
    """
    names, energy = np.array(answered.walkers), answered.reference
    lowest: dict[int, float] = {}
    for cell in np.unique(numbers):
        there = numbers == cell
        medians = [np.median(energy[there & (names == one)]) for one in np.unique(names[there])]
        if len(medians) > 1:
            lowest[int(cell)] = float(min(medians))
    medians = [np.median(energy[names == one]) for one in np.unique(names)]
    anywhere = float(min(medians)) if medians else 0.0
    base = np.array([lowest.get(int(cell), anywhere) for cell in numbers])
    above = energy - base
    found = {str(one): float(np.median(above[names == one])) for one in np.unique(names)}
    within = [_scatter(above[names == one]) for one in np.unique(names)]
    return found, BROKEN * max(thermal, float(np.median(within)) if within else 0.0)


def _scatter(values: Array) -> float:
    """Robust standard deviation, from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _means(apart: Array, numbers: Cells, used: Sequence[int]) -> Array:
    """(n,) mean of d in the cell of each frame."""
    means = {cell: apart[numbers == cell].mean() for cell in used}
    return np.array([means[int(cell)] for cell in numbers])


def _cells(
    apart: Array, numbers: Cells, walkers: Sequence[str], used: Sequence[int], over: Grid, kT: float
) -> tuple[tuple[Cell, ...], float]:
    """Statistics of each cell, and the pooled standard deviation of d within cells."""
    if not used:
        return (), math.nan
    rest = apart - _means(apart, numbers, used)
    freedom = len(rest) - len(used)
    pooled = math.sqrt(float((rest**2).sum()) / freedom)
    wider = _of_walkers(rest, walkers) * student(freedom) / 2.0
    average = float(np.mean([apart[numbers == cell].mean() for cell in used]))
    found = []
    for cell in used:
        mine = apart[numbers == cell]
        count, variance = len(mine), float(mine.var(ddof=1))
        found.append(
            Cell(
                centre=over.centre(cell),
                frames=count,
                mean=float(mine.mean()) - average,
                error=wider * pooled / math.sqrt(count),
                spread=math.sqrt(variance),
                lowers=variance / (2.0 * kT),
                # pooled, since the variance of a few frames is often much too small by chance
                lowers_error=wider * pooled**2 / (kT * math.sqrt(2.0 * (count - 1))),
            )
        )
    return tuple(found), pooled


def _of_walkers(rest: Array, walkers: Sequence[str]) -> float:
    """Factor (≥ 1) of the error of a mean due to differences between walkers."""
    names = np.array(walkers)
    groups = [rest[names == one] for one in np.unique(names)]
    within = len(rest) - len(groups)
    if len(groups) < 2 or within < 1:
        return 1.0
    between = sum(len(one) * one.mean() ** 2 for one in groups) / (len(groups) - 1)
    inside = sum(float(((one - one.mean()) ** 2).sum()) for one in groups) / within
    return math.sqrt(max(1.0, between / inside)) if inside > 0 else 1.0


def _corrected(
    free: FreeEnergy, over: Grid, used: Sequence[int], cells: Sequence[Cell], beyond: float
) -> tuple[Array, Array]:
    """Free energy of the reference and its error, on the bins of the model's."""
    shift = np.array([cell.mean - cell.lowers for cell in cells])
    variance = np.array([c.error**2 + c.lowers_error**2 + beyond**2 for c in cells])
    shares, own = over.shares(used), free.errors.ravel()
    values = free.values.ravel() + shares @ shift
    lowest = int(np.nanargmin(values))
    # Errors of cells that contribute equally to both bins cancel.
    added = (shares - shares[lowest]) ** 2 @ variance
    base = own[lowest] if free.values.ravel()[lowest] > 0 else 0.0
    errors = np.sqrt(own**2 + base**2 + added)
    errors[lowest] = 0.0
    shape = free.values.shape
    return (values - values[lowest]).reshape(shape), errors.reshape(shape)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
