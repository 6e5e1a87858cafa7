"""Parity plots of model and reference: forces, energies and stress of frames not trained on."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..status import Compared, History
from .figures import Section
from .pictures import COLOURS, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
PANELS = 3
"""Number of generations with parity plots, the last ones."""
FENCE, WORTH = 5.0, 1.5
"""Distance of outliers in interquartile ranges; minimum factor by which the axes become shorter if
outliers are excluded from them."""
KINDS = (("test", "test set", COLOURS[1]), ("new", "new frames", COLOURS[0]))
MANY = 300
"""Number of points above which a panel is rasterized."""


def parity(history: History) -> Section:
    """Results of model and reference for the last generations."""
    unseen = [one for one in history.comparisons if not one.learned]
    generations = list(dict.fromkeys(one.generation for one in unseen))[-PANELS:]
    pictures = []
    for generation in reversed(generations):
        mine = [one for one in unseen if one.generation == generation]
        pictures += [
            _picture("forces", generation, mine, "force, eV/Å", _forces),
            _picture("energies", generation, mine, "energy, meV/atom", _energies),
            _stress(generation, mine),
        ]
    return Section(
        "parity",
        "Model and reference",
        "Frames on which the generation was not trained; on the line, model and reference agree. A "
        "slope different from 1 means that the model is too soft or too stiff; a few points far "
        "from the line are structures unlike the training set. Energies are relative to the median "
        "of each composition, without the common offset (the median of the differences). Diamonds "
        f"at the edge are outliers beyond it; their number is given. The last {PANELS} "
        "generations, the newest first.",
        pictures,
        "No generation was evaluated yet; this needs round 1, or test_data.",
    )


def _forces(mine: Sequence[Compared]) -> tuple[Array, str]:
    forces = np.concatenate([one.forces for one in mine], axis=1)
    error = 1000 * float(np.abs(forces[1] - forces[0]).mean())
    return forces, f"force MAE {error:.0f} meV/Å over {forces.shape[1]} components"


def _energies(mine: Sequence[Compared]) -> tuple[Array, str]:
    """Energies, meV/atom, and their scatter about the mean offset, as in `validation.Errors`."""
    energy = 1000.0 * np.array([one.energy for one in mine], dtype=float).T
    wrong = energy[1] - energy[0]
    for formula in {one.formula for one in mine}:
        same = np.array([one.formula == formula for one in mine])
        wrong[same] -= wrong[same].mean()
    return energy, f"energy scatter {float(np.sqrt((wrong**2).mean())):.3g} meV/atom"


def _pressures(mine: Sequence[Compared]) -> tuple[Array, str]:
    pressure = np.array([one.pressure for one in mine], dtype=float).T
    error = float(np.abs(pressure[1] - pressure[0]).mean())
    return pressure, f"pressure MAE {error:.2g} GPa"


def _components(mine: Sequence[Compared]) -> tuple[Array, str]:
    stress = np.concatenate([np.asarray(one.stress, dtype=float) for one in mine], axis=1)
    error = float(np.abs(stress[1] - stress[0]).mean())
    return stress, f"stress MAE {error:.2g} GPa over {stress.shape[1]} components"


def _stress(generation: str, mine: Sequence[Compared]) -> Picture:
    """Components of the stress; pressures if an earlier version of phasewalk kept only these."""
    if all(one.stress is not None for one in mine):
        return _picture("stress", generation, mine, "stress, GPa", _components)
    return _picture("pressure", generation, mine, "pressure, GPa", _pressures)


def _picture(
    what: str,
    generation: str,
    mine: Sequence[Compared],
    axis: str,
    values: Callable[[Sequence[Compared]], tuple[Array, str]],
) -> Picture:
    kinds = [
        (title, tone, chosen)
        for of, title, tone in KINDS
        if (chosen := [one for one in mine if one.of == of])
    ]
    found = [(title, tone, *values(chosen)) for title, tone, chosen in kinds]
    points = np.concatenate([one[2] for one in found], axis=1)
    if what == "energies":
        shift = _offsets(mine, [one for *_, chosen in kinds for one in chosen])
        points = points - shift
        ends = np.cumsum([one[2].shape[1] for one in found])[:-1]
        parts = np.split(points, ends, axis=1)
        found = [(*one[:2], part, one[3]) for one, part in zip(found, parts, strict=True)]
    low, high, beyond = limits(points)
    errors = "; ".join(f"{title} {error}" for title, _, _, error in found)
    out = f" {beyond} of {points.shape[1]} points are beyond the axes." if beyond else ""

    many = points.shape[1] > MANY
    size = 3 if many else 5

    def draw(axes: "Axes") -> None:
        axes.plot([low, high], [low, high], "-", color="#888888", lw=1)
        for title, tone, these, _ in found:
            inside = ((these >= low) & (these <= high)).all(axis=0)
            axes.plot(*these[:, inside], ".", color=tone, ms=size, alpha=0.6, rasterized=many)
            axes.plot([], [], ".", color=tone, ms=7, label=title)
            if not inside.all():  # the layout fails for an empty line without clipping
                edge = np.clip(these[:, ~inside], low, high)
                axes.plot(*edge, "D", color=tone, mfc="none", ms=4, clip_on=False)
        if beyond:
            axes.text(0.03, 0.97, f"{beyond} beyond", transform=axes.transAxes, va="top")
        axes.set(xlabel=f"reference {axis}", ylabel=f"model {axis}")
        room = 0.02 * (high - low)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
        axes.set_box_aspect(1.0)  # both axes have the same range

    return Picture(
        f"parity-{what}-{generation}",
        f"{what}, generation {generation}",
        f"Generation {generation}, {len(mine)} frames on which it was not trained: {errors}.{out}",
        ("measured on", f"reference {axis}", f"model {axis}"),
        [
            (title, *(round(float(value), 4) for value in pair))
            for title, _, these, _ in found
            for pair in these.T
        ],
        draw,
        group=f"parity-{generation}",
    )


def _offsets(mine: Sequence[Compared], order: Sequence[Compared]) -> Array:
    """(2, n) meV/atom to subtract from energies: medians of the reference and the differences."""
    shift = np.zeros((2, len(order)))
    for formula in {one.formula for one in mine}:
        same = [one.energy for one in mine if one.formula == formula]
        reference = float(np.median([one[0] for one in same]))
        wrong = float(np.median([one[1] - one[0] for one in same]))
        column = np.array([one.formula == formula for one in order])
        shift[:, column] = 1000.0 * np.array([[reference], [reference + wrong]])
    return shift


def limits(values: Array) -> tuple[float, float, int]:
    """The range of both axes, and the number of points beyond it.

    Args:
        values: (2, n), reference and model.
    """
    low, high = float(values.min()), float(values.max())
    first, third = np.percentile(values, [25, 75])
    fence = FENCE * (third - first)
    inside = ((values >= first - fence) & (values <= third + fence)).all(axis=0)
    if inside.any() and not inside.all():
        near = float(values[:, inside].min()), float(values[:, inside].max())
        if high - low > WORTH * (near[1] - near[0]) > 0.0:
            low, high = near
    if high <= low:
        low, high = low - 0.5, high + 0.5
    beyond = int(((values < low) | (values > high)).any(axis=0).sum())
    return low, high, beyond
