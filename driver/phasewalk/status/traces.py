"""Trajectories of walkers in their variables, from the files of the segments."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bias import colvars, dumps, plumed
from ..campaign import CampaignSettings
from ..store import Begun, Record, Walked
from ..units import FS_PER_PS
from ..walkers import SystemSettings, logs

Array = NDArray[np.float64]
NO_PLUMED = {"Volume": "volume_A3", "Temp": "temperature_K"}
"""Columns of a walker's log that are used if PLUMED prints no variables."""


@dataclass(frozen=True)
class Trace:
    """Trajectory of one walker in one round.

    Attributes:
        system, walker, round: names and number.
        time_ps: (n,) time since the first step of the campaign.
        values: printed variable → (n,), in the units of the PLUMED input; or columns of the log.
        stopped: why it stopped early; None if it completed all steps.
        source, why: where it started (new, good, before, start), and the reason.
    """

    system: str
    walker: str
    round: int
    time_ps: Array
    values: Mapping[str, Array]
    stopped: str | None
    source: str
    why: str


def colvar_files(folder: Path) -> dict[str, list[Path]]:
    """COLVAR files of each walker in the directory of a segment, listed once for all walkers.

    A walker's PRINT actions write NAME.colvar and so on; after a restart NAME.1.colvar.
    """
    first: dict[str, list[Path]] = {}
    more: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.colvar*")):
        stem = path.name.split(".colvar")[0]
        name, _, number = stem.rpartition(".")
        first.setdefault(stem, []).append(path)
        if number[:1].isdigit():
            more.setdefault(name, []).append(path)
    return {name: [*first.get(name, ()), *more.get(name, ())] for name in first | more}


def read(
    root: Path,
    segment: Record,
    walker: Walked,
    *,
    files: Sequence[Path],
    begun: Begun | None,
    settings: CampaignSettings | None,
) -> Trace:
    """Read the trajectory of a walker in a round, from its COLVAR files or from its log.

    Args:
        root: the campaign directory.
        segment: record of the round's segment.
        walker: entry of the walker in this record.
        files: its COLVAR files.
        begun: record of where it started.
        settings: settings of the campaign; without them times are not known.

    Raises:
        ParseError: a file of the walker cannot be read.
    """
    folder, name, system = (
        root / f"rounds/{segment.round:03d}/segment",
        walker.walker,
        walker.system,
    )
    step_ps = settings.segment.timestep_fs / FS_PER_PS if settings else float("nan")
    own = settings.systems.get(system) if settings else None
    unit = _time_unit_ps(own.plumed) if own and own.plumed else 1.0
    tables = [
        (table.values[:, 0] * unit, dict(zip(table.fields[1:], table.values.T[1:], strict=True)))
        for path in files
        if len((table := dumps.read_colvar(path)).values)
    ]
    time, columns = _joined(tables, arguments(own))
    if not columns:
        thermo = logs.read_log(folder / f"{name}.log").thermo
        time = thermo.get("Step", np.zeros(0)) * step_ps
        columns = {ours: thermo[theirs] for theirs, ours in NO_PLUMED.items() if theirs in thermo}
    return Trace(
        system=system,
        walker=name,
        round=segment.round,
        time_ps=time,
        values=columns,
        stopped=walker.halted,
        source=begun.source if begun else "",
        why=begun.why if begun else "",
    )


def _joined(
    tables: Sequence[tuple[Array, dict[str, Array]]], biased: Sequence[str]
) -> tuple[Array, dict[str, Array]]:
    """Merge tables on the times of the table with a biased variable, or else of the longest one.

    PRINT actions may have different strides; a value that was not printed at a time is NaN.
    """
    if not tables:
        return np.zeros(0), {}
    wanted = [one for one in tables if set(biased) & set(one[1])]
    clock = max(wanted or tables, key=lambda one: len(one[0]))[0]
    found: dict[str, Array] = {}
    for times, columns in tables:
        place = np.clip(np.searchsorted(times, clock), 0, len(times) - 1)
        place = np.where(
            np.abs(times[place - 1] - clock) < np.abs(times[place] - clock), place - 1, place
        )
        there = np.isclose(times[place], clock, rtol=0.0, atol=1e-7)
        for name, column in columns.items():
            found.setdefault(name, np.where(there, column[place], np.nan))
    return clock, found


def arguments(system: SystemSettings | None) -> list[str]:
    """The variables in ARG of METAD."""
    return list(_arguments(system.plumed)) if system and system.plumed else []


@functools.lru_cache(maxsize=64)
def _arguments(text: str) -> tuple[str, ...]:
    """The same for a PLUMED input; cached, because all walkers of a system share it."""
    actions = plumed.metad_actions(text).values()
    return tuple(dict.fromkeys(name for one in actions for name in colvars.arguments(one)))


@functools.lru_cache(maxsize=64)
def _time_unit_ps(text: str) -> float:
    return plumed.time_unit_ps(text)
