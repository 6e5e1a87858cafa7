"""Reading dumps: unwrapped positions, exchanged vectors, files that are not complete."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.productions import frame, write_dump
from phasewalk import files
from phasewalk.analyses import frames
from phasewalk.errors import ParseError

Array = NDArray[np.float64]
CELL = np.array([[6.0, 0.0, 0.0], [-2.5, 7.0, 0.0], [1.0, 2.0, 8.0]])
SYMBOLS = ("Na", "Cl", "Na")


def walk(count: int = 12) -> Array:
    """Positions that leave the cell."""
    steps = np.random.default_rng(1).normal(0.0, 3.0, size=(count, len(SYMBOLS), 3))
    found: Array = np.cumsum(steps, axis=0)
    return found


def cells(count: int = 12) -> Array:
    return np.repeat(CELL[None], count, axis=0) * (1.0 + 0.001 * np.arange(count))[:, None, None]


def written(path: Path) -> frames.Frames:
    write_dump(path, cells(), walk(), SYMBOLS)
    found = frames.read(path)
    assert found is not None
    return found


def test_positions_are_unwrapped(tmp_path: Path) -> None:
    found = written(tmp_path / "w.dump")
    assert found.steps.tolist() == list(range(0, 120, 10))
    assert found.symbols.tolist() == list(SYMBOLS)
    assert np.allclose(found.cells, cells())
    assert np.allclose(found.places @ found.cells, walk())


def test_positions_are_continuous_where_vectors_were_exchanged(tmp_path: Path) -> None:
    turned = cells()
    turned[5:, 1] += turned[5:, 0]
    write_dump(tmp_path / "w.dump", turned, walk(), SYMBOLS)
    found = frames.read(tmp_path / "w.dump")
    assert found is not None
    assert np.allclose(found.cells, cells())
    assert np.allclose(found.places @ found.cells, walk())


def test_an_incomplete_last_frame_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.dump"
    write_dump(path, cells(), walk(), SYMBOLS)
    content = path.read_bytes()
    last = content.rindex(b"ITEM: TIMESTEP")
    for size in (*range(last, len(content), 7), len(content) - 1):
        path.write_bytes(content[:size])
        found = frames.read(path)
        assert found is not None
        assert found.steps[-1] == 100
    path.write_bytes(content[:100])
    assert frames.read(path) is None
    path.write_bytes(b"")
    assert frames.read(path) is None
    assert frames.read(tmp_path / "none") is None


def test_a_step_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "w.dump"
    write_dump(path, cells(), walk(), SYMBOLS)
    again = np.zeros((len(SYMBOLS), 3))
    path.write_text(path.read_text() + frame(60, CELL, again, SYMBOLS))
    found = frames.read(path)
    assert found is not None
    assert found.steps.tolist() == list(range(0, 120, 10))
    assert np.allclose(found.places[6], 0.0)


def test_many_frames_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_NUMBERS", 4 * 3 * len(SYMBOLS))
    found = written(tmp_path / "w.dump")
    assert (found.every, found.steps.tolist()) == (3, [0, 30, 60, 90])


@pytest.mark.parametrize("size", [1, 14, 15, 16, 1000])
def test_marks_may_be_at_the_end_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(files, "_BLOCK", size)
    assert written(tmp_path / "w.dump").steps.tolist() == list(range(0, 120, 10))


@pytest.mark.parametrize(
    ("old", "new"),
    [("ix iy iz", "vx vy vz"), ("NUMBER OF ATOMS\n3", "NUMBER OF ATOMS\n4"), ("1 1 Na", "1 1 N a")],
)
def test_a_damaged_frame_is_named(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "w.dump"
    write_dump(path, cells(), walk(), SYMBOLS)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ParseError, match=r"w\.dump"):
        frames.read(path)
