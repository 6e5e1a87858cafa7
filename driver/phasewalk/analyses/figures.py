"""Figures of an analysis, in the style of the report, with the numbers that they show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..bias import quantities
from ..free_energies import FreeEnergy
from ..report import pictures
from .diffusion import Diffusion
from .pairs import Radial
from .profiles import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

POINTS = 500
"""Maximum number of points of a curve over time."""
_BAND = "The band is ± one standard error."


def over_time(
    quantity: str, walkers: Sequence[str], curves: Sequence[tuple[Array, Array]]
) -> pictures.Picture:
    """A quantity of each walker over time.

    Args:
        quantity: its name, with unit.
        walkers: their names.
        curves: for each, times in ps and values.
    """
    shown = [tuple(_thinned(one) for one in curve) for curve in curves]

    def draw(axes: "Axes") -> None:
        for index, (walker, (times, values)) in enumerate(zip(walkers, shown, strict=True)):
            axes.plot(times, values, color=pictures.colour(index), lw=0.8, label=walker)
        axes.set(xlabel="time, ps", ylabel=quantity)

    rows = [
        (walker, f"{time:.6g}", f"{value:.10g}")
        for walker, curve in zip(walkers, shown, strict=True)
        for time, value in zip(*curve, strict=True)
    ]
    return pictures.Picture(
        name=pictures.name_of(quantity.replace("_", "-")),
        title=quantity,
        says=f"{quantity} over time; at most {POINTS} points of each walker.",
        columns=("walker", "time_ps", quantity),
        rows=rows,
        draw=draw,
    )


def radial(found: Sequence[Radial]) -> pictures.Picture:
    """Radial distribution functions of all pairs."""

    def draw(axes: "Axes") -> None:
        for index, one in enumerate(found):
            tone = pictures.colour(index)
            axes.plot(one.distances, one.values, color=tone, lw=1, label="–".join(one.pair))
            _band(axes, one.distances, one.values, one.errors, tone)
        axes.set(xlabel="r, Å", ylabel="g(r)")

    rows = [
        ("-".join(one.pair), *(f"{value:.6g}" for value in row))
        for one in found
        for row in zip(one.distances, one.values, one.errors, one.neighbours, strict=True)
    ]
    return pictures.Picture(
        name="rdf",
        title="Radial distribution functions",
        says=f"g(r) of {len(found)} pairs of elements from {found[0].frames} frames. {_BAND}",
        columns=("pair", "r_A", "g", "standard_error", "neighbours_up_to_r"),
        rows=rows,
        draw=draw,
    )


def displacement(found: Sequence[Diffusion]) -> pictures.Picture:
    """Mean square displacements of all elements."""

    def draw(axes: "Axes") -> None:
        for index, one in enumerate(found):
            tone, later = pictures.colour(index), one.times_ps > 0
            axes.plot(one.times_ps[later], one.msd[later], color=tone, label=one.element)
            _band(axes, one.times_ps[later], one.msd[later], one.errors[later], tone)
        axes.axvspan(*found[0].window_ps, color=pictures.GREY, alpha=0.15, lw=0)
        axes.set(xlabel="time, ps", ylabel="mean square displacement, Å²")
        axes.set(xscale="log", yscale="log")

    rows = [
        (one.element, *(f"{value:.6g}" for value in row))
        for one in found
        for row in zip(one.times_ps, one.msd, one.errors, strict=True)
    ]
    return pictures.Picture(
        name="msd",
        title="Mean square displacements",
        says=f"Mean square displacement of each element from {found[0].blocks} blocks; the grey "
        f"range is the window of the fit. {_BAND}",
        columns=("element", "time_ps", "msd_A2", "standard_error"),
        rows=rows,
        draw=draw,
    )


def free_energy(free: FreeEnergy, text: str) -> pictures.Picture:
    """A free energy along one or two variables.

    Args:
        free: the free energy.
        text: PLUMED input, for the units.
    """
    names = [variable.name for variable in free.variables]
    labels = _labels(names, text)
    points = np.stack(np.meshgrid(*free.centres, indexing="ij"), axis=-1).reshape(-1, len(names))
    columns = (free.values, free.errors, free.from_hills)

    def draw(axes: "Axes") -> None:
        if len(names) == 2:
            values = np.ma.masked_invalid(free.values).T
            mesh = axes.pcolormesh(*free.centres, values, rasterized=True)
            axes.figure.colorbar(mesh, ax=axes, label="free energy, kJ/mol")
            axes.grid(visible=False)
            axes.set(xlabel=labels[0], ylabel=labels[1])
            return
        axes.plot(free.centres[0], free.values, color=pictures.colour(0), label="histogram")
        _band(axes, free.centres[0], free.values, free.errors, pictures.colour(0))
        if np.isfinite(free.from_hills).any():
            tone = pictures.colour(0)
            axes.plot(free.centres[0], free.from_hills, ":", color=tone, lw=1, label="hills")
        axes.set(xlabel=labels[0], ylabel="free energy, kJ/mol")

    return pictures.Picture(
        name=pictures.name_of("free-energy", *names),
        title=f"Free energy along {' and '.join(names)}",
        says=f"Free energy at {free.temperature_K:g} K. The band is the error of the difference "
        "from the lowest bin. The dotted line is the free energy from the hills.",
        columns=(*names, "free_energy_kJ_per_mol", "standard_error", "from_hills"),
        rows=[
            tuple(f"{value:.6g}" for value in (*point, *row))
            for point, *row in zip(points, *(each.ravel() for each in columns), strict=True)
        ],
        draw=draw,
    )


def histogram(one: Histogram, text: str) -> pictures.Picture:
    """The distribution of a variable; `text` is the PLUMED input, for its unit."""

    def draw(axes: "Axes") -> None:
        axes.plot(one.centres, one.density, color=pictures.colour(0))
        _band(axes, one.centres, one.density, one.errors, pictures.colour(0))
        axes.set(xlabel=_labels([one.name], text)[0], ylabel="probability density")

    return pictures.Picture(
        name=pictures.name_of("histogram", one.name),
        title=f"Distribution of {one.name}",
        says=f"Distribution of {one.name} without a bias. {_BAND}",
        columns=(one.name, "density", "standard_error"),
        rows=[
            tuple(f"{value:.6g}" for value in row)
            for row in zip(one.centres, one.density, one.errors, strict=True)
        ],
        draw=draw,
    )


def _labels(names: Sequence[str], text: str) -> list[str]:
    known = quantities.units(text)
    return [quantities.axis(name, quantities.of(name, known)) for name in names]


def _band(axes: "Axes", x: Array, values: Array, errors: Array, tone: str) -> None:
    axes.fill_between(x, values - errors, values + errors, color=tone, alpha=0.25, lw=0)


def _thinned(values: Array) -> Array:
    return values[:: max(1, -(-len(values) // POINTS))]
