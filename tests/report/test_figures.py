"""Figures and answers for campaigns that the recorded one is not: made up, and drawn."""

import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.recorded import RECORDED
from phasewalk.bias import hills as bias
from phasewalk.bias.hills import Hill, HillsRecord
from phasewalk.errors import StoreError
from phasewalk.free_energies import free_energy
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.report import figures, free_figures, maps
from phasewalk.report import page as report
from phasewalk.report.pictures import Picture
from phasewalk.status import history, verdict
from phasewalk.status.history import History
from phasewalk.status.traces import Trace

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def recorded() -> History:
    return history.read(RECORDED)


def trace(walker: str, round_: int, **values: Any) -> Trace:
    columns = {name: np.array(column, dtype=float) for name, column in values.items()}
    time = np.arange(len(next(iter(columns.values()))), dtype=float)
    return Trace("a", walker, round_, time, columns, None, "good", "its last good frame")


def drawn(picture: Picture) -> str:
    """The picture as SVG; its numbers fit its columns."""
    assert all(len(row) == len(picture.columns) for row in picture.rows)
    return picture.svg()


def record(*lines: str, fields: str, extra: tuple[str, ...] = ()) -> HillsRecord:
    hills = tuple(
        Hill("a", "metad", "a-0", 1, 10 * (n + 1), 0, True, line) for n, line in enumerate(lines)
    )
    return HillsRecord("a", {"metad": (f"#! FIELDS {fields}", *extra)}, hills)


PLAIN = ("#! SET multivariate false", "#! SET kerneltype gaussian")


def test_the_bias_along_one_variable_is_the_sum_of_hills(recorded: History) -> None:
    one = record("1 3.0 0.5 2.0 -1", "2 3.5 0.5 2.0 -1", fields="time v sigma_v height biasf",
                 extra=PLAIN)  # fmt: skip
    found = maps.biases(replace(recorded, biases={"a": one}))
    (picture,) = found.pictures
    drawn(picture)
    places = np.array([[row[0]] for row in picture.rows], dtype=float)
    wanted = bias.bias_at(one, places, action="metad")
    assert [row[1] for row in picture.rows] == pytest.approx(wanted.tolist())
    assert "not a free energy" in found.title
    assert "not a free energy" in found.how


def test_the_bias_along_two_variables_is_a_map(recorded: History) -> None:
    one = record("1 3.0 1.0 0.5 0.2 2.0 -1", fields="time v w sigma_v sigma_w height biasf",
                 extra=PLAIN)  # fmt: skip
    later = tuple(replace(one.hills[0], round=n, step=10 * n) for n in range(1, 9))
    many = replace(one, hills=later)
    found = maps.biases(replace(recorded, biases={"a": many}))
    assert len(found.pictures) == maps.SHOWN
    assert found.pictures[0].name.endswith("round-1")
    last = found.pictures[-1]
    assert last.name.endswith("round-8")
    drawn(last)
    top = max(last.rows, key=lambda row: float(str(row[2])))
    assert top[2] == pytest.approx(16.0, rel=0.02)  # eight hills on one place
    first = max(found.pictures[0].rows, key=lambda row: float(str(row[2])))
    assert first[2] == pytest.approx(2.0, rel=0.02)
    assert top[:2] == pytest.approx((3.0, 1.0), abs=0.1)


def test_hills_that_no_picture_can_show(recorded: History) -> None:
    three = record("1 1 1 1 1 1 1 2.0 -1", fields="time a b c sa sb sc height biasf", extra=PLAIN)
    whole = record("1 3.0 1.0 0 0 0 2.0 -1", fields="time v w s1 s2 s3 height biasf",
                   extra=("#! SET multivariate true",))  # fmt: skip
    none = HillsRecord("a", {"metad": ("#! FIELDS time v sigma_v height biasf",)})
    for one in (three, whole, none, HillsRecord("a")):
        assert maps.biases(replace(recorded, biases={"a": one})).pictures == []


def bare(recorded: History, **more: Any) -> History:
    return replace(recorded, settings=None, records=(), comparisons=(), **more)


def test_walkers_that_print_nothing_or_nonsense(recorded: History) -> None:
    traces = [
        trace("a-0", 1, v=[]),
        trace("a-1", 1, v=[math.nan, 1.0, math.inf]),
        trace("a-0", 2, v=[2.0]),
        trace("a-1", 2, v=[1.0, 2.0, 3.0]),
    ]
    found = bare(recorded, traces=traces)
    (walk,) = maps.exploration(found).pictures
    assert [row[3] for row in walk.rows] == [1.0, 2.0, 1.0, 2.0, 3.0]
    drawn(walk)
    (visits,) = maps.coverage(found).pictures
    assert sum(sum(map(int, map(str, row[2:]))) for row in visits.rows) == 5
    drawn(visits)
    assert verdict.ranges(found)["a", "v"] == (1.0, 3.0)
    constant = bare(recorded, traces=[trace("a-0", 1, v=[5.0, 5.0])])
    (visits,) = maps.coverage(constant).pictures
    drawn(visits)


def test_a_page_of_many_rounds_and_walkers_stays_small(recorded: History) -> None:
    traces = [
        trace(f"a-{walker}", round_, v=np.linspace(walker, round_, 100))
        for walker in range(16)
        for round_ in range(1, 61)
    ]
    page = report.page(bare(recorded, traces=traces))
    assert len(page) < 4_000_000


def free(values: Array, centres: tuple[Array, ...]) -> FreeEnergy:
    return FreeEnergy(
        variables=tuple(Variable(name) for name in ("v", "w")[: len(centres)]),
        centres=centres,
        values=values,
        errors=np.full(values.shape, 0.5),
        from_hills=values + 0.1,
        temperature_K=300.0,
        frames=(100, 100),
        blocks=((4, 0.5),),
        opinions_differ=0.2,
    )


def left(found: FreeEnergy, generation: str) -> dict[str, Any]:
    told = {"generation": generation, "walkers": 2, "ps_per_walker": 10.0, "warnings": ["doubt"]}
    return {"a": {**found.as_dict(), **told}}


def test_free_energies_of_two_generations(recorded: History) -> None:
    x = np.linspace(0.0, 1.0, 5)
    values = np.array([0.0, 1.0, math.nan, 4.0, 2.0])
    both = [left(free(values, (x,)), "1"), left(free(values + 1.0, (x,)), "2")]
    (picture,) = free_figures.free_energies(replace(recorded, free_energies=both)).pictures
    text = drawn(picture)
    assert "generation 1" in text
    assert "generation 2" in text
    assert len(picture.rows) == 10
    assert picture.rows[2][2] is None  # not sampled
    assert "Warning: doubt" in picture.says
    assert "0.5 kJ/mol" in picture.says


def test_what_the_reference_says_is_drawn_and_said(recorded: History) -> None:
    one = left(free(np.array([0.0, 1.0, math.nan, 4.0, 2.0]), (np.linspace(0.0, 1.0, 5),)), "1")
    told = {"frames": 72, "verdict": "differs by 3 kJ/mol", "corrected_error": [0.0, 0.3, 1, 1, 1]}
    one["a"]["against_reference"] = {**told, "corrected": [0.0, 2.0, None, 3.0, 1.0]}
    (picture,) = free_figures.free_energies(replace(recorded, free_energies=[one])).pictures
    assert "the reference's own" in drawn(picture)
    assert picture.rows[1][-2:] == (2.0, 0.3)
    assert "Compared with the reference on 72 frames: differs by 3 kJ/mol." in picture.says
    one["a"]["against_reference"] |= {"corrected": None, "corrected_error": None}
    (picture,) = free_figures.free_energies(replace(recorded, free_energies=[one])).pictures
    assert "the reference's own" not in drawn(picture)
    assert picture.rows[1][-2:] == (None, None)


def test_free_energies_of_two_variables(recorded: History) -> None:
    x, y = np.linspace(0.0, 1.0, 4), np.linspace(5.0, 6.0, 3)
    values = np.arange(12.0).reshape(4, 3)
    values[0, 0] = math.nan
    one = left(free(values, (x, y)), "final")
    (picture,) = free_figures.free_energies(replace(recorded, free_energies=[one])).pictures
    drawn(picture)
    assert picture.rows[0] == (0.0, 5.0, None)
    assert picture.rows[-1] == (1.0, 6.0, 11.0)
    assert free_energy.from_dict(one["a"]).values[3, 2] == 11.0


def test_one_label_whose_error_is_the_mean_up_to_rounding(recorded: History) -> None:
    error, state = 0.16119219585728303, recorded.state
    before = {"generation": "0"} | {key: error for key, _, _ in figures.ERRORS}
    one = next(c for c in recorded.comparisons if c.of == "new" and c.generation == "0")
    found = replace(
        recorded,
        state={
            **state,
            "rounds": [{**state["rounds"][1], "before_learning": before}],
            "generations": [{**entry, "test": None} for entry in state["generations"]],
        },
        comparisons=[replace(one, pressure=np.array([0.0, np.nextafter(error, 1.0)]))],
    )
    (curve,) = (p for p in figures.learning(found).pictures if p.name == "learning-pressure")
    drawn(curve)  # without a warning of matplotlib


def test_names_never_break_the_page(recorded: History) -> None:
    name = 'd.x"><script>alert(1)</script>'
    odd = replace(trace("a-0", 1, v=[1.0, 2.0]), values={name: np.array([1.0, 2.0])})
    page = report.page(bare(recorded, traces=[odd]))
    assert "<script>alert" not in page


def test_chemiscope_gets_every_labelled_frame(recorded: History, tmp_path: Path) -> None:
    pytest.importorskip("chemiscope")
    import gzip
    import json

    from phasewalk.report import chemiscope

    path = tmp_path / "x.chemiscope.json.gz"
    assert chemiscope.write(recorded, path) == recorded.state["labels"]["done"]
    data = json.loads(gzip.decompress(path.read_bytes()))
    assert len(data["structures"]) == recorded.state["labels"]["done"]
    properties = data["properties"]
    assert properties["variable volume"]["values"] == pytest.approx(
        properties["volume"]["values"], rel=1e-6
    )
    error = properties["force RMSE before training on it"]["values"]
    walked = [name != "(none)" for name in properties["walker"]["values"]]
    assert [not math.isnan(value) for value in error] == walked


def test_a_full_disk_leaves_the_former_chemiscope_file(
    recorded: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("chemiscope")
    from phasewalk.report import chemiscope

    path = tmp_path / "x.chemiscope.json.gz"
    path.write_bytes(b"former")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        chemiscope.write(recorded, path)
    assert path.read_bytes() == b"former"


def as_lines(found: History) -> str:
    return "\n".join(f"{a}: {b}" for a, b in report.numbers(found))


def test_numbers_before_anything_was_measured(recorded: History) -> None:
    state = {**recorded.state, "generations": [], "rounds": [recorded.state["rounds"][0]]}
    text = as_lines(replace(recorded, state=state, traces=(), records=()))
    assert "Generations: 0" in text
    assert "MAE" not in text


def test_prints_of_other_strides_keep_the_biased_variable(tmp_path: Path) -> None:
    """Two PRINTs: the first is not of what METAD pushes, and comes half as often."""
    import shutil

    root = Path(shutil.copytree(RECORDED, tmp_path / "copy.run"))
    for path in root.glob("rounds/*/segment/*.colvar"):
        lines = path.read_text().splitlines(keepends=True)
        path.with_name(path.name.replace(".colvar", ".2.colvar")).write_text("".join(lines))
        other = [f"{line.split()[0]} 1.5\n" for line in lines if not line.startswith("#")][::2]
        path.write_text("#! FIELDS time d1\n" + "".join(other))
    found = history.read(root)
    whole = history.read(RECORDED)
    assert found.problems == []
    assert verdict.ranges(found) == verdict.ranges(whole)
    first = found.traces[0]
    assert len(first.time_ps) == len(whole.traces[0].time_ps)
    assert np.nanmax(first.values["d1"]) == 1.5
    assert np.isnan(first.values["d1"]).sum() == len(first.time_ps) // 2
