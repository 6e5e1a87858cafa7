"""Figures of one panel each, for the page and for papers, with the numbers that they show.

They are drawn without a display and without global settings. In SVG, text and axes have the text
colour of the page, so that a figure works with light and dark pages and in print.
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
"""Size of a figure on the page, inches; the width of a phone."""
ALONE_IN = 5.0
"""Width of the only figure in a part of the page, inches."""
COLUMN_IN, PAGE_IN = 3.4, 7.0
"""Width of one and of two columns in most journals, inches."""
COLUMN_HEIGHT_IN, PAGE_HEIGHT_IN = 2.7, 2.9
DPI = 300
"""Resolution of PNG, and of rasterized parts of PDF and SVG."""
INK = "#101112"
"""Colour of text and axes; used for nothing else, so that it can be replaced."""
GREY = "#8a8a8a"
"""Colour of outdated results."""
COLOURS = ("#1f77d0", "#e07b00", "#0b9a72", "#d2488b", "#8a63d2", "#b09000", "#4fa3c7", "#c9503c")
"""Distinguishable on white and on black, also with most kinds of colour blindness."""
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
"""Style for papers; all text is at least 7 points in print."""


@dataclass(frozen=True)
class Picture:
    """A figure of one panel.

    Attributes:
        name: for its files and anchors: letters, digits, hyphens.
        title: a short title.
        says: the caption: a sentence with the main numbers, also for readers who cannot see it.
        columns: titles of the columns of its numbers, with units.
        rows: its numbers, in the order in which they are drawn.
        draw: draws it into axes.
        group: figures of one group are side by side in files of two columns' width.
        legends: maximum number of legend entries; of more, evenly spaced ones are shown.
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
        """The panel as a matplotlib figure."""
        return _figure([self], (WIDTH_IN, HEIGHT_IN), _STYLE, titles=True)

    def svg(self, *, alone: bool = False) -> str:
        """The panel as an `<svg>` element for a page, larger if it is the only one in its part."""
        import matplotlib as mpl

        size = (ALONE_IN, HEIGHT_IN) if alone else (WIDTH_IN, HEIGHT_IN)
        with mpl.rc_context(_STYLE):
            stream = io.StringIO()
            figure = _figure([self], size, _STYLE, titles=True)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :].replace(INK, "currentColor")
        # ids must be unique on the page
        text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{self.name}-", text)
        return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)

    def files(self, made: str = "") -> dict[str, bytes]:
        """Files with the width of one column: PDF, SVG and PNG (300 dpi); the numbers as CSV.

        Args:
            made: provenance, for the metadata of the files.
        """
        figure = _figure([self], (COLUMN_IN, COLUMN_HEIGHT_IN), _PAPER, titles=False)
        return {
            f"{self.name}.csv": self.csv().encode(),
            **_saved(figure, self.name, title=self.title, text=f"{self.says} {made}".strip()),
        }

    def csv(self) -> str:
        """Its numbers as CSV, with a header line."""
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
    """The colour of the index-th line."""
    return COLOURS[index % len(COLOURS)]


def shade(index: int, count: int) -> tuple[float, float, float, float]:
    """The colour of the index-th of `count` lines in a sequence; later ones are brighter."""
    import matplotlib as mpl

    found: tuple[float, float, float, float] = mpl.colormaps["plasma"](
        0.28 + 0.55 * index / max(1, count - 1)
    )
    return found


def wide(pictures: Sequence[Picture], made: str = "") -> dict[str, bytes]:
    """Files with the width of two columns: figures of a group side by side; without CSV."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group or picture.name, []).append(picture)
    found: dict[str, bytes] = {}
    for name, mine in groups.items():
        figure = _figure(mine, (PAGE_IN, PAGE_HEIGHT_IN), _PAPER, titles=False)
        title = "; ".join(picture.title for picture in mine)
        found |= _saved(figure, f"{name}-wide", title=title, text=made)
    return found


def _figure(
    pictures: Sequence[Picture],
    size_in: tuple[float, float],
    style: Mapping[Any, Any],
    *,
    titles: bool,
) -> "Figure":
    """Figures side by side, with one legend below them."""
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
    """A legend below the figures, in as many columns as fit, with at most `most` entries."""
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
        return float(pixels) * 72.0 / figure.dpi + 2.8 * size  # with its symbol

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
    """At most `most` evenly spaced items, including the first and the last."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]


def _saved(figure: "Figure", name: str, *, title: str, text: str) -> dict[str, bytes]:
    """The figure as PDF, SVG and PNG; equal figures give equal bytes."""
    import matplotlib as mpl

    metadata: dict[str, dict[str, str | None]] = {
        "pdf": {"Title": title, "Subject": text, "CreationDate": None},
        "svg": {"Title": title, "Description": text, "Date": None},
        "png": {"Title": title, "Description": text},
    }
    found = {}
    with mpl.rc_context(_PAPER):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the same layout for all formats
        for ending, entries in metadata.items():
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, dpi=DPI, facecolor="white", metadata=entries)
            found[f"{name}.{ending}"] = stream.getvalue()
    return found
