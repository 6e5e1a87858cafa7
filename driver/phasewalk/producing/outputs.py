"""The files of a run that goes on: the last complete restart file, and what was written after it.

A LAMMPS restart file ends with a mark, without which it is incomplete. A walker goes on from the
last complete one to which all its other files reach; these are cut to that step, so that no entry
is lost or occurs twice.
"""

import mmap
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..bias import tail_lines
from ..errors import InputError, ParseError, named
from ..files import write_file
from .deck import Series

RESTART = "restart"
WRITTEN = (RESTART, "restart.a", "restart.b", "restart.end")
"""Endings of restart files: the one from which a run has gone on, and those that LAMMPS writes."""
MARK = b"LammpS RestartT\0"
"""The first and the last bytes of a restart file (LAMMPS, lmprestart.h)."""
_BEFORE_STEP = struct.pack("=ii", 4, 6) + b"metal\0" + struct.pack("=i", 5)
"""The units, and the number that says that the step follows."""
_BEFORE_ATOMS = struct.pack("=ii", 15, 7) + b"atomic\0" + struct.pack("=ii", 0, 16)
"""The atom style, and the number that says that the number of atoms follows."""
_BOX = re.compile(
    rb"\x1f\0{3}\x03\0{3}(.{24})\x20\0{3}\x03\0{3}(.{24})"
    rb"\x21\0{3}(.{8})\x22\0{3}(.{8})\x23\0{3}(.{8})",
    re.DOTALL,
)
"""Lower and upper bounds, xy, xz, yz."""
_CELL = slice(6, 12)
"""Columns of the table: lx ly lz xy xz yz."""
_HEAD = 1024
CLOSE_A = 1e-6
"""Difference between a length in the table, with 12 digits, and in a restart file."""
_ITEM = b"ITEM: TIMESTEP\n"
_EVERY = re.compile(rb"^restart ([0-9]+) ", re.MULTILINE)
_TAIL = 2**20
"""Bytes at the end of a table in which its last row is."""


def restart_step(path: Path, atoms: int) -> int | None:
    """Step of a restart file; None if it is incomplete, or not there.

    Args:
        path: the file.
        atoms: number of atoms of the run.

    Raises:
        ParseError: a complete file of an unknown format, or of another run.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(0, path.stat().st_size - len(MARK)))
            end = stream.read()
    except FileNotFoundError:
        return None
    if not head.startswith(MARK) or end != MARK or len(head) <= len(MARK):
        return None
    _, known, rest = head.partition(_BEFORE_STEP)
    if not known:
        raise ParseError(path, "a restart file of an unknown format: units metal are expected")
    _, known, number = rest.partition(_BEFORE_ATOMS)  # not compared if LAMMPS writes it otherwise
    if known and (found := int(struct.unpack("=q", number[:8])[0])) != atoms:
        raise ParseError(
            path, f"the restart file of another run: it has {found} atoms, and this run has "
            f"{atoms}; remove it"
        )  # fmt: skip
    return int(struct.unpack("=q", rest[:8])[0])


def resume(folder: Path, walker: str, files: Sequence[Series], *, atoms: int) -> int:
    """Cut the files of a walker to the step at which it goes on.

    Args:
        folder: of the run.
        walker: name of the walker.
        files: that it writes.
        atoms: their number.

    Returns:
        The step; 0 if it has not written a restart file yet, and begins anew.

    Raises:
        InputError: it has come to restart files, but none is complete, or a file does not reach to
            one.
    """
    written = [folder / f"{walker}.{ending}" for ending in WRITTEN]
    steps = {path: step for path in written if (step := restart_step(path, atoms)) is not None}
    if not steps:
        _begin_anew(folder, walker, files, [path for path in written if path.exists()])
        return 0
    faults: list[InputError] = []
    for path in sorted(steps, key=lambda path: -steps[path]):
        try:
            ends = {one.name: _end(folder / one.name, one, steps[path]) for one in files}
        except InputError as error:
            faults.append(error)
            continue
        _check_cell(path, folder / files[0].name, steps[path])
        _go_on_from(path, folder, walker, ends)
        return steps[path]
    raise faults[0]


def frame_size(text: bytes) -> int | None:
    """Bytes of the frame with which a part of a dump begins; None if it has not all its lines."""
    head = text.split(b"\n", 9)
    if len(head) < 10 or not head[3].isdigit():
        return None
    count = 9 + int(head[3])
    *lines, rest = text.split(b"\n", count)
    return len(text) - len(rest) if len(lines) == count else None


def _check_cell(path: Path, table: Path, step: int) -> None:
    """Raise ParseError if the cell of a restart file is not that of its step in the table.

    It may be of another walker or folder, with as many atoms. The table has the step if LAMMPS was
    killed later.
    """
    with path.open("rb") as file, table.open("rb") as stream:
        found = _BOX.search(file.read(_HEAD))
        whole = (line for line in stream if line.endswith(b"\n"))
        rows = [line.split()[_CELL] for line in whole if line.startswith(b"%d " % step)]
    if found is None or not rows or len(rows[-1]) < 6:
        return
    low, high = (struct.unpack("=3d", found[n]) for n in (1, 2))
    tilts = [struct.unpack("=d", found[n])[0] for n in (3, 4, 5)]
    cell = [b - a for a, b in zip(low, high, strict=True)] + tilts
    try:
        shown = [float(word) for word in rows[-1]]
    except ValueError as error:
        raise ParseError(table, f"step {step}: not a row of numbers") from error
    if not np.allclose(shown, cell, rtol=0.0, atol=CLOSE_A):
        raise ParseError(
            path, f"the restart file of another run: its cell is not that of step {step} in "
            f"{table.name}; remove it"
        )  # fmt: skip


def last_step(folder: Path, walker: str, atoms: int) -> int:
    """Step of the last complete restart file of a walker; 0 if there is none."""
    steps = [restart_step(folder / f"{walker}.{ending}", atoms) for ending in WRITTEN]
    return max((step for step in steps if step is not None), default=0)


def incomplete(
    folder: Path, walker: str, files: Sequence[Series], *, atoms: int
) -> InputError | None:
    """What a walker's files lack of the steps up to its last restart file, with that step."""
    step = last_step(folder, walker, atoms)
    try:
        for one in files:
            _end(folder / one.name, replace(one, again=False), step)
    except InputError as error:
        return error
    return None


def behind(folder: Path, files: Sequence[Series], step: int) -> Path | None:
    """A table of a running walker that ends before the step of a restart file, or None.

    LAMMPS and PLUMED go on if a line cannot be written. Dumps are not tested, since LAMMPS fails
    then.
    """
    for one in files:
        wanted = one.steps(step)
        if one.frames or not wanted:
            continue
        lines = [line for line in tail_lines(folder / one.name, _TAIL) if line[:1] != "#"]
        if not lines or _step(folder / one.name, None, lines[-1].encode(), one) < wanted[-1]:
            return folder / one.name
    return None


def _begin_anew(folder: Path, walker: str, files: Sequence[Series], torn: Sequence[Path]) -> None:
    """Remove what a walker wrote before its first restart file was complete."""
    deck, path = folder / f"{walker}.lmp", folder / files[0].name
    found = _EVERY.search(deck.read_bytes()) if deck.exists() else None
    every = int(found[1]) if found else 0
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = [int(line.split()[0]) for line in lines if line[:1].isdigit()]
    if max(rows, default=0) > every:
        there = ", ".join(f"{one.name}, {one.stat().st_size} bytes" for one in torn)
        raise InputError(
            f"{folder}: {walker} has run beyond step {every}, but has no complete restart "
            f"file{f' ({there})' if there else ''}; restore one, or start anew with another --dir"
        )
    for one in torn:
        one.unlink()
    for series in files:
        (folder / series.name).write_bytes(b"")  # PLUMED reads hills at each start


def _go_on_from(path: Path, folder: Path, walker: str, ends: dict[str, int]) -> None:
    """Make a restart file the one to go on from, and cut the other files. May be repeated."""
    kept = folder / f"{walker}.{RESTART}"
    for name, end in ends.items():
        file = folder / name
        with named(file):
            file.touch()
            with file.open("r+b") as stream:
                stream.truncate(end)
    if path != kept:
        write_file(kept, path.read_bytes())
    for ending in WRITTEN:
        if ending != RESTART:  # later ones belong to what was cut
            (folder / f"{walker}.{ending}").unlink(missing_ok=True)


def _end(path: Path, series: Series, step: int) -> int:
    """Number of bytes up to the end of the last entry before a run goes on at a step.

    Raises:
        ParseError: an entry is missing or occurs twice.
    """
    wanted = series.steps(step)
    if not wanted:
        return 0
    if not path.exists():
        raise ParseError(
            path, f"missing, but the restart file is at step {step}; restore it, or start anew "
            "with another --dir"
        )  # fmt: skip
    return (_end_of_frames if series.frames else _end_of_rows)(path, series, wanted, step)


def _end_of_rows(path: Path, series: Series, wanted: range, step: int) -> int:
    """The same for a table; all its entries are compared."""
    end = position = count = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            position += len(line)
            if line.startswith(b"#") or not line.endswith(b"\n"):
                continue
            found = _step(path, number, line, series)
            if found > wanted[-1]:
                break
            if count == len(wanted) or found != wanted[count]:
                due = wanted[min(count, len(wanted) - 1)]
                raise _gap(path, f"step {found} where {due} is expected", step, number)
            count, end = count + 1, position
    if count < len(wanted):
        raise _gap(path, f"it ends before step {wanted[count]}", step)
    return end


def _step(path: Path, number: int | None, line: bytes, series: Series) -> int:
    """The step of a row."""
    try:
        return round(float(line.split()[0]) / series.per_step)
    except (ValueError, IndexError, OverflowError) as error:
        raise ParseError(path, "not a row of numbers", number) from error


def _end_of_frames(path: Path, series: Series, wanted: range, step: int) -> int:
    """The same for a dump, searched from its end."""
    end = path.stat().st_size
    if not end:  # cannot be mapped
        raise _gap(path, "it is empty", step)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        while (start := text.rfind(_ITEM, 0, end)) >= 0:
            words = text[start : start + 200].split()
            found = int(words[2]) if len(words) > 2 and words[2].isdigit() else -1
            size = frame_size(text[start:end])
            if found == wanted[-1] and size is not None:
                return start + size
            if 0 <= found <= wanted[-1]:
                break
            end = start
    raise _gap(path, f"it has no whole frame of step {wanted[-1]}", step)


def _gap(path: Path, what: str, step: int, line: int | None = None) -> ParseError:
    return ParseError(
        path, f"{what}, but the restart file is at step {step}; restore the file, or start anew "
        "with another --dir", line
    )  # fmt: skip
