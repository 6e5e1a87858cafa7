"""Figures on phase space: variables of the walkers, and their bias."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import bias
from ..bias import Gaussians, HillsRecord
from ..errors import InputError
from ..status import History, Trace
from .figures import Section
from .pictures import COLOURS, Picture, colour, name_of, shade, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
POINTS, BINS = 200, 40
AT_ONCE = 4_000_000
"""Maximum number of points × hills in one array."""
GRID = 40
"""Number of points of a map of two variables, in each direction."""
LINES, SHOWN = 8, 6
"""Maximum number of rounds for which the bias is shown, as lines and as maps."""
ROWS, ALL_ROWS = 400, 20_000
"""Maximum number of plotted points of a walker in one round, and of all walkers."""


def exploration(history: History) -> Section:
    """The variables of every walker as a function of time."""
    pictures = [
        _walk(
            history,
            system,
            name,
            [t for t in history.traces if t.system == system and name in t.values],
        )
        for system in history.systems
        for name in history.colvars(system)
    ]
    return Section(
        "exploration",
        "Where did the walkers go?",
        "The collective variable of every walker in all rounds (grey lines separate them). Walkers "
        "should spread, cross each other and return. A cross marks a walker that was stopped "
        "early, a triangle one that was reset to an earlier frame or to the start structure; the "
        "table gives the reason. With many crosses, the model is not accurate enough: use more "
        "labels, a lower temperature or smaller hills. If all lines are flat, the bias is too "
        "weak; use larger or more frequent hills, or another variable.",
        [picture for picture in pictures if picture.rows],
        "No segment is finished yet; this needs round 1.",
    )


def _walk(history: History, system: str, name: str, traces: Sequence[Trace]) -> Picture:
    axis = history.axis(system, name)
    walkers = list(dict.fromkeys(trace.walker for trace in traces))
    most = max(5, min(ROWS, ALL_ROWS // max(1, len(traces))))
    rows = []
    for trace in traces:
        stride = max(1, len(trace.time_ps) // most)
        values = trace.values[name]
        rows += [
            (trace.walker, trace.round, round(float(t), 5), float(v))
            for t, v in zip(trace.time_ps[::stride], values[::stride], strict=True)
            if np.isfinite(v)
        ]

    def draw(axes: "Axes") -> None:
        starts: set[float] = set()
        for trace in traces:
            tone = colour(walkers.index(trace.walker))
            stride = max(1, len(trace.time_ps) // most)
            time, values = trace.time_ps[::stride], trace.values[name][::stride]
            if not len(time):
                continue
            axes.plot(time, values, "-", color=tone, lw=0.9)
            starts.add(float(time[0]))
            if trace.stopped:
                axes.plot(time[-1:], values[-1:], "x", color=COLOURS[7], ms=7)
            if trace.source in ("before", "start"):
                axes.plot(time[:1], values[:1], "v", color=tone, ms=6)
        for start in starts if len(starts) < ROWS else ():
            axes.axvline(start, color="#888888", lw=0.5, alpha=0.5)
        axes.set(xlabel="simulated time of a walker, ps", ylabel=axis)

    low, high = min((r[3] for r in rows), default=0.0), max((r[3] for r in rows), default=0.0)
    stops = sum(trace.stopped is not None for trace in traces)
    resets = sum(trace.source in ("before", "start") for trace in traces)
    return Picture(
        name_of("walkers", system, name),
        f"{system}: {name} of {len(walkers)} walkers",
        f"{name} between {low:.5g} and {high:.5g}; {stops} early stop(s) and {resets} reset(s) in "
        f"{len(traces)} runs of walkers.",
        ("walker", "round", "time, ps", axis),
        rows,
        draw,
    )


def coverage(history: History) -> Section:
    """Histograms of each variable, by round."""
    pictures = []
    for system in history.systems:
        for name in history.colvars(system):
            mine = [t for t in history.traces if t.system == system and name in t.values]
            if picture := _histogram(history, system, name, mine):
                pictures.append(picture)
    return Section(
        "coverage",
        "Which range was explored?",
        "Histogram of the values that all walkers printed, by round (later rounds are brighter). "
        "Bins that were visited are explored; the model is trained there if frames in them were "
        "also labelled.",
        pictures,
        "No segment is finished yet; this needs round 1.",
    )


def _histogram(history: History, system: str, name: str, traces: Sequence[Trace]) -> Picture | None:
    by_round: dict[int, Array] = {}
    for trace in traces:
        values = trace.values[name]
        before = by_round.get(trace.round, np.zeros(0))
        by_round[trace.round] = np.concatenate([before, values[np.isfinite(values)]])
    everything = np.concatenate([*by_round.values(), np.zeros(0)])
    if not len(everything):
        return None
    edges = np.linspace(everything.min(), everything.max(), BINS + 1)
    if edges[0] == edges[-1]:
        edges = np.linspace(edges[0] - 0.5, edges[0] + 0.5, BINS + 1)
    axis = history.axis(system, name)
    counts = {number: np.histogram(v, edges)[0] for number, v in sorted(by_round.items())}

    def draw(axes: "Axes") -> None:
        bottom = np.zeros(BINS)
        for index, (number, count) in enumerate(counts.items()):
            axes.bar(
                edges[:-1],
                count,
                np.diff(edges),
                bottom=bottom,
                align="edge",
                color=shade(index, len(counts)),
                label=f"round {number}",
            )
            bottom += count
        axes.set(xlabel=axis, ylabel="number of visits")

    visited = int((np.array([*counts.values()]).sum(axis=0) > 0).sum())
    rows = [
        (float(edges[i]), float(edges[i + 1]), *(int(c[i]) for c in counts.values()))
        for i in range(BINS)
    ]
    return Picture(
        name_of("coverage", system, name),
        f"{system}: visits along {name}",
        f"{visited} of {BINS} bins between {edges[0]:.5g} and {edges[-1]:.5g} were visited.",
        (f"{axis}, from", "to", *(f"round {number}" for number in counts)),
        rows,
        draw,
    )


def biases(history: History) -> Section:
    """The bias, as the sum of all active hills, after each round."""
    pictures = []
    for system, record in history.biases.items():
        for action in record.headers:
            pictures += _bias(history, system, action, record)
    return Section(
        "bias",
        "The bias (not a free energy)",
        "Sum of all active hills up to each round. It shows where the bias has grown. It is not a "
        "free energy, since the model changed while it grew: its early hills were deposited with "
        "an earlier model. Use phasewalk fes for a free energy.",
        pictures,
        "No hill was deposited yet; this needs round 1 and METAD in the PLUMED text.",
    )


def _bias(history: History, system: str, action: str, record: HillsRecord) -> list[Picture]:
    try:
        hills = bias.gaussians(record, action=action)
    except InputError:  # hills with full covariance matrices
        return []
    names = _arguments(record, action)
    if not len(hills.heights) or len(names) > 2:
        return []
    low = (hills.centres - 3 * hills.sigmas).min(axis=0)
    high = (hills.centres + 3 * hills.sigmas).max(axis=0)
    axes = [
        np.linspace(low[i], high[i], POINTS if len(names) == 1 else GRID) for i in range(len(names))
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(names))
    rounds = np.array([hill.round for hill in bias.active_hills(record, action=action)])
    shown = spread(sorted(set(rounds.tolist())), LINES if len(names) == 1 else SHOWN)
    sums = _sums(hills, points, [rounds <= number for number in shown])
    found = dict(zip(shown, sums, strict=True))
    if len(names) == 1:
        return [_bias_line(history, system, action, (names[0], axes[0]), found)]
    return [_bias_map(history, system, action, n, (names, axes), v) for n, v in found.items()]


def _sums(hills: Gaussians, points: Array, masks: Sequence[NDArray[np.bool_]]) -> Array:
    """(masks, n) sums of the selected hills at (n, d) points, in parts to limit memory."""
    size = max(1, AT_ONCE // max(1, len(hills.heights)))
    chosen = np.array(masks, dtype=float).T
    parts = [
        bias.kernels(hills, points[i : i + size]) @ chosen for i in range(0, len(points), size)
    ]
    return np.concatenate(parts).T


def _arguments(record: HillsRecord, action: str) -> list[str]:
    fields = next(line.split()[2:] for line in record.headers[action] if " FIELDS " in line)
    return fields[1 : 1 + (len(fields) - 3) // 2]


def _bias_line(
    history: History,
    system: str,
    action: str,
    along: tuple[str, Array],
    found: Mapping[int, Array],
) -> Picture:
    name, grid = along
    axis, unit = history.axis(system, name), history.energy_unit(system)

    def draw(axes: "Axes") -> None:
        for index, (number, values) in enumerate(found.items()):
            axes.plot(grid, values, "-", color=shade(index, len(found)), label=f"round {number}")
        axes.set(xlabel=axis, ylabel=f"bias, {unit}")
        axes.set_ylim(bottom=0)

    last = found[max(found)]
    return Picture(
        name_of("bias", system, action),
        f"{system}: bias of {action}",
        f"After round {max(found)} the bias reaches {last.max():.4g} {unit}, at {name} "
        f"{grid[int(last.argmax())]:.5g}.",
        (axis, *(f"round {number}, {unit}" for number in found)),
        [(float(x), *(float(v[i]) for v in found.values())) for i, x in enumerate(grid)],
        draw,
    )


def _bias_map(
    history: History,
    system: str,
    action: str,
    number: int,
    along: tuple[Sequence[str], Sequence[Array]],
    values: Array,
) -> Picture:
    (x, y), unit = along[1], history.energy_unit(system)
    names = [history.axis(system, name) for name in along[0]]
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)

    def draw(axes: "Axes") -> None:
        mesh = axes.pcolormesh(x, y, values.reshape(GRID, GRID).T, cmap="viridis", rasterized=True)
        axes.figure.colorbar(mesh, ax=axes, label=f"bias, {unit}")
        axes.grid(visible=False)
        axes.set(xlabel=names[0], ylabel=names[1])

    return Picture(
        name_of("bias", system, action, "round", number),
        f"{system}: {action}, round {number}",
        f"After round {number} the bias reaches {values.max():.4g} {unit}.",
        (*names, f"bias, {unit}"),
        [(*map(float, p), float(v)) for p, v in zip(points, values, strict=True)],
        draw,
    )
