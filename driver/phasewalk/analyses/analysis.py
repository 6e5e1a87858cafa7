"""The analysis of a production run: numbers with errors, remarks, figures."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bias import quantities
from ..errors import InputError
from ..files import write_file
from ..report import pictures
from . import diffusion, elastic, figures, frames, pairs, profiles, runs, shapes
from .averages import MIN_INDEPENDENT, Average, average, equilibration
from .frames import Frames
from .runs import Rows, Run

Array = NDArray[np.float64]

FOLDER = "analysis"
TOO_SHORT = f"too short: fewer than {MIN_INDEPENDENT} independent samples"
MOST_DISCARDED = 0.5
"""Fraction of a walker that is discarded at most, for what is computed from frames and cells."""
CELL = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
_DRAWN = ("temp_K", "pe_eV", "vol_A3")
_SHOWN = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (0, 1), (0, 2), (1, 2))
"""Elastic constants in the table; the file has all of them."""
M2_PER_S_PER_A2_PER_PS = 1e-8


@dataclass(frozen=True)
class Row:
    """A result.

    Attributes:
        quantity: its name, with its unit.
        value: NaN if it is not known.
        error: standard error; NaN if it is not known.
        independent: number of independent samples; inf for a constant.
        remark: why there is no value or error.
    """

    quantity: str
    value: float
    error: float
    independent: float
    remark: str = ""


@dataclass(frozen=True)
class Analysis:
    """The analysis of a run.

    Attributes:
        rows: results.
        remarks: lines on what was used, and what could not be computed.
        drawn: figures.
        stiffness: elastic constants; None if they were not computed.
    """

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    drawn: tuple[pictures.Picture, ...]
    stiffness: elastic.Stiffness | None


@dataclass(frozen=True)
class _Part:
    rows: tuple[Row, ...] = ()
    remarks: tuple[str, ...] = ()
    drawn: tuple[pictures.Picture, ...] = ()


def analyse(run: Run, *, discard_ps: float | None = None) -> Analysis:
    """Analyse what a run has written so far.

    Args:
        run: the run.
        discard_ps: time at the beginning of each walker that is not used. Default: each average
            begins where its series is in equilibrium; what is computed from frames and cells where
            energy and volume are, but not after half of the run.

    Raises:
        InputError: there is nothing to analyse, or a file is damaged.
    """
    tables = [runs.thermo(run, walker) for walker in run.walkers]
    _check(run, tables, discard_ps)
    given = None if discard_ps is None else [_share(run, one, discard_ps) for one in tables]
    shares = given or [_equilibrated(one) for one in tables]
    biased = profiles.is_biased(tables)
    cells = [shapes.steady(one.cells()) for one in tables]
    elastic_part, stiffness = _elastic(run, tables, cells, shares, biased=biased)
    parts = [
        _averages(run, tables, cells, given),
        elastic_part,
        _structure(run, tables, shares),
        _profiles(run, tables, shares),
    ]
    return Analysis(
        rows=tuple(row for part in parts for row in part.rows),
        remarks=(
            *_used(run, tables, shares, biased=biased),
            *(remark for part in parts for remark in part.remarks),
        ),
        drawn=tuple(picture for part in parts for picture in part.drawn),
        stiffness=stiffness,
    )


def write(found: Analysis, folder: Path) -> list[Path]:
    """Write tables (CSV) and figures (CSV, PDF, SVG, PNG) into a folder; returns the files."""
    names = ("quantity", "value", "standard_error", "independent_samples", "remark")
    rows = [
        (row.quantity, *map(_text, (row.value, row.error, row.independent)), row.remark)
        for row in found.rows
    ]
    files = {"summary.csv": _csv(names, rows)}
    if found.stiffness is not None and found.stiffness.known:
        constants, errors = found.stiffness.constants, found.stiffness.errors
        files["elastic.csv"] = _csv(
            ("i", "j", "C_GPa", "standard_error"),
            [
                (i + 1, j + 1, _text(constants[i, j]), _text(errors[i, j]))
                for i in range(6)
                for j in range(6)
            ],
        )
    for picture in found.drawn:
        files |= picture.files()
    for name, content in files.items():
        write_file(folder / name, content)
    return [folder / name for name in files]


def _check(run: Run, tables: Sequence[Rows], discard_ps: float | None) -> None:
    """Raise InputError if there is nothing to analyse."""
    empty = [name for name, one in zip(run.walkers, tables, strict=True) if not len(one.steps)]
    if empty:
        raise InputError(
            f"{run.folder / empty[0]}.thermo: no row yet, so there is nothing to analyse; wait "
            "until each walker has one (phasewalk produce)"
        )
    longest = max(_ps(run, one) for one in tables)
    if discard_ps is not None and not 0.0 <= discard_ps < longest:
        raise InputError(
            f"--discard-ps {discard_ps:g}: the walkers have {longest:g} ps; use less, and 0 or more"
        )


def _ps(run: Run, table: Rows) -> float:
    return float(table.steps[-1]) * run.timestep_ps


def _share(run: Run, table: Rows, discard_ps: float) -> float:
    """Fraction of a walker's rows before a time."""
    return float(np.mean(table.steps * run.timestep_ps < discard_ps))


def _equilibrated(table: Rows) -> float:
    """Fraction of a walker's rows before energy and volume are in equilibrium."""
    shares = [equilibration(table.column(name)) for name in ("pe_eV", "vol_A3")]
    return min(MOST_DISCARDED, max(shares))


def _row(quantity: str, found: Average, *, judged: bool = False) -> Row:
    """A mean as a result; `judged`: what is discarded was found, and too much means a drift."""
    late = max(found.discarded, default=0.0)
    if found.too_short:
        return Row(quantity, found.mean, math.nan, found.independent, TOO_SHORT)
    if judged and late > MOST_DISCARDED:
        remark = f"no equilibrium: it changes in the first {100 * late:.0f} % of the run"
        return Row(quantity, found.mean, math.nan, found.independent, remark)
    remark = "constant" if math.isinf(found.independent) else ""
    return Row(quantity, found.mean, found.error, found.independent, remark)


def _averages(
    run: Run, tables: Sequence[Rows], cells: Sequence[Array], given: Sequence[float] | None
) -> _Part:
    """Averages of the thermo tables; lengths and angles of the cell in place of its vectors."""
    names = [name for name in tables[0].names if name not in runs.CELL]
    series = {name: [one.column(name) for one in tables] for name in names}
    shapes_of = [shapes.parameters(one) for one in cells]
    series |= {name: [one[:, n] for one in shapes_of] for n, name in enumerate(CELL)}
    times: list[Array] = [np.array(one.steps * run.timestep_ps, dtype=float) for one in tables]
    judged = given is None
    rows = [
        _row(name, average(each, discard=given), judged=judged) for name, each in series.items()
    ]
    drawn = [
        figures.over_time(name, run.walkers, list(zip(times, series[name], strict=True)))
        for name in _DRAWN
        if name in series
    ]
    return _Part(tuple(rows), (), tuple(drawn))


def _elastic(
    run: Run,
    tables: Sequence[Rows],
    cells: Sequence[Array],
    shares: Sequence[float],
    *,
    biased: bool,
) -> tuple[_Part, elastic.Stiffness | None]:
    """Bulk modulus and elastic constants of an unbiased run with a flexible cell."""
    if not run.npt or biased:
        return _Part(), None
    volumes = [
        _since(one.column("vol_A3"), share) for one, share in zip(tables, shares, strict=True)
    ]
    kept = [_since(one, share) for one, share in zip(cells, shares, strict=True)]
    rows = [_row("bulk_modulus_GPa", elastic.bulk_modulus(volumes, run.temperature_K))]
    found = elastic.stiffness(kept, run.temperature_K)
    count = found.independent
    if not found.known:
        least = 6 * elastic.PER_CONSTANT
        remark = f"too short: fewer than {least} independent samples"
        rows.append(Row("C_GPa", math.nan, math.nan, count, remark))
    else:
        for i, j in _SHOWN:
            value, error = float(found.constants[i, j]), float(found.errors[i, j])
            rows.append(Row(f"C{i + 1}{j + 1}_GPa", value, error, count))
    return _Part(tuple(rows)), found


def _structure(run: Run, tables: Sequence[Rows], shares: Sequence[float]) -> _Part:
    """What is computed from frames: radial distributions and diffusion."""
    walks: list[Frames] = []
    for walker, table, share in zip(run.walkers, tables, shares, strict=True):
        walk = frames.read(run.folder / f"{walker}.dump")
        if walk is not None:
            walks.append(walk.since(_first(table, share)))
    walks = [walk for walk in walks if len(walk.steps)]
    if not walks:
        return _Part(remarks=("no frame yet: no radial distribution, no diffusion",))
    functions = pairs.radial(walks)
    moved = diffusion.diffusion(walks, run.timestep_ps)
    remarks = []
    if not moved:
        most = max(len(walk.steps) for walk in walks)
        remarks.append(
            f"no diffusion: a walker has {most} frames in equilibrium, and {diffusion.MIN_FRAMES} "
            "are needed"
        )
    if moved and run.thermostat == "langevin":
        remarks.append("diffusion: the friction of the Langevin thermostat makes it slower")
    rows = [row for one in functions for row in _peak(one)]
    drawn = [figures.radial(functions), *([figures.displacement(moved)] if moved else [])]
    return _Part((*rows, *map(_diffused, moved)), tuple(remarks), tuple(drawn))


def _peak(one: pairs.Radial) -> Iterator[Row]:
    """The first peak of a radial distribution, if there is one."""
    above = np.flatnonzero(one.values > 1.0)
    if not len(above):
        return
    end = next((n for n in range(above[0], len(one.values)) if one.values[n] <= 1.0), None)
    top = above[0] + int(np.argmax(one.values[above[0] : end]))
    remark = f"g = {one.values[top]:.3g}; bins of {pairs.WIDTH_A:g} Å, {one.frames} frames"
    name = f"rdf_first_peak_{'-'.join(one.pair)}_A"
    yield Row(name, float(one.distances[top]), math.nan, math.nan, remark)


def _diffused(one: diffusion.Diffusion) -> Row:
    """The diffusion coefficient of an element."""
    scale = M2_PER_S_PER_A2_PER_PS * 1e9
    value, error = one.coefficient * scale, one.error * scale
    remark = ""
    if one.blocks < diffusion.BLOCKS // 2:
        remark, error = f"too short: {one.blocks} blocks of {diffusion.MIN_FRAMES} frames", math.nan
    elif one.against:
        remark, value, error = f"not diffusive: {one.against}", math.nan, math.nan
    return Row(f"D_{one.element}_1e-9_m2_per_s", value, error, float(one.blocks), remark)


def _profiles(run: Run, tables: Sequence[Rows], shares: Sequence[float]) -> _Part:
    """Free energies, or histograms with the means of their variables."""
    found = profiles.profiles(run, tables, shares)
    text = run.plumed or ""
    known = quantities.units(text)
    rows = [
        _row(quantities.axis(one.name, quantities.of(one.name, known)), one.average)
        for one in found.histograms
        if not one.periodic
    ]
    remarks = list(found.remarks)
    for free in found.free:
        names = " and ".join(variable.name for variable in free.variables)
        error = free.largest_error
        largest = "not known" if math.isnan(error) else f"{error:.1f} kJ/mol"
        remarks.append(f"free energy along {names}: largest error {largest}; {free.crossed}")
        if math.isfinite(free.opinions_differ):
            agree = "agree" if free.agree else "DO NOT agree"
            remarks.append(
                f"free energy along {names}: histogram and hills {agree}; they differ by "
                f"{free.opinions_differ:.1f} kJ/mol (rms)"
            )
    drawn = [figures.free_energy(free, text) for free in found.free]
    drawn += [figures.histogram(one, text) for one in found.histograms]
    return _Part(tuple(rows), tuple(remarks), tuple(drawn))


def _used(
    run: Run, tables: Sequence[Rows], shares: Sequence[float], *, biased: bool
) -> Iterator[str]:
    """What was used, and what the numbers are averages of."""
    for walker, table, share in zip(run.walkers, tables, shares, strict=True):
        total = _ps(run, table)
        first = _first(table, share) * run.timestep_ps
        yield f"{walker}: {total:.6g} ps; frames and cells are used from {first:.6g} ps on"
    if biased:
        yield (
            "a bias acts: averages and radial distributions are those of the biased run, and "
            "elastic constants are not given"
        )


def _first(table: Rows, share: float) -> int:
    """The first step that is used."""
    return int(table.steps[min(math.ceil(share * len(table.steps)), len(table.steps) - 1)])


def _since(values: Array, share: float) -> Array:
    return values[math.ceil(share * len(values)) :]


def _text(number: float) -> str:
    """A number for CSV; empty if it is not known."""
    return "" if math.isnan(number) else f"{number:.10g}"


def _csv(names: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return stream.getvalue().encode()
