"""Whether what a running walker writes reaches the disk: LAMMPS and PLUMED go on if it does not.

Without space LAMMPS leaves an empty file in place of the last restart file but one, then of the
last one. So a run is stopped while there is still space for a restart file, and ended at once where
this was too late: quotas are not seen before.
"""

import time
from pathlib import Path

from ..errors import EngineFailed, Interrupted
from . import deck, outputs
from .needs import free_GB, reserve_GB, size
from .plan import Plan

STUCK_S = 10.0
"""Time after which a restart file that does not grow, but is not complete, will not become so."""
_LOST = "is there no space left, or a quota used up? Free some, then the same command goes on"


class Full(Interrupted):
    """There is little space left; the run must stop softly."""


class Written:
    """Looks at what the walkers of a run have written.

    Args:
        plan: the run.
        folder: of the run.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.folder, self.reserve_GB = folder, reserve_GB(plan)
        self._files = {walker: deck.series(plan, walker) for walker in plan.walkers}
        self._atoms = len(plan.atoms)
        self._good: dict[str, int] = {}
        self._due: dict[str, tuple[int, float]] = {}
        self._torn: dict[Path, tuple[int, float]] = {}
        self._stopping = False

    def check(self, *, late_s: float = 0.0) -> None:
        """Look again.

        Args:
            late_s: time after which what another machine has written is seen on this one.

        Raises:
            Full: there is little space left; once.
            EngineFailed: something was not written.
        """
        free = free_GB(self.folder)
        if free < self.reserve_GB and not self._stopping:
            self._stopping = True
            raise Full(f"{self.folder}: {size(free)} are free, too little to go on; free some")
        for walker in self._files:
            for ending in outputs.WRITTEN:
                self._check_torn(self.folder / f"{walker}.{ending}", STUCK_S + late_s)
            self._check_tables(walker, late_s)

    def _check_torn(self, path: Path, limit_s: float) -> None:
        """Raise EngineFailed for a restart file that will not be complete."""
        if not path.exists() or outputs.restart_step(path, self._atoms) is not None:
            self._torn.pop(path, None)
            return
        length, now = path.stat().st_size, time.monotonic()
        before, since = self._torn.get(path, (-1, now))
        self._torn[path] = (length, since if before == length else now)
        if before == length and now - since > limit_s:
            raise EngineFailed(f"{path}: not written to its end ({_LOST})")

    def _check_tables(self, walker: str, late_s: float) -> None:
        """Raise EngineFailed if a walker's tables do not reach to a restart file."""
        last, now = outputs.last_step(self.folder, walker, self._atoms), time.monotonic()
        if last == self._good.get(walker):
            return
        step, since = self._due.setdefault(walker, (last, now))  # later ones come after it
        path = outputs.behind(self.folder, self._files[walker], step)
        if path is None:
            self._good[walker] = step
            del self._due[walker]
        elif now - since >= late_s:
            raise EngineFailed(f"{path}: it ends before step {step} ({_LOST})")
