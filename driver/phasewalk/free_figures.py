"""The figures of free energies, from what `phasewalk fes` left."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .figures import Section
from .history import History
from .pictures import Picture, colour, legend, name_of

Array = NDArray[np.float64]


def free_energies(history: History) -> Section:
    """Free energies from fresh biases on frozen models."""
    systems = dict.fromkeys(name for one in history.free_energies for name in one)
    pictures: list[Picture] = []
    for system in systems:
        mine = [one[system] for one in history.free_energies if system in one]
        lines = [one for one in mine if len(one["variables"]) == 1]
        if lines:
            pictures.append(_free_line(system, lines))
        pictures += [_free_map(system, one) for one in mine if len(one["variables"]) == 2]
    return Section(
        "free-energy",
        "Free energy",
        "From phasewalk fes: the model of one generation, frozen, and a bias that was started "
        "anew. The band is the standard error from block analysis, of the difference from the "
        "lowest bin. Lines of two generations that lie in each other's bands agree; the dotted "
        "line is the second opinion, from the hills themselves.",
        pictures,
        "None was computed: phasewalk fes DIR --generation N (it costs segments, no labels).",
    )


def _axis(one: Mapping[str, Any], index: int = 0) -> tuple[str, Array]:
    """Name and middles of the bins of a variable."""
    variable = one["variables"][index]
    return str(variable["name"]), np.array(variable["centres"], dtype=float)


def _columns(one: Mapping[str, Any]) -> list[Array]:
    """Middles of bins, free energy, error, and what the hills say; (n,) each."""
    keys = ("free_energy", "error", "from_hills")
    return [_axis(one)[1], *(np.array(one[key], dtype=float) for key in keys)]


def _free_line(system: str, found: Sequence[Mapping[str, Any]]) -> Picture:
    name = _axis(found[0])[0]
    lines = [(str(one["generation"]), _columns(one)) for one in found]

    def draw(axes: Axes) -> None:
        for index, (generation, (x, values, errors, hills)) in enumerate(lines):
            tone = colour(index)
            axes.plot(x, values, "-", color=tone, label=f"generation {generation}")
            axes.fill_between(x, values - errors, values + errors, color=tone, alpha=0.25, lw=0)
            axes.plot(x, hills, ":", color=tone, lw=1)
        axes.set(xlabel=name, ylabel="free energy, kJ/mol")
        legend(axes)

    last = found[-1]
    error = last["largest_error"]
    known = "not known" if error is None else f"{error:.2g} kJ/mol"
    warned = f" But: {'; '.join(last['warnings'])}." if last["warnings"] else ""
    return Picture(
        name_of("free-energy", system),
        f"{system}: free energy along {name}",
        f"Generation {last['generation']} at {last['temperature_K']:g} K, {last['walkers']} "
        f"walkers of {last['ps_per_walker']:.3g} ps: largest error {known}; histogram and hills "
        f"differ by {last['opinions_differ']:.2g} kJ/mol.{warned}",
        ("generation", name, "free energy, kJ/mol", "error, kJ/mol", "from hills, kJ/mol"),
        [
            (generation, *(None if np.isnan(n) else float(n) for n in row))
            for generation, columns in lines
            for row in zip(*columns, strict=True)
        ],
        draw,
    )


def _free_map(system: str, one: Mapping[str, Any]) -> Picture:
    (first, x), (second, y) = _axis(one, 0), _axis(one, 1)
    values = np.array(one["free_energy"], dtype=float).reshape(len(x), len(y))

    def draw(axes: Axes) -> None:
        mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(values).T, rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label="kJ/mol")
        axes.grid(visible=False)
        axes.set(xlabel=first, ylabel=second)

    error = one["largest_error"]
    return Picture(
        name_of("free-energy", system, one["generation"]),
        f"{system}: free energy, generation {one['generation']}",
        f"Largest error {'not known' if error is None else f'{error:.2g} kJ/mol'}; "
        f"{one['walkers']} walkers of {one['ps_per_walker']:.3g} ps.",
        (first, second, "free energy, kJ/mol"),
        [
            (float(a), float(b), None if np.isnan(values[i, j]) else float(values[i, j]))
            for i, a in enumerate(x)
            for j, b in enumerate(y)
        ],
        draw,
    )
