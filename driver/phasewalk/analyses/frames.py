"""Frames of a dump, as arrays; an incomplete last one is ignored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..bias import dumps
from ..errors import UNREADABLE, ParseError, brief
from ..files import marked
from ..producing import frame_size
from . import shapes
from .runs import last_of_each

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

MOST_NUMBERS = 30_000_000
"""Maximum number of coordinates in memory; of more frames, every n-th is read."""
_HEAD = 60
_ITEM = b"ITEM: TIMESTEP\n"
_COLUMNS = ("id", "x", "y", "z", "ix", "iy", "iz")


@dataclass(frozen=True)
class Frames:
    """Frames of one walker, evenly spaced.

    Attributes:
        steps: (n,) increasing.
        cells: (n, 3, 3) Å, rows are vectors, all in the same choice of vectors.
        places: (n, atoms, 3) unwrapped positions in units of these vectors.
        symbols: (atoms,) elements.
        every: of the frames in the file, every n-th was read.
    """

    steps: Whole
    cells: Array
    places: Array
    symbols: NDArray[np.str_]
    every: int = 1

    def since(self, step: int) -> "Frames":
        """Those from a step on."""
        rest = self.steps >= step
        return replace(
            self, steps=self.steps[rest], cells=self.cells[rest], places=self.places[rest]
        )


def read(path: Path) -> Frames | None:
    """The frames of a dump of `phasewalk produce`; None if it has no complete one yet.

    Raises:
        ParseError: a frame is malformed.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    with path.open("rb") as file:
        parts = [(at, at + len(text), text[:_HEAD]) for at, text in marked(file, _ITEM)]
        if parts and frame_size(_part(file, *parts[-1][:2])) is None:
            parts.pop()
        if not parts:
            return None
        spans = [(start, end) for start, end, _ in parts]
        steps = [_step(path, head) for _, _, head in parts]
        kept = last_of_each(np.array(steps, dtype=np.int64))
        atoms = len(_frame(path, _part(file, *spans[0]))[1])
        every = max(1, -(-len(kept) * 3 * atoms // MOST_NUMBERS))
        kept = kept[::every]
        found = [_frame(path, _part(file, *spans[index])) for index in kept]
    if {len(symbols) for _, symbols, _ in found} != {atoms}:
        raise ParseError(path, "frames with different numbers of atoms")
    cells = np.array([cell for cell, _, _ in found])
    turned = shapes.exchanges(cells)
    places = np.array([places for _, _, places in found]) @ turned
    return Frames(np.array(steps)[kept], np.linalg.solve(turned, cells), places, found[0][1], every)


def _part(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _step(path: Path, head: bytes) -> int:
    words = head.split()
    if len(words) < 3 or not words[2].isdigit():
        raise ParseError(path, f"expected a step, found {brief(head)}")
    return int(words[2])


def _frame(path: Path, content: bytes) -> tuple[Array, NDArray[np.str_], Array]:
    """Cell (3, 3), elements (atoms,), and unwrapped positions (atoms, 3) in units of the cell."""
    lines = content.decode(errors="replace").splitlines()
    if len(lines) < 9 or not lines[3].isdigit():
        raise ParseError(path, f"an incomplete frame: {brief(lines[:2])}")
    titles = lines[8].split()[2:]
    missing = [name for name in (*_COLUMNS, "element") if name not in titles]
    if missing:
        raise ParseError(path, f"a frame has no column '{missing[0]}'")
    rows, rest = lines[9 : 9 + int(lines[3])], lines[9 + int(lines[3]) :]
    begun = "".join(rest)  # of the next frame
    if frame_size(content) is None or not _ITEM.decode().startswith(begun):
        raise ParseError(path, f"the frame of step {lines[1]} has not {lines[3]} atoms")
    origin, cell = dumps.box(path, lines, (4, 8))
    columns = [titles.index(name) for name in _COLUMNS]
    element = titles.index("element")
    try:
        values = np.loadtxt(rows, usecols=columns, ndmin=2)
        symbols = np.array([line.split()[element] for line in rows])
        order = np.argsort(values[:, 0], kind="stable")
        places = np.linalg.solve(cell.T, (values[:, 1:4] - origin).T).T + values[:, 4:7]
    except (*UNREADABLE, np.linalg.LinAlgError) as error:
        raise ParseError(path, f"the frame of step {lines[1]}: {brief(error)}") from error
    return cell, symbols[order], places[order]
