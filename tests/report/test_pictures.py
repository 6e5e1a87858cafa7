"""Pictures as a designer and a referee look at them: nothing cropped, nothing squeezed or small."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from helpers.recorded import RECORDED
from phasewalk.report import figures, free_figures, maps, pictures, scatter
from phasewalk.report.figures import Section
from phasewalk.report.pictures import Picture
from phasewalk.status import history
from phasewalk.status.history import History


@pytest.fixture(scope="module")
def recorded() -> History:
    return history.read(RECORDED)


def lines(count: int, name: str = "generation {}") -> Picture:
    def draw(axes: Axes) -> None:
        for number in range(count):
            axes.plot([0, 1], [number, 1], label=name.replace("{}", str(number)))
        axes.set(xlabel="x", ylabel="y, kJ/mol")

    return Picture("lines", "lines", "Lines.", ("x",), [], draw)


def cropped(figure: Figure) -> list[str]:
    """Titles, labels and legends that reach beyond the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    ticks = {id(t) for axes in figure.axes for t in (*axes.get_xticklabels(),
             *axes.get_yticklabels())}  # fmt: skip
    box, found = figure.bbox, []
    for text in figure.findobj(Text):
        if id(text) in ticks or not text.get_text() or not text.get_visible():
            continue
        e = text.get_window_extent()
        if e.x0 < box.x0 - 1 or e.x1 > box.x1 + 1 or e.y0 < box.y0 - 1 or e.y1 > box.y1 + 1:
            found.append(text.get_text())
    return found


def all_figures(section: Section) -> list[Figure]:
    """As they stand on the page, and in a paper of one and of two columns."""
    found = []
    some = section.pictures[-3:]
    for picture in some:
        for size in ((pictures.WIDTH_IN, pictures.HEIGHT_IN), (5.0, pictures.HEIGHT_IN)):
            found.append(pictures._figure([picture], size, pictures._STYLE, titles=True))
        found.append(paper([picture], pictures.COLUMN_IN, pictures.COLUMN_HEIGHT_IN))
    if some:
        mine = [picture for picture in some if picture.group == some[-1].group]
        found.append(paper(mine, pictures.PAGE_IN, pictures.PAGE_HEIGHT_IN))
    return found


def paper(mine: Sequence[Picture], width: float, height: float) -> Figure:
    return pictures._figure(mine, (width, height), pictures._PAPER, titles=False)


SECTIONS = [figures.learning, figures.along, scatter.parity, figures.training, maps.exploration,
            maps.coverage, maps.biases, figures.ledger, free_figures.free_energies]  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_is_cropped(recorded: History, section: object) -> None:
    for figure in all_figures(section(recorded)):  # type: ignore[operator]
        assert cropped(figure) == []


@pytest.mark.parametrize("count", [2, 6, 7, 30])
@pytest.mark.parametrize(
    "name", ["{}", "generation {}", "earlier generation {} (1234 labels) " * 3]
)
def test_legends_fit_however_many_and_long_their_entries_are(count: int, name: str) -> None:
    figure = pictures._figure([lines(count, name)], (4.2, 3.3), pictures._STYLE, titles=True)
    assert cropped(figure) == []
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert len(shown) == min(count, 8)
    if len(name) < 20:  # the first and the last are among them
        assert (shown[0], shown[-1]) == (name.format(0), name.format(count - 1))


def test_letters_of_a_paper_can_be_read(recorded: History) -> None:
    for section in SECTIONS:
        for picture in section(recorded).pictures[:1]:
            figure = paper([picture], pictures.COLUMN_IN, pictures.COLUMN_HEIGHT_IN)
            sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
            assert min(sizes) >= 7.0


def test_files_hold_letters_and_what_they_are_of() -> None:
    files = lines(3).files("phasewalk 9.9, campaign x.")
    assert sorted(files) == ["lines.csv", "lines.pdf", "lines.png", "lines.svg"]
    assert b"/Type /Font" in files["lines.pdf"]
    assert b"/FontFile2" in files["lines.pdf"]  # TrueType, as journals want it
    assert "campaign x." in files["lines.svg"].decode()
    assert b"campaign x." in files["lines.png"]
    assert files == lines(3).files("phasewalk 9.9, campaign x.")
    assert sorted(pictures.wide([lines(2)])) == [f"lines-wide.{e}" for e in ("pdf", "png", "svg")]


def test_outliers_do_not_squeeze_the_rest_and_are_counted() -> None:
    good = np.linspace(-20.0, 10.0, 30)
    values = np.array([[*good, 160.0, 170.0], [*good + 1.0, -12.0, 172.0]])
    low, high, beyond = scatter.limits(values)
    assert (low, high) == (-20.0, 11.0)
    assert beyond == 2
    assert scatter.limits(np.array([good, good])) == (-20.0, 10.0, 0)
    assert scatter.limits(np.array([[3.0], [3.0]])) == (2.5, 3.5, 0)
    forces = np.random.default_rng(1).laplace(size=(2, 4000))  # long tails are no outliers
    assert scatter.limits(forces)[2] <= 8


def test_parity_has_forces_energies_and_stress(recorded: History) -> None:
    names = [picture.name for picture in scatter.parity(recorded).pictures]
    assert names[:3] == ["parity-forces-final", "parity-energies-final", "parity-pressure-final"]
    with_stress = [replace(one, stress=np.ones((2, 6))) for one in recorded.comparisons]
    changed = replace(recorded, comparisons=with_stress)
    (stress,) = (p for p in scatter.parity(changed).pictures if p.name == "parity-stress-final")
    assert len(stress.rows) == 30 * 6
    assert "stress MAE 0 GPa" in stress.says
    assert stress.columns[1:] == ("reference stress, GPa", "model stress, GPa")


def test_the_largest_error_is_that_of_the_points(recorded: History) -> None:
    (along,) = figures.along(recorded).pictures
    errors = {of: max(float(str(row[4])) for row in along.rows if row[1] == of)
              for of in ("new", "test")}  # fmt: skip
    assert f"on new frames {errors['new']:.0f} meV/Å" in along.says
    assert f"on the test set {errors['test']:.0f} meV/Å" in along.says
    assert along.columns[3] == "volume, Å³"


def test_numbers_of_captions_are_those_of_the_tiles(recorded: History) -> None:
    last = recorded.state["rounds"][-1]["before_learning"]
    says = " ".join(p.says for p in scatter.parity(recorded).pictures if p.name.endswith("-3"))
    assert f"new frames force MAE {last['force_mae_meV_per_A']:.0f} meV/Å" in says
    assert f"new frames energy scatter {last['energy_scatter_meV_per_atom']:.3g}" in says
    assert f"new frames pressure MAE {last['pressure_mae_GPa']:.2g} GPa" in says
