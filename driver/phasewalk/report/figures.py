"""Figures on the model: learning curves, errors along variables, training and cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..status import Compared, History
from ..store import LABEL, failures
from .pictures import COLOURS, Picture, colour, name_of, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ERRORS = (
    ("force_mae_meV_per_A", "force MAE, meV/Å", "forces"),
    ("energy_scatter_meV_per_atom", "energy scatter, meV/atom", "energy"),
    ("pressure_mae_GPa", "pressure MAE, GPa", "pressure"),
)
"""Key of `validation.Errors`, title of the axis, name for files."""


@dataclass(frozen=True)
class Section:
    """A part of the report: figures with an explanation.

    Attributes:
        name: for anchors.
        title: of the part.
        how: how to read the figures.
        pictures: its figures; empty if there are no data yet.
        missing: why there are none, and how to get them.
    """

    name: str
    title: str
    how: str
    pictures: Sequence[Picture]
    missing: str


def learning(history: History) -> Section:
    """Errors on new frames and test set as a function of the number of labels."""
    return Section(
        "learning",
        "Is it learning?",
        "The new frames of each round are predicted before the model is trained on them, so these "
        "are errors of true predictions where the walkers are. They decrease with the number of "
        "labels; they may increase when walkers enter a new region, and decrease again after "
        "training there. Small points are single walkers; their scatter shows the uncertainty of "
        "the mean. Squares are errors of each generation on the test set (test_data); the star is "
        "the final model, trained on all labels. Both axes are logarithmic, so a power law is a "
        "straight line.",
        [p for key, axis, name in ERRORS if (p := _learning_curve(history, key, axis, name))],
        "The first point is added after round 1; continue the campaign.",
    )


def _labels_of(history: History) -> dict[str, int]:
    """Generation → number of its labels, including those for validation."""
    return {
        entry["generation"]: entry["training_labels"] + entry["validation_labels"]
        for entry in history.state["generations"]
    }


def _learning_curve(history: History, key: str, axis: str, name: str) -> Picture | None:
    counts = _labels_of(history)
    new = [
        (counts[before["generation"]], entry["round"], before["generation"], before[key])
        for entry in history.state["rounds"]
        if (before := entry.get("before_learning")) and before["generation"] in counts
    ]
    test = [
        (counts[entry["generation"]], entry["generation"], entry["test"][key])
        for entry in history.state["generations"]
        if entry.get("test")
    ]
    new = [row for row in new if row[3] is not None]
    test = [row for row in test if row[2] is not None]
    if not new and not test:
        return None
    single = [
        (counts[one.generation], error)
        for one in history.comparisons
        if one.of == "new" and not one.learned and one.generation in counts
        if (error := _of_frame(one, key)) is not None
    ]

    rounds = [row for row in test if row[1].isdigit()]
    final = [row for row in test if not row[1].isdigit()]

    def draw(axes: "Axes") -> None:
        if single:
            axes.plot(*zip(*single, strict=True), ".", color=COLOURS[0], alpha=0.4, label="walkers")
        if new:
            points = zip(*((row[0], row[3]) for row in new), strict=True)
            axes.plot(*points, "o-", color=COLOURS[0], label="new frames")
        for mark, size, title, mine in (
            ("s--", None, "test set", rounds),
            ("*", 11, "test set, final model", final),
        ):
            if mine:
                points = zip(*((row[0], row[2]) for row in mine), strict=True)
                axes.plot(*points, mark, ms=size, color=COLOURS[1], label=title)
        axes.set(xlabel="number of labels", ylabel=axis, xscale="log", yscale="log")
        _plain_numbers(axes)

    changes = [
        f"on {what}, {mine[0][-1]:.3g} with {mine[0][0]} labels and {mine[-1][-1]:.3g} with "
        f"{mine[-1][0]}{' (final model)' if mine[-1] in final else ''}"
        for what, mine in (("new frames", new), ("the test set", test))
        if mine
    ]
    return Picture(
        f"learning-{name}",
        axis,
        f"{axis}: {'; '.join(changes)}.",
        ("labels", "generation", "measured on", axis),
        [
            *((r[0], r[2], f"new frames of round {r[1]}", r[3]) for r in new),
            *((r[0], r[1], "test set", r[2]) for r in test),
        ],
        draw,
        group="learning",
    )


def _of_frame(one: Compared, key: str) -> float | None:
    """An error of one frame; None if it is not defined for one frame (scatter of energies)."""
    if key == "pressure_mae_GPa":
        return abs(float(one.pressure[1] - one.pressure[0]))
    return one.errors.get(key)


def _plain_numbers(axes: "Axes") -> None:
    """Use plain numbers, instead of powers of ten, on logarithmic axes."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

    for which, limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        low, high = sorted(which.get_view_interval())
        if high - low < 1e-9 * high:  # one value, from sums in different orders
            low, high = low / 1.1, high * 1.1
            limits(low, high)
        if low > 0 and high / low < 8:  # less than a decade: as on a linear axis
            which.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        else:
            which.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        which.set_major_formatter(ScalarFormatter())
        which.set_minor_formatter(NullFormatter())


def along(history: History) -> Section:
    """Errors of single frames as a function of the collective variable."""
    unseen = [one for one in history.comparisons if not one.learned]
    systems = history.systems
    pictures = []
    for system in (*systems, None):  # None: given frames, for which no variables were computed
        mine = [one for one in unseen if _home(one, systems) == system]
        placed = [one for one in mine if one.colvars]
        for name in sorted({name for one in placed for name in one.colvars}):
            pictures.append(_along(history, system or "", name, placed))
        pictures.append(
            _along(history, system or "", "volume_A3", [o for o in mine if not o.colvars])
        )
    return Section(
        "along",
        "Where are its errors large?",
        "Each point is the force error of one frame on which the model was not trained, as a "
        "function of the collective variable. Later generations are brighter. A maximum that "
        "persists is a region with too few labels; larger errors at the ends are at the limits of "
        "the explored range. Crosses are frames of the test set.",
        [one for one in pictures if one is not None],
        "No generation was evaluated yet; this needs round 1, or test_data.",
    )


def _home(one: Compared, systems: Sequence[str]) -> str | None:
    """The system of a frame; the campaign's only system if the frame has none."""
    return one.system or (systems[0] if len(systems) == 1 else None)


def _along(history: History, system: str, name: str, mine: Sequence[Compared]) -> Picture | None:
    def place(one: Compared) -> float | None:
        return one.volume_A3 if name == "volume_A3" else one.colvars.get(name)

    rows = [
        (one.generation, one.of, one.walker or "", x, one.errors["force_rmse_meV_per_A"])
        for one in mine
        if (x := place(one)) is not None
    ]
    if not rows:
        return None
    axis = history.axis(system, name)
    generations = list(dict.fromkeys(row[0] for row in rows))
    shown = generations if len(generations) <= 7 else [generations[0], *generations[-6:]]

    def draw(axes: "Axes") -> None:
        for generation in shown:
            tone = shade(generations.index(generation), len(generations))
            title: str | None = f"generation {generation}"
            for of, mark in (("new", "o"), ("test", "x")):
                points = [(r[3], r[4]) for r in rows if r[:2] == (generation, of)]
                if points:
                    axes.plot(*zip(*points, strict=True), mark, color=tone, ms=4, label=title)
                    title = None
        axes.set(xlabel=axis, ylabel="force RMSE of a frame, meV/Å")
        axes.set_ylim(bottom=0)

    largest = [
        f"on {title} {worst[4]:.0f} meV/Å (generation {worst[0]}, at {worst[3]:.4g})"
        for title, of in (("new frames", "new"), ("the test set", "test"))
        if (worst := max((r for r in rows if r[1] == of), key=lambda r: float(r[4]), default=None))
    ]
    last = max((row for row in rows if row[0] == generations[-1]), key=lambda row: float(row[4]))
    return Picture(
        name_of("along", system, name),
        f"{system or 'given frames'}: error along {name.removesuffix('_A3')}",
        f"Largest error {', '.join(largest)}. Largest error of the last generation, "
        f"{generations[-1]}: {last[4]:.0f} meV/Å, on frames on which it was not trained.",
        ("generation", "measured on", "walker", axis, "force RMSE, meV/Å"),
        rows,
        draw,
    )


def training(history: History) -> Section:
    """Validation errors during the training of each generation."""
    # not the final one, which has no validation labels
    trainings = [o for o in history.trainings if len(o.epochs) and o.generation.isdigit()]

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

        start = 0.0
        for index, one in enumerate(trainings):
            axes.plot(
                start + one.epochs,
                one.force_mae_meV_per_A,
                "-",
                color=shade(index, len(trainings)),
                label=f"generation {one.generation}",
            )
            start += float(one.epochs[-1])
        axes.set(
            xlabel="epoch, all generations", ylabel="validation force MAE, meV/Å", yscale="log"
        )
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())

    rows = [
        (one.generation, int(epoch), round(float(error), 2))
        for one in trainings
        for epoch, error in zip(one.epochs, one.force_mae_meV_per_A, strict=True)
    ]
    pictures = []
    if rows:
        name, epochs, error = rows[-1]
        caption = f"Generation {name} ended at {error:.0f} meV/Å after {epochs} epochs."
        columns = ("generation", "epoch", "validation force MAE, meV/Å")
        pictures = [Picture("training", "validation error by epoch", caption, columns, rows, draw)]
    return Section(
        "training",
        "Was it trained long enough?",
        "Error on the validation labels after each epoch, with one line for each generation. If a "
        "line still decreases steeply at its end, use more epochs; if it increases, use fewer "
        "epochs or a lower learning rate. Jumps between lines are due to new validation labels.",
        pictures,
        "No training is finished yet.",
    )


def ledger(history: History) -> Section:
    """Time by stage and round."""
    rounds = history.state["rounds"]
    stages = [s for s, total in history.state["seconds"].items() if total > 0]

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        bottom = np.zeros(len(rounds))
        for index, stage in enumerate(stages):
            seconds = np.array([r["seconds"].get(stage, 0.0) for r in rounds]) / 60.0
            axes.bar(
                [r["round"] for r in rounds],
                seconds,
                bottom=bottom,
                color=colour(index),
                hatch="" if index < len(COLOURS) else "//",
                label=stage,
            )
            bottom += seconds
        axes.set(xlabel="round (0: bootstrap)", ylabel="run time of engines, min")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    rows = [[r["round"], *(r["seconds"].get(stage, 0.0) for stage in stages)] for r in rounds]
    pictures = []
    if stages:
        total = history.state["seconds"]
        most = max(stages, key=lambda stage: float(total[stage]))
        minutes, every = total[most] / 60, sum(total.values()) / 60
        caption = f"The stage {most} took the most time: {minutes:.1f} of {every:.1f} min."
        columns = ("round", *(f"{stage}, s" for stage in stages))
        pictures = [Picture("time", "run time by round", caption, columns, rows, draw, legends=12)]
    return Section(
        "ledger",
        "What did it cost?",
        "Run time of the engines by stage and round; the times of simultaneous jobs are added. The "
        "tables list labels, tries, failures, core-hours, and the fraction of wall "
        "time in which no engine ran.",
        pictures,
        "No job is finished yet.",
    )


def failed_labels(history: History) -> list[tuple[int, str]]:
    """Round and reason of each label that failed in all tries."""
    return [(record.round, failure.reason) for record, failure in failures(history.records, LABEL)]
