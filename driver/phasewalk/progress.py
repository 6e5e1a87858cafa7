"""What a running campaign shows: a live view on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from . import now as moment
from .jobs import Event, Finished, Running
from .ledger import SECONDS_PER_HOUR
from .now import FAILED_NOW, NOTHING, RUNNING_NOW, STARTING, Now, Seen

PLAIN_EVERY_S, KEEP_EVERY_S, SHOW_EVERY_S = 15.0, 2.0, 1.0
"""A plain line, a kept sign, and a redrawn view where nothing but the time has changed."""
COUNTED = ("labels", "atoms")
"""Units of which each is a job: how long the rest takes is known from those that have ended."""


@dataclass
class _Jobs:
    """The jobs of a stage.

    Attributes:
        alive: directory → (cores, seconds) of those that run.
        took: seconds of those that have ended.
        widest: how many have run side by side.
        place: directory of the first of those that run, or ran last.
    """

    alive: dict[Path, tuple[int, float]] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    widest: int = 0
    place: Path | None = None

    def see(self, event: Event) -> None:
        """One begins, lives or ends."""
        if isinstance(event, Finished):
            self.alive.pop(event.directory, None)
            self.took.append(event.seconds)
            return
        seconds = event.seconds if isinstance(event, Running) else 0.0
        self.alive[event.job.directory] = (event.job.cores, seconds)
        self.widest = max(self.widest, len(self.alive))
        self.place = next(iter(self.alive))

    @property
    def core_hours(self) -> float:
        """Of those that run."""
        return sum(cores * seconds for cores, seconds in self.alive.values()) / SECONDS_PER_HOUR

    def seconds_left(self, remaining: float) -> float | None:
        """Until all have ended, those that run among the remaining; None before the first has."""
        if not self.took or remaining <= 0:
            return None
        mean = sum(self.took) / len(self.took)
        begun = sum(min(mean, seconds) for _, seconds in self.alive.values())
        return max(0.0, remaining * mean - begun) / max(1.0, min(self.widest, remaining))


@dataclass
class Progress:
    """Shows stages and their progress; obeys `tasks.Observer`.

    Attributes:
        console: where to.
        rounds: of the campaign in all; 0 where unknown.
        root: of the campaign, to which the places of engine files are relative.
        keep: gets what the campaign is doing, now and then, and where a stage begins.
        hours: core-hours of what is done.
    """

    console: Console
    rounds: int = 0
    root: Path | None = None
    keep: Callable[[Now], None] = lambda now: None
    hours: Callable[[], float] = lambda: 0.0
    _live: Live | None = None
    _now: Now = field(init=False)
    _jobs: _Jobs = field(default_factory=_Jobs)
    _own_estimate: float | None = None
    _began: float = 0.0
    _printed: float = 0.0
    _shown: float = 0.0
    _kept: float = 0.0
    _open: bool = False
    _start: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "Progress":
        """Start the live view."""
        if self.console.is_terminal:
            # No refresh thread: the process must stay single-threaded to start children safely.
            self._live = Live(Text(), console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._stage(0, STARTING, 0.0, "")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the live view."""
        self._end_stage()
        if self._live is not None:
            self._live.stop()

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """A stage begins."""
        self._end_stage()
        self._open = True
        self._stage(round, stage, total, unit)

    def advance(self, done: float, detail: str, seen: Seen = NOTHING) -> None:
        """The stage has come so far, and tells this of itself."""
        total = self._now.total if seen.total is None else seen.total
        self._own_estimate = seen.seconds_left
        self._now = replace(
            self._now, done=done, total=total, detail=detail, rows=seen.rows, numbers=seen.numbers
        )
        self._tell()

    def see(self, event: Event) -> None:
        """A job begins, lives or ends."""
        self._jobs.see(event)
        if time.monotonic() - self._shown >= SHOW_EVERY_S:
            self._tell()

    def say(self, line: str) -> None:
        """A line to keep."""
        self.console.print(Text(f"  {line}"), soft_wrap=True)

    def _stage(self, round: int, stage: str, total: float, unit: str) -> None:
        self._jobs, self._own_estimate = _Jobs(), None
        began = time.time()
        self._now = Now(
            round, self.rounds, stage, 0.0, total, unit, "", began, began, None, 0.0, ""
        )
        self._began = self._printed = time.monotonic()
        self._kept = float("-inf")
        self._tell()

    def _current(self) -> Now:
        """What is known now; the time that is left is the stage's own estimate, or by its jobs."""
        now, jobs = self._now, self._jobs
        left, numbers = self._own_estimate, dict(now.numbers)
        if now.unit in COUNTED:
            numbers[RUNNING_NOW] = len(jobs.alive)
            left = jobs.seconds_left(now.total - now.done - numbers.get(FAILED_NOW, 0.0))
        where, place = jobs.place, ""
        if self.root and where and where.is_relative_to(self.root):
            # Many alike have one directory that holds them all.
            where = where.parent if now.unit in COUNTED else where
            place = str(where.relative_to(self.root))
        return replace(
            now,
            at=time.time(),
            seconds_left=round(left, 1) if left is not None and math.isfinite(left) else None,
            core_hours=round(self.hours() + jobs.core_hours, 5),
            place=place,
            numbers=numbers,
        )

    def _tell(self) -> None:
        """Show what is known now, and hand it on, where that is due."""
        now, at = self._current(), time.monotonic()
        self._shown = at
        if self._live is not None:
            self._live.update(moment.render(now), refresh=True)
        elif at - self._printed > PLAIN_EVERY_S:
            self._printed = at
            where = f"  {now.place}" if now.place else ""
            self.console.print(Text(f"{moment.headline(now)}{where}"), soft_wrap=True)
        if at - self._kept >= KEEP_EVERY_S:
            self._kept = at
            self.keep(now)

    def _end_stage(self) -> None:
        if self._open:
            self._open = False
            now = time.monotonic()
            line = f"{now - self._start:6.0f} s  {self._now.title} took {now - self._began:.1f} s"
            self.console.print(Text(line), soft_wrap=True)
