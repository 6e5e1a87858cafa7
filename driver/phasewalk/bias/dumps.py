"""Read frames and tables that LAMMPS and PLUMED wrote. Every error names the file and the line.

An incomplete last line or frame, left by a program that was stopped, is ignored. Anything else that
is malformed is a ParseError.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import ParseError
from ..units import velocities_from_lammps

Array = NDArray[np.float64]
Sections = dict[str, tuple[int, int]]
Names = Sequence[str]

_ITEMS = ("TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS", "ATOMS")
_FORCES = ("fx", "fy", "fz")
_COLUMNS = ["id", "type", "x", "y", "z", "ix", "iy", "iz", "vx", "vy", "vz"]
WHOLE = re.compile(r"[0-9]{1,18}")
_ATOM_BYTES, _BOX_BYTES = 300, 1000
"""Upper limits of an atom's line and of a frame's other lines in a dump of eleven columns."""


@dataclass(frozen=True)
class Frame:
    """One frame of a walker.

    Attributes:
        step: step counter of LAMMPS.
        atoms: unwrapped positions (N, 3) in Å from the cell's corner, lower-triangular cell (rows,
            Å), velocities in ASE's units; atoms in the order of their LAMMPS ids. Values may be
            non-finite if the walker became unstable.
    """

    step: int
    atoms: Atoms


@dataclass(frozen=True)
class Table:
    """A PLUMED table: field names, constants (`SET`), values (rows, fields)."""

    fields: tuple[str, ...]
    constants: Mapping[str, str]
    values: Array


@dataclass(frozen=True)
class HillsFile:
    """A HILLS file, with its rows unchanged.

    Attributes:
        header: the `#!` lines of the first block.
        rows: its lines, without METAD's `clock` column (a wall-clock time).
        table: the same as numbers.
        truncated: the last line was incomplete and was ignored.
    """

    header: tuple[str, ...]
    rows: tuple[str, ...]
    table: Table
    truncated: bool


def read_dump(path: Path, type_names: Sequence[str]) -> list[Frame]:
    """Frames of a `dump custom` file with at least id, type, x y z, ix iy iz, vx vy vz.

    Args:
        path: the dump; LAMMPS metal units.
        type_names: element symbol of each LAMMPS type, in order.
    """
    lines, _ = finished_lines(path)
    frames = []
    start = 0
    while start < len(lines):
        if lines[start] != "ITEM: TIMESTEP":
            raise _unexpected(path, lines, start, "'ITEM: TIMESTEP'")
        sections = _sections(path, lines, start)
        end = max(stop for _, stop in sections.values())
        if end == len(lines) and not _complete(path, lines, sections):
            break
        frames.append(_frame(path, lines, sections, type_names))
        start = end
    return frames


def still_frame(path: Path, lines: Sequence[str], type_names: Sequence[str]) -> Frame | None:
    """The frame of these lines, without velocities; None if it is incomplete.

    It may have a column `element`; with fx fy fz it has an array `forces` (N, 3), eV/Å.
    """
    sections = _sections(path, lines, 0)
    if not _complete(path, lines, sections):
        return None
    (start, stop), found = sections["ATOMS"], list(lines)
    if "element" in (titles := found[start].split()[2:]):  # the only word among numbers
        at = titles.index("element")
        found[start] = found[start].replace(" element", "", 1)
        for number in range(start + 1, stop):
            words = found[number].split()
            found[number] = " ".join(words[:at] + words[at + 1 :])
    return _frame(path, found, sections, type_names, needed=_COLUMNS[:8])


def last_frame(path: Path, type_names: Sequence[str], count: int) -> Frame | None:
    """The last complete frame of a growing dump, from the end of the file.

    Args:
        path: as for `read_dump`.
        type_names: as for `read_dump`.
        count: number of atoms, which determines how much is read.

    Returns:
        The frame; None if there is none yet.

    Raises:
        ParseError: the frame is malformed.
    """
    lines = tail_lines(path, 2 * (_ATOM_BYTES * count + _BOX_BYTES))
    starts = [index for index, line in enumerate(lines) if line == "ITEM: TIMESTEP"]
    for start, end in reversed(list(pairwise([*starts, len(lines)]))):
        sections = _sections(path, lines[:end], start)
        if _complete(path, lines, sections):
            return _frame(path, lines, sections, type_names)
    return None


def last_row(path: Path, size: int = 2**14) -> dict[str, float]:
    """Field → value of the last complete row of a growing PLUMED table; never raises.

    Args:
        path: the table; it need not exist yet.
        size: number of bytes to read at its end, and at its beginning for the names.

    Returns:
        The values; empty if no row can be read.
    """
    lines = tail_lines(path, size)
    try:
        with path.open("rb") as file:
            head = file.read(size).decode(errors="replace").split("\n")[:-1]
    except OSError:
        return {}
    names = [line.split()[2:] for line in head if line.split()[:2] == ["#!", "FIELDS"]][:1]
    for line in reversed(lines):
        words = line.split()
        if names and words and not words[0].startswith("#") and len(words) == len(names[0]):
            with suppress(ValueError):
                return dict(zip(names[0], map(float, words), strict=True))
    return {}


def tail_lines(path: Path, size: int) -> list[str]:
    """The complete lines within the last `size` bytes of a growing file; none without a file.

    If the file is larger, the first of them is omitted, because it is incomplete.
    """
    try:
        with path.open("rb") as file:
            skipped = max(0, path.stat().st_size - size)
            file.seek(skipped)
            text = file.read(size).decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]
    return lines[1:] if skipped else lines


def read_colvar(path: Path) -> Table:
    """A table that PLUMED's PRINT wrote; the header may be repeated."""
    return _plumed_file(path).table


def read_hills(path: Path, start: int = 0) -> HillsFile:
    """A HILLS file of PLUMED's METAD; all values must be finite.

    Args:
        path: the file.
        start: number of bytes to skip at the beginning, up to the end of a line.
    """
    found = _plumed_file(path, start)
    bad = np.flatnonzero(~np.isfinite(found.table.values).all(axis=1))
    if len(bad):
        raise ParseError(path, f"hill {bad[0] + 1} is not finite: {_short(found.rows[bad[0]])}")
    if found.rows and not {"time", "height", "biasf"} <= set(found.table.fields):
        raise ParseError(path, "not a HILLS file: no columns 'time', 'height', 'biasf'")
    return found


def finished_lines(path: Path, start: int = 0) -> tuple[list[str], bool]:
    """The complete lines of a file after `start` bytes, and whether the file ends with one."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError as error:
        raise ParseError(path, f"cannot be read ({error.strerror})") from error
    *lines, rest = (line.rstrip("\r") for line in text.split("\n"))
    return lines, rest == ""


def _sections(path: Path, lines: Sequence[str], start: int) -> Sections:
    """ITEM name → (line of the item, line after its content), for the frame that starts here."""
    rest = range(start + 1, len(lines))
    end = next((index for index in rest if lines[index] == "ITEM: TIMESTEP"), len(lines))
    marks = [start, *(i for i in range(start + 1, end) if lines[i].startswith("ITEM: ")), end]
    names = [lines[mark].removeprefix("ITEM: ") for mark in marks[:-1]]
    kinds = [next((kind for kind in _ITEMS if name.startswith(kind)), name) for name in names]
    for kind, mark in zip(kinds, marks, strict=False):
        if kinds.index(kind) < marks.index(mark):  # the first line of the next frame is missing
            raise ParseError(path, f"'ITEM: {kind}' occurs twice in one frame", mark + 1)
    return dict(zip(kinds, pairwise(marks), strict=True))


def _complete(path: Path, lines: Sequence[str], sections: Sections) -> bool:
    """Whether the last frame of a file has all its atoms."""
    if not set(_ITEMS) <= set(sections):
        return False
    start, stop = sections["ATOMS"]
    return stop - start - 1 >= _count(path, lines, sections["NUMBER OF ATOMS"])


def _count(path: Path, lines: Sequence[str], section: tuple[int, int]) -> int:
    """The integer that is the content of a section."""
    start, stop = section
    if stop != start + 2 or not WHOLE.fullmatch(lines[start + 1].strip()):
        raise _unexpected(path, lines, start + 1, "one integer")
    return int(lines[start + 1])


def _frame(
    path: Path, lines: Sequence[str], sections: Sections, names: Names, needed: Names = _COLUMNS
) -> Frame:
    if missing := [name for name in _ITEMS if name not in sections]:
        raise ParseError(
            path, f"'ITEM: {missing[0]}' is missing in this frame", sections["TIMESTEP"][0] + 1
        )
    step = _count(path, lines, sections["TIMESTEP"])
    count = _count(path, lines, sections["NUMBER OF ATOMS"])
    origin, cell = box(path, lines, sections["BOX BOUNDS"])
    start, stop = sections["ATOMS"]
    if stop - start - 1 != count:
        raise ParseError(path, f"{stop - start - 1} atoms, expected {count}", start + 1)
    titles = lines[start].split()[2:]
    if missing := [name for name in needed if name not in titles]:
        raise ParseError(path, f"the dump has no column '{missing[0]}'", start + 1)
    rows = _rows(path, lines, start + 1, stop, len(titles))
    ids, types, *columns = (rows[:, titles.index(name)] for name in needed)
    order = np.argsort(ids, kind="stable")
    if not np.array_equal(ids[order], np.arange(1, count + 1)):
        raise ParseError(path, f"atom ids are not 1 … {count}", start + 1)
    if not np.isin(types, np.arange(1, len(names) + 1)).all():
        raise ParseError(path, f"an atom type is not in 1 … {len(names)}", start + 1)
    vectors = (np.array(columns[i : i + 3]).T[order] for i in range(0, len(columns), 3))
    positions, images, *velocities = vectors
    with np.errstate(all="ignore"):  # values of an unstable walker
        atoms = Atoms(
            [names[int(kind) - 1] for kind in types[order]],
            positions=positions - origin + images @ cell,
            cell=cell,
            pbc=True,
        )
        for each in velocities:
            atoms.set_velocities(velocities_from_lammps(each))
    if set(_FORCES) <= set(titles):
        atoms.set_array("forces", rows[order][:, [titles.index(name) for name in _FORCES]])
    return Frame(step, atoms)


def box(path: Path, lines: Sequence[str], section: tuple[int, int]) -> tuple[Array, Array]:
    """Corner (3,) and row-vector cell (3, 3), Å, for the three box formats of LAMMPS.

    For restricted triclinic boxes, LAMMPS writes the bounds of the tilted box (Howto_triclinic).
    """
    start, stop = section
    words = lines[start].split()[3:]
    tilted, general = words[:3] == ["xy", "xz", "yz"], words[:2] == ["abc", "origin"]
    if stop != start + 4:
        raise _unexpected(path, lines, start, "a box of three lines")
    rows = _rows(path, lines, start + 1, stop, 4 if general else 3 if tilted else 2)
    if general:
        return rows[:, 3], rows[:, :3]
    xy, xz, yz = rows[:, 2] if tilted else (0.0, 0.0, 0.0)
    with np.errstate(all="ignore"):
        low = rows[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
        high = rows[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
        lx, ly, lz = high - low
    return low, np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])


def _rows(path: Path, lines: Sequence[str], start: int, stop: int, width: int) -> Array:
    """Lines start … stop-1 as (rows, width) numbers."""
    rows = [numbers(path, lines, index, width) for index in range(start, stop)]
    return np.array(rows, dtype=float).reshape(len(rows), width)


def numbers(path: Path, lines: Sequence[str], index: int, width: int) -> tuple[float, ...]:
    """The numbers of one line."""
    values: tuple[float, ...] = ()
    with suppress(ValueError):
        values = tuple(float(word) for word in lines[index].split())
    if len(values) != width:
        raise _unexpected(path, lines, index, f"{width} numbers")
    return values


def _plumed_file(path: Path, start: int = 0) -> HillsFile:
    lines, whole = finished_lines(path, start)
    header: list[str] = []
    fields: list[str] = []
    constants: dict[str, str] = {}
    rows: list[str] = []
    values: list[tuple[float, ...]] = []
    clock = False
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words[:2] == ["#!", "FIELDS"]:
            clock = words[-1] == "clock"
            names = words[2 : len(words) - clock]
            if names != (fields or names):
                raise ParseError(path, "the columns differ from the first block", number)
            fields = names
        elif words[:2] == ["#!", "SET"] and len(words) == 4:
            if constants.setdefault(words[2], words[3]) != words[3]:
                raise ParseError(path, f"'{words[2]}' differs from its first value", number)
        elif words and not words[0].startswith("#"):
            if not fields:
                raise ParseError(path, "a row of values before the line '#! FIELDS'", number)
            values.append(numbers(path, lines, number - 1, len(fields) + clock)[: len(fields)])
            rows.append(line.rsplit(maxsplit=1)[0] if clock else line)
            continue
        if words[:1] == ["#!"] and not rows:
            header.append(line.removesuffix(" clock") if clock else line)
    array = np.array(values, dtype=float).reshape(len(rows), len(fields))
    table = Table(tuple(fields), constants, array)
    return HillsFile(tuple(dict.fromkeys(header)), tuple(rows), table, not whole)


def _unexpected(path: Path, lines: Sequence[str], index: int, wanted: str) -> ParseError:
    found = _short(lines[index]) if index < len(lines) else "the end of the file"
    return ParseError(path, f"expected {wanted}, found {found}", index + 1)


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
