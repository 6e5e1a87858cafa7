"""Pictures: one panel each, for the screen and for paper, with the numbers that it shows.

Drawn without a display and without global settings. As SVG, text and axes take the colour of the
page around them, so that one picture serves light, dark and paper.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
WIDTH_IN, HEIGHT_IN = 4.2, 3.3
"""Of a panel on the page: as wide as a phone."""
ALONE_IN = 5.0
"""Width of one that stands alone in its part of the page."""
COLUMN_IN, PAGE_IN = 3.4, 7.0
"""Width of a column, and of both, in most journals."""
COLUMN_HEIGHT_IN, PAGE_HEIGHT_IN = 2.7, 2.9
DPI = 300
"""Of PNG, and of what is drawn as pixels within PDF and SVG."""
INK = "#101112"
"""Of text and axes; no other thing has it, so that it can be replaced."""
GREY = "#8a8a8a"
"""Of what is no longer so."""
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
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "phasewalk",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_PAPER = {
    **_STYLE,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "font.size": 8,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}
"""No letter is smaller than 7 points at the width at which it is printed."""


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
        group: pictures of one group stand side by side where a paper has both columns.
        legends: entries of its legend at most; of more, some that are evenly chosen.
    """

    name: str
    title: str
    says: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    draw: "Callable[[Axes], None]"
    group: str = ""
    legends: int = 8

    def figure(self) -> "Figure":
        """The panel as a matplotlib figure of its own."""
        return _figure([self], (WIDTH_IN, HEIGHT_IN), _STYLE, titles=True)

    def svg(self, *, alone: bool = False) -> str:
        """The panel as an `<svg>` element for a page, in the page's colour; larger where alone."""
        import matplotlib as mpl

        size = (ALONE_IN, HEIGHT_IN) if alone else (WIDTH_IN, HEIGHT_IN)
        with mpl.rc_context(_STYLE):
            stream = io.StringIO()
            figure = _figure([self], size, _STYLE, titles=True)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :].replace(INK, "currentColor")
        # ids are the page's own: two panels must not share one
        text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{self.name}-", text)
        return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)

    def files(self, made: str = "") -> dict[str, bytes]:
        """For one column of a paper: PDF, SVG, PNG (300 dpi) on white; the numbers as CSV.

        Args:
            made: what it was made from, for the files' metadata.
        """
        figure = _figure([self], (COLUMN_IN, COLUMN_HEIGHT_IN), _PAPER, titles=False)
        return {
            f"{self.name}.csv": self.csv().encode(),
            **_saved(figure, self.name, title=self.title, told=f"{self.says} {made}".strip()),
        }

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
    import matplotlib as mpl

    found: tuple[float, float, float, float] = mpl.colormaps["plasma"](
        0.28 + 0.55 * index / max(1, count - 1)
    )
    return found


def wide(pictures: Sequence[Picture], made: str = "") -> dict[str, bytes]:
    """For both columns of a paper: each group side by side, any other picture alone; no CSV."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group or picture.name, []).append(picture)
    found: dict[str, bytes] = {}
    for name, mine in groups.items():
        figure = _figure(mine, (PAGE_IN, PAGE_HEIGHT_IN), _PAPER, titles=False)
        title = "; ".join(picture.title for picture in mine)
        found |= _saved(figure, f"{name}-wide", title=title, told=made)
    return found


def _figure(
    pictures: Sequence[Picture],
    size_in: tuple[float, float],
    style: Mapping[Any, Any],
    *,
    titles: bool,
) -> "Figure":
    """Pictures side by side, with one legend below them."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(dict(style)):
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(pictures), squeeze=False)[0]
        entries: dict[str, Any] = {}
        for number, (axes, picture) in enumerate(zip(panels, pictures, strict=True)):
            picture.draw(axes)
            if titles:
                axes.set_title(picture.title)
            elif len(pictures) > 1:
                axes.set_title(f"({chr(ord('a') + number)})", loc="left")
            handles, labels = axes.get_legend_handles_labels()
            entries |= {name: one for one, name in zip(handles, labels, strict=True)}
        _legend(figure, entries, min(picture.legends for picture in pictures))
    return figure


def _legend(figure: "Figure", entries: Mapping[str, Any], most: int) -> None:
    """A legend below the pictures, in as many columns as fit; of many entries, some."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties

    names = spread(list(entries), most)
    if len(names) < 2:
        return
    font = FontProperties(size=mpl.rcParams["legend.fontsize"])
    size = float(font.get_size_in_points())
    room = 72.0 * figure.get_figwidth() - 2.0 * size

    def width(name: str) -> float:
        drawn = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        pixels = drawn.get_text_width_height_descent(name, font, ismath=False)[0]
        return float(pixels) * 72.0 / figure.dpi + 2.8 * size  # and its mark

    def cut(name: str) -> str:
        while len(name) > 4 and width(name) > room:
            name = f"{name[:-2]}…"
        return name

    names_cut = [cut(name) for name in names]
    for columns in range(min(5, len(names)), 0, -1):
        parts = [part.tolist() for part in np.array_split(names_cut, columns)]  # as a legend does
        if sum(max(map(width, part)) for part in parts) + 2.0 * size * (columns - 1) <= room:
            break
    handles = [entries[name] for name in names]
    figure.legend(handles, names_cut, loc="outside lower center", ncols=columns)


def spread(names: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly chosen, the first and the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _saved(figure: "Figure", name: str, *, title: str, told: str) -> dict[str, bytes]:
    """The figure as PDF, SVG and PNG, the same bytes for the same picture."""
    import matplotlib as mpl

    metadata: dict[str, dict[str, str | None]] = {
        "pdf": {"Title": title, "Subject": told, "CreationDate": None},
        "svg": {"Title": title, "Description": told, "Date": None},
        "png": {"Title": title, "Description": told},
    }
    found = {}
    with mpl.rc_context(_PAPER):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for all formats
        for ending, said in metadata.items():
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, dpi=DPI, facecolor="white", metadata=said)
            found[f"{name}.{ending}"] = stream.getvalue()
    return found
