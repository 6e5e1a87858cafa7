"""Read LAMMPS logs: thermo tables, completed steps, stops, errors and warnings."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from ..bias import WHOLE, finished_lines, numbers, tail_lines
from ..errors import InputError
from ..files import OrNan, typed
from ..store import Walked
from .limits import ENDED

Array = NDArray[np.float64]

STOP = "phasewalk/stop: "
"""The line of a log that says why a walker was stopped: this, and a `Stop` as JSON."""
_LOOP = re.compile(
    r"Loop time of ([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?) on [0-9]+ procs for ([0-9]{1,18}) steps"
)


def broke_down(entry: Walked) -> bool:
    """Whether a walker (its entry in the journal) stopped early, except by its PLUMED input."""
    return bool(entry.halted) and not (entry.stop and entry.stop.reason == ENDED)


@dataclass(frozen=True)
class Stop:
    """A stop of one walker by the sentinel.

    Attributes:
        step: step after which it stopped.
        reason: the keyword of one of `limits.LIMITS`, or one of `limits.OTHERS`.
        value, limit: value and limit of the quantity, in its unit; not finite if there is none.
        good_step: step of the last good frame, which is in a separate file; None without one.
        says: message of PLUMED or of the model.
    """

    step: NonNegativeInt
    reason: Annotated[str, Field(pattern=r"^[a-z ]{1,40}$")]
    value: OrNan
    limit: OrNan
    good_step: Annotated[int | None, Field(alias="good")]
    says: str = ""


@dataclass(frozen=True)
class LogSummary:
    """Content of a LAMMPS log.

    Attributes:
        thermo: column name → (rows,) values in LAMMPS units; tables with the last set of columns.
        first_step: step of the first thermo row; None if there is none.
        last_step: last completed step; None if there is none.
        loop_s: seconds of the completed runs; None if there is none.
        stop: stop by the sentinel, if any.
        errors, warnings: ERROR and WARNING lines.
    """

    thermo: Mapping[str, Array]
    first_step: int | None = None
    last_step: int | None = None
    loop_s: float | None = None
    stop: Stop | None = None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def steps_done(self) -> int:
        """Number of steps from the first to the last one in the log."""
        return (self.last_step or 0) - (self.first_step or 0)


def read_log(path: Path) -> LogSummary:
    """Read a LAMMPS log: thermo tables (one line per step), steps, stop, errors and warnings."""
    lines, _ = finished_lines(path)
    heads = [index for index, line in enumerate(lines) if line.split()[:1] == ["Step"]]
    runs = [_run(path, lines, span) for span in pairwise([*heads, len(lines)])]
    runs = [run for run in runs if run.rows]
    names = runs[-1].columns if runs else ()
    rows = [row for run in runs if run.columns == names for row in run.rows]
    columns = np.array(rows, dtype=float).reshape(len(rows), len(names)).T
    seconds = [run.seconds for run in runs if run.seconds is not None]
    stops = _stops(lines)
    return LogSummary(
        thermo=dict(zip(names, columns, strict=True)),
        first_step=int(runs[0].rows[0][0]) if runs else None,
        last_step=runs[-1].last_step if runs else None,
        loop_s=sum(seconds) if seconds else None,
        stop=stops[-1] if stops else None,
        errors=tuple(line for line in lines if line.startswith("ERROR")),
        warnings=tuple(line for line in lines if line.startswith("WARNING")),
    )


def _stops(lines: Iterable[str]) -> list[Stop]:
    """The soft stops that lines of a log tell of; a damaged line tells of none."""
    found = []
    for line in lines:
        with contextlib.suppress(InputError):
            if line.startswith(STOP):
                found.append(typed(line.removeprefix(STOP), Stop, unlike="not a stop"))
    return found


@dataclass(frozen=True)
class Tail:
    """Content of the end of a growing log.

    Attributes:
        thermo: column name → value of the last complete thermo line, in LAMMPS units.
        step: last completed step; None before the first thermo line.
        stop: stop by the sentinel, if any.
    """

    thermo: Mapping[str, float]
    step: int | None = None
    stop: Stop | None = None


def read_tail(path: Path, size: int = 8192) -> Tail:
    """Read the end of a growing log, and its beginning for the column names; never raises.

    Args:
        path: the log; it need not exist yet.
        size: number of bytes to read at its end.
    """
    lines = tail_lines(path, size)
    heads = [line.split() for line in (*_head(path, lines), *lines) if _is_head(line)]
    if not heads:
        return Tail({})
    thermo: dict[str, float] = {}
    step: int | None = None
    for line in lines:
        words = line.split()
        if len(words) == len(heads[-1]) and WHOLE.fullmatch(words[0]):
            with contextlib.suppress(ValueError):
                thermo = dict(zip(heads[-1], map(float, words), strict=True))
                step = int(words[0])
    stops = _stops(lines)
    stop = stops[-1] if stops else None
    return Tail(thermo, step if stop is None else stop.step, stop)


def _is_head(line: str) -> bool:
    return line.split(maxsplit=1)[:1] == ["Step"]


def _head(path: Path, lines: Sequence[str], size: int = 2**16) -> list[str]:
    """The first lines of a log, if its last ones do not contain the column names."""
    if any(map(_is_head, lines)):
        return []
    try:
        with path.open("rb") as file:
            return file.read(size).decode(errors="replace").split("\n")[:-1]
    except OSError:
        return []


@dataclass(frozen=True)
class _Run:
    """One thermo table, and the time in the line after it (None if the run did not complete)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    last_step: int
    seconds: float | None


def _run(path: Path, lines: Sequence[str], span: tuple[int, int]) -> _Run:
    """Read the run whose table begins at the first line of the span."""
    columns = tuple(lines[span[0]].split())
    rows: list[tuple[float, ...]] = []
    for index in range(span[0] + 1, span[1]):
        words = lines[index].split()
        if (match := _LOOP.match(lines[index])) and rows:
            last = int(rows[0][0]) + int(match[2])
            return _Run(columns, tuple(rows), last, float(match[1]))
        if words and WHOLE.fullmatch(words[0]):
            rows.append(numbers(path, lines, index, len(columns)))
    return _Run(columns, tuple(rows), int(rows[-1][0]) if rows else 0, None)
