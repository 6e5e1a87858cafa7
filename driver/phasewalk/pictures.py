"""Pictures: one panel each, for the screen and for paper, with the numbers that it shows.

Drawn without a display and without global settings. As SVG, text and axes take the colour of the
page around them, so that one picture serves light, dark and paper.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH_IN, HEIGHT_IN = 4.2, 3.3
"""Of a panel: as wide as a phone, and as a column of a paper."""
INK = "#101112"
"""Of text and axes; no other thing has it, so that it can be replaced."""
COLOURS = ("#1f77d0", "#e07b00", "#0b9a72", "#d2488b", "#8a63d2", "#b09000", "#4fa3c7", "#c9503c")
"""To be told apart on white and on black, also by most who do not see all colours."""
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 9.5,
    "grid.alpha": 0.25,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "phasewalk",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """One panel.

    Attributes:
        name: for its files and anchors: letters, digits, hyphens.
        title: short.
        says: what it shows here, in a sentence with numbers, for those who do not see it.
        columns: of its numbers, with units.
        rows: its numbers, in the order in which they are drawn.
        draw: draws it into axes.
    """

    name: str
    title: str
    says: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    draw: Callable[[Axes], None]

    def figure(self) -> Figure:
        """The panel as a matplotlib figure of its own."""
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.add_subplot()
            axes.set_title(self.title)
            self.draw(axes)
        return figure

    def svg(self) -> str:
        """The panel as an `<svg>` element for a page, in the page's colour."""
        with mpl.rc_context(_STYLE):
            stream = io.StringIO()
            self.figure().savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :].replace(INK, "currentColor")
        # ids are the page's own: two panels must not share one
        text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{self.name}-", text)
        return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)

    def files(self) -> dict[str, bytes]:
        """For a paper: PNG (300 dpi) and SVG on white, and the numbers as CSV."""
        found = {f"{self.name}.csv": self.csv().encode()}
        for ending in ("png", "svg"):
            with mpl.rc_context(_STYLE):
                stream = io.BytesIO()
                metadata = {"Date": None} if ending == "svg" else {}
                self.figure().savefig(
                    stream, format=ending, dpi=300, facecolor="white", metadata=metadata
                )
            found[f"{self.name}.{ending}"] = stream.getvalue()
        return found

    def csv(self) -> str:
        """Its numbers as CSV, a line of column names first."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return stream.getvalue()


def name_of(*parts: object) -> str:
    """A name for files and anchors."""
    text = "-".join(str(part) for part in parts)
    return "".join(char if char.isalnum() else "-" for char in text)


def colour(index: int) -> str:
    """The colour of the index-th thing."""
    return COLOURS[index % len(COLOURS)]


def shade(index: int, count: int) -> tuple[float, float, float, float]:
    """The colour of the index-th of so many things that follow each other."""
    found: tuple[float, float, float, float] = mpl.colormaps["plasma"](
        0.15 + 0.65 * index / max(1, count - 1)
    )
    return found


def legend(axes: Axes, most: int = 8) -> None:
    """A legend below the picture, where it is not longer than the picture."""
    handles, labels = axes.get_legend_handles_labels()
    if 1 < len(labels) <= most:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
