"""Progress of the walkers of a running segment, from the ends of their growing files.

Incomplete or invalid content is not an error: it is not shown.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..bias import dumps
from ..errors import UNREADABLE, ParseError
from ..moment import DONE, RUNNING, STOPPED, Pace, WalkerNow
from ..structures import closest_contact
from ..units import FS_PER_PS
from . import logs
from .partitions import colvar_files
from .segment import SegmentPlan, Walker

CONTACT_EVERY_S, CONTACT_SHARE = 2.0, 0.02
"""Minimum interval of computing the closest contact, and maximum fraction of the time for it."""
LOOK_FREE_S, LOOK_SHARE = 0.05, 0.01
"""Looking at all walkers may take so long each time; if there are thousands of files, the rest is
at most this fraction of the time."""
WALKERS_PER_S = 10
"""Walkers whose files are opened in a second, on average: those of thousands are on a file system
that others use as well."""
MAX_ATOMS = 2000
"""The closest contact of larger systems is not computed, because it takes too long."""


@dataclass
class _Contact:
    """Closest contact of a walker, and the size of its dump at that time."""

    value: float | None = None
    size: int = 0
    due: float = 0.0


@dataclass
class Watch:
    """Monitors the walkers of a segment."""

    plan: SegmentPlan
    _last: float = 0.0
    _due: float = 0.0
    _contacts: dict[str, _Contact] = field(default_factory=dict)
    _paces: dict[str, Pace] = field(default_factory=dict)

    def is_due(self, seconds: float) -> bool:
        """Whether it is time to look again, so long after the start of the segment."""
        return seconds >= self._due or seconds < self._last  # it was started again

    def look(self, directory: Path, seconds: float) -> tuple[WalkerNow, ...]:
        """One row for each walker.

        Args:
            directory: directory of the segment.
            seconds: time since its start.
        """
        began = time.perf_counter()
        rows = tuple(self._row(n, directory, seconds) for n in range(len(self.plan.walkers)))
        self._last = seconds
        took = time.perf_counter() - began
        busy = max(0.0, took - LOOK_FREE_S) / LOOK_SHARE
        self._due = seconds + max(busy, len(rows) / WALKERS_PER_S)
        return rows

    def seconds_left(self, rows: tuple[WalkerNow, ...], seconds: float) -> float | None:
        """Remaining time of the slowest running walker; None if it is not known for all.

        Args:
            rows: from `look`.
            seconds: time since the start of the segment.
        """
        left = [
            self._paces.setdefault(row.walker, Pace()).left(row.steps_done, row.steps, seconds)
            for row in rows
            if row.state == RUNNING
        ]
        known = [value for value in left if value is not None]
        return max(known) if known and len(known) == len(left) else None

    def _row(self, partition: int, directory: Path, seconds: float) -> WalkerNow:
        plan, walker = self.plan, self.plan.walkers[partition]
        tail = logs.read_tail(directory / f"{walker.id}.log")
        last = walker.step if tail.step is None else tail.step
        # A damaged log may contain any number.
        done = min(max(0, last - walker.step), plan.settings.steps)
        state = RUNNING
        if tail.stop is not None:
            state = f"{STOPPED}{tail.stop.reason}"
        elif done == plan.settings.steps:
            state = DONE
        return WalkerNow(
            walker=walker.id,
            steps_done=done,
            steps=plan.settings.steps,
            ps=round(done * plan.settings.timestep_fs / FS_PER_PS, 6),
            temperature_K=tail.thermo.get("Temp"),
            volume_A3=tail.thermo.get("Volume"),
            colvars=self._colvars(partition, directory),
            closest=self._closest(walker, directory, seconds),
            state=state,
        )

    def _colvars(self, partition: int, directory: Path) -> Mapping[str, float]:
        """The last line of each PRINT; PLUMED with MPI appends the partition's number."""
        walker = self.plan.walkers[partition]
        found: dict[str, float] = {}
        for name in colvar_files(walker.id, self.plan.systems[walker.system].plumed or ""):
            for path in (directory / name, directory / f"{name}.{partition}"):
                found |= dumps.last_row(path)
        return {name: value for name, value in found.items() if name != "time"}

    def _closest(self, walker: Walker, directory: Path, seconds: float) -> float | None:
        """Closest contact of the last frame, recomputed at intervals for new frames."""
        known = self._contacts.setdefault(walker.id, _Contact())
        if len(walker.atoms) > MAX_ATOMS or seconds < known.due:
            return known.value
        path = directory / f"{walker.id}.dump"
        began = time.perf_counter()
        with contextlib.suppress(ParseError, *UNREADABLE):
            size = path.stat().st_size
            if size != known.size:
                known.size = size
                frame = dumps.last_frame(path, self.plan.type_names, len(walker.atoms))
                if frame is not None:
                    known.value = closest_contact(frame.atoms)
        took = time.perf_counter() - began
        # This process monitors all walkers and also starts and ends programs.
        share = took * len(self.plan.walkers) / CONTACT_SHARE
        known.due = seconds + max(CONTACT_EVERY_S, share)
        return known.value
