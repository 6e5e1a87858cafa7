"""Figures of the free energies computed by `phasewalk fes`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..free_energies import correction, free_energy
from ..status import History
from .figures import Section
from .pictures import GREY, Picture, colour, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

REFERENCE = "the reference's own"


def free_energies(history: History) -> Section:
    """Free energies from frozen models with new biases."""
    systems = dict.fromkeys(name for one in history.free_energies for name in one)
    pictures: list[Picture] = []
    for system in systems:
        mine = [one[system] for one in history.free_energies if system in one]
        lines = [one for one in mine if len(one["variables"]) == 1]
        if lines:
            pictures.append(_free_line(system, lines, history.axis(system, _axis(lines[0])[0])))
        maps = [one for one in mine if len(one["variables"]) == 2]
        pictures += [_free_map(history, system, n, one) for n, one in enumerate(maps)]
    return Section(
        "free-energy",
        "Free energy",
        "Computed by phasewalk fes with the fixed model of one generation and a new bias. The band "
        "is the error of the difference from the lowest bin: twice the band contains the exact "
        "value in 95 % of all cases. There is no band if the walkers crossed the range too few "
        "times. Two generations agree if each line is within the other's band. The dotted line is "
        "the free energy from the hills. Points are the free energy of the reference itself, if "
        "its labels determine it (--against-reference). Grey dashed lines were computed with a "
        "model or settings that the campaign no longer has.",
        pictures,
        "None was computed yet; use phasewalk fes DIR --generation N (it needs segments, but no "
        "labels).",
    )


def _title(one: Mapping[str, Any], *, begin: bool = False) -> str:
    """The model of a free energy; marked as earlier if the generation was trained again since."""
    name, labels = str(one["generation"]), one.get("labels")
    former = str(one.get("outdated", "")).startswith("of ")
    title = f"{'earlier ' if former else ''}generation {name}"
    title += "" if labels is None else f" ({labels} labels)"
    title += f", seed {one['seed']}" if "seed" in one else ""
    return title[0].upper() + title[1:] if begin else title


def _doubt(one: Mapping[str, Any]) -> str:
    """A sentence on what has changed since it was computed; empty if nothing has."""
    outdated = one.get("outdated", "")
    return f"NOT of the present campaign: it is {outdated}. " if outdated else ""


def _axis(one: Mapping[str, Any], index: int = 0) -> tuple[str, Array]:
    """Name and bin centres of a variable."""
    variable = one["variables"][index]
    return str(variable["name"]), np.array(variable["centres"], dtype=float)


def _columns(one: Mapping[str, Any]) -> list[Array]:
    """Bin centres, free energy, error, free energy from the hills, the reference's own; (n,) each.

    The last, and its error, are NaN if labels do not determine it.
    """
    keys = ("free_energy", "error", "from_hills")
    own = correction.from_dict(one.get("against_reference"), free_energy.from_dict(one))
    x = _axis(one)[1]
    return [x, *(np.array(one[key], dtype=float) for key in keys), *own]


def _against(one: Mapping[str, Any]) -> str:
    """Comparison of a free energy with the reference, as a sentence; empty if there is none."""
    stored = one.get("against_reference")
    if not stored:
        return ""
    return f" Compared with the reference on {stored['frames']} frames: {stored['verdict']}."


def _free_line(system: str, found: Sequence[Mapping[str, Any]], axis: str) -> Picture:
    name = _axis(found[0])[0]
    found = sorted(found, key=lambda one: not one.get("outdated"))  # the present ones last
    lines = [(one, _columns(one)) for one in found]

    def draw(axes: "Axes") -> None:
        for index, (one, (x, values, errors, hills, own, own_errors)) in enumerate(lines):
            tone = GREY if one.get("outdated") else colour(index)
            style = "--" if one.get("outdated") else "-"
            axes.plot(x, values, style, color=tone, label=_title(one))
            axes.fill_between(x, values - errors, values + errors, color=tone, alpha=0.25, lw=0)
            axes.plot(x, hills, ":", color=tone, lw=1)
            if np.isfinite(own).any():
                axes.errorbar(x, own, own_errors, fmt="o", ms=3, color=tone, label=REFERENCE)
        axes.set(xlabel=axis, ylabel="free energy, kJ/mol")

    last = found[-1]
    error = last["largest_error"]
    known = "not known" if error is None else f"{error:.2g} kJ/mol"
    counted = last.get("crossings", [])
    crossed = f" The range was crossed {sum(counted)} times." if counted else ""
    warned = f" Warning: {'; '.join(last['warnings'])}." if last["warnings"] else ""
    old = "".join(f" Grey, dashed: {_doubt(one)}".rstrip() for one in found if one.get("outdated"))
    return Picture(
        name_of("free-energy", system),
        f"{system}: free energy along {name}",
        f"{_title(last, begin=True)} at {last['temperature_K']:g} K, {last['walkers']} "
        f"walkers of {last['ps_per_walker']:.3g} ps: largest error {known}; histogram and hills "
        f"differ by {last['opinions_differ']:.2g} kJ/mol.{crossed}"
        f"{_against(last)}{warned}{old}",
        (
            *("generation", axis, "free energy, kJ/mol", "error, kJ/mol", "from hills, kJ/mol"),
            *("the reference's own, kJ/mol", "its error, kJ/mol"),
        ),
        [
            (_title(one), *(None if np.isnan(n) else float(n) for n in row))
            for one, columns in lines
            for row in zip(*columns, strict=True)
        ],
        draw,
    )


def _free_map(history: History, system: str, number: int, one: Mapping[str, Any]) -> Picture:
    (first, x), (second, y) = _axis(one, 0), _axis(one, 1)
    first, second = history.axis(system, first), history.axis(system, second)
    values = np.array(one["free_energy"], dtype=float).reshape(len(x), len(y))

    def draw(axes: "Axes") -> None:
        mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(values).T, rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label="free energy, kJ/mol")
        axes.grid(visible=False)
        axes.set(xlabel=first, ylabel=second)

    error = one["largest_error"]
    return Picture(
        name_of("free-energy", system, one["generation"], *([number] if number else [])),
        f"{system}: free energy, {_title(one)}",
        f"{_doubt(one)}Largest error {'not known' if error is None else f'{error:.2g} kJ/mol'}; "
        f"{one['walkers']} walkers of {one['ps_per_walker']:.3g} ps.{_against(one)}",
        (first, second, "free energy, kJ/mol"),
        [
            (float(a), float(b), None if np.isnan(values[i, j]) else float(values[i, j]))
            for i, a in enumerate(x)
            for j, b in enumerate(y)
        ],
        draw,
    )
