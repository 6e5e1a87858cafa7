"""Progress of a running campaign: a live view on a terminal, otherwise plain lines."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..jobs import Event, Finished, Queued, Running
from ..moment import (
    DONE,
    FAILED_NOW,
    NOTHING,
    RUNNING_NOW,
    STARTING,
    STOPPED,
    Now,
    Seen,
    WalkerNow,
    duration,
)
from ..onsite import AtSite, site_view
from ..store import SECONDS_PER_HOUR

PLAIN_EVERY_S, KEEP_EVERY_S, SHOW_EVERY_S = 15.0, 2.0, 1.0
"""Intervals of plain lines, of saving the progress, and of redrawing the live view."""
COUNTED = ("labels", "atoms")
"""Units for which each item is a job; the remaining time is estimated from finished jobs."""


@dataclass
class _Jobs:
    """The jobs that run during a stage: its own, and others beside it.

    Attributes:
        running, beside: directory → (cores, seconds) of running jobs of the stage, and of others.
        took: seconds of finished jobs.
        widest: maximum number of jobs that have run in parallel.
        place: directory of the first running job, or of the last one that ran.
    """

    running: dict[Path, tuple[int, float]] = field(default_factory=dict)
    beside: dict[Path, tuple[int, float]] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    widest: int = 0
    place: Path | None = None

    def see(self, event: Event, beside: bool) -> None:
        """Record an event of a job."""
        jobs, others = (self.beside, self.running) if beside else (self.running, self.beside)
        others.pop(event.job.directory, None)  # the stage now waits for it, or no more
        if isinstance(event, Queued):  # perhaps again, because its node was lost
            jobs.pop(event.job.directory, None)
            return
        if isinstance(event, Finished):
            jobs.pop(event.directory, None)
            self.took += [] if beside else [event.seconds]
            return
        seconds = event.seconds if isinstance(event, Running) else 0.0
        cores = event.where.cores if event.where and event.where.cores else event.job.cores
        jobs[event.job.directory] = (cores, seconds)
        if not beside:
            self.widest = max(self.widest, len(jobs))
            self.place = next(iter(jobs))

    @property
    def core_hours(self) -> float:
        """Core-hours of all running jobs."""
        jobs = (*self.running.values(), *self.beside.values())
        return sum(cores * seconds for cores, seconds in jobs) / SECONDS_PER_HOUR

    def seconds_left(self, remaining: float) -> float | None:
        """Time until all remaining jobs, including running ones, finish; None if not known."""
        if not self.took or remaining <= 0:
            return None
        mean = sum(self.took) / len(self.took)
        done = sum(min(mean, seconds) for _, seconds in self.running.values())
        return max(0.0, remaining * mean - done) / max(1.0, min(self.widest, remaining))


@dataclass
class Progress:
    """Shows stages and their progress; implements `tasks.Observer`.

    Attributes:
        console: output console.
        rounds: number of rounds of the campaign; 0 if not known.
        root: campaign directory, to which shown paths are relative.
        keep: receives the current progress at intervals and at the start of a stage.
        hours: returns the core-hours of finished tasks.
        site: jobs on a site.
    """

    console: Console
    rounds: int = 0
    root: Path | None = None
    keep: Callable[[Now], None] = lambda now: None
    hours: Callable[[], float] = lambda: 0.0
    site: AtSite = field(default_factory=AtSite)
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
        if self.site:  # jobs in a queue may go on
            self.keep(self._current())
        if self._live is not None:
            self._live.stop()

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """Start a stage."""
        self._end_stage()
        self._open = True
        self._stage(round, stage, total, unit)

    def advance(self, done: float, detail: str, seen: Seen = NOTHING) -> None:
        """Update the progress of the stage."""
        total = self._now.total if seen.total is None else seen.total
        self._own_estimate = seen.seconds_left
        self._now = replace(
            self._now, done=done, total=total, detail=detail, rows=seen.rows, numbers=seen.numbers
        )
        self._tell()

    def see(self, event: Event, *, beside: bool = False) -> None:
        """Record an event of a job; `beside`: of one that the stage does not wait for."""
        self._jobs.see(event, beside)
        self.site.see(event, time.time())
        if time.monotonic() - self._shown >= SHOW_EVERY_S:
            self._tell()

    def say(self, line: str) -> None:
        """Print a line permanently."""
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
        """The current progress; remaining time from the stage's own estimate or from its jobs."""
        now, jobs, at = self._now, self._jobs, time.time()
        left, numbers = self._own_estimate, dict(now.numbers)
        if now.unit in COUNTED:
            numbers[RUNNING_NOW] = len(jobs.running)
            left = jobs.seconds_left(now.total - now.done - numbers.get(FAILED_NOW, 0.0))
        where, place = jobs.place, ""
        if self.root and where and where.is_relative_to(self.root):
            # Similar jobs share a parent directory.
            where = where.parent if now.unit in COUNTED else where
            place = str(where.relative_to(self.root))
        return replace(
            now,
            at=at,
            seconds_left=round(left, 1) if left is not None and math.isfinite(left) else None,
            core_hours=round(self.hours() + jobs.core_hours, 5),
            place=place,
            numbers=numbers,
            site=self.site.now(at, now.round, now.rounds),
        )

    def _tell(self) -> None:
        """Show and save the current progress, if the intervals have passed."""
        now, at = self._current(), time.monotonic()
        self._shown = at
        if self._live is not None:
            self._live.update(render(now), refresh=True)
        elif at - self._printed > PLAIN_EVERY_S:
            self._printed = at
            where = [now.place, site_view.brief(now.site)]
            line = "  ".join([headline(now), *(part for part in where if part)])
            self.console.print(Text(line), soft_wrap=True)
        if at - self._kept >= KEEP_EVERY_S:
            self._kept = at
            self.keep(now)

    def _end_stage(self) -> None:
        if self._open:
            self._open = False
            now = time.monotonic()
            line = f"{now - self._start:6.0f} s  {self._now.title} took {now - self._began:.1f} s"
            self.console.print(Text(line), soft_wrap=True)


def headline(now: Now) -> str:
    """Progress in one line, without walkers."""
    parts = [now.title]
    if progress := _progress(now):
        parts.append(progress)
    parts.append(f"[{_times(now)}]")
    return "  ".join(parts)


def lines(now: Now) -> list[str]:
    """Progress as plain lines."""
    found = [headline(now)]
    for row in now.rows:
        cells = _cells(row)
        named = zip(("", "step ", "", "", "", "", "closest contact ", ""), cells, strict=True)
        units = ("", "", " ps", " K", " Å³", "", "", "")
        words = [
            f"{before}{cell}{unit}"
            for (before, cell), unit in zip(named, units, strict=True)
            if cell
        ]
        found.append("  " + ", ".join(words))
    found += site_view.lines(now.site, now.at) if now.site else []
    return [*found, *_footer(now)]


def render(now: Now) -> Group:
    """Progress as lines and a table for a terminal."""
    head = Text.assemble((now.title, "bold"), f"  {_times(now)}")
    body: list[Any] = [head]
    if progress := _progress(now):
        body.append(Text(f"  {progress}"))
    if now.rows:
        body.append(_table(now))
    body += [site_view.render(now.site, now.at)] if now.site else []
    body += [Text(f"  {line}", style="dim") for line in _footer(now)]
    return Group(*body)


def _table(now: Now) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1))
    titles = ("walker", "step", "ps", "K", "Å³", "variables", "closest", "state")
    for title in titles:
        left = title in ("walker", "variables", "state")
        table.add_column(title, justify="left" if left else "right", no_wrap=title != "variables")
    for row in now.rows:
        style = "red" if row.state.startswith(STOPPED) else "dim" if row.state == DONE else ""
        table.add_row(*(Text(cell) for cell in _cells(row)), style=style)
    return table


def _cells(row: WalkerNow) -> tuple[str, ...]:
    variables = "  ".join(f"{name} {value:.5g}" for name, value in row.colvars.items())
    return (
        row.walker,
        f"{row.steps_done} of {row.steps}",
        f"{row.ps:.3f}",
        _number(row.temperature_K, ".0f"),
        _number(row.volume_A3, ".1f"),
        variables,
        _number(row.closest, ".2f"),
        row.state,
    )


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _progress(now: Now) -> str:
    """Progress of the stage as text; empty if it has not started."""
    if now.total <= 1 and not now.done and not now.numbers:
        return now.detail
    words = [_count(now.done)]
    if now.total:
        words.append(f"of {_count(now.total)}")
    words.append(now.unit)
    counts = [
        f"{now.numbers[name]:.0f} {name}"
        for name in (RUNNING_NOW, FAILED_NOW)
        if now.numbers.get(name)
    ]
    words += [f"({', '.join(counts)})"] if counts else []
    return " ".join([*words, now.detail]).rstrip()


def _count(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def _times(now: Now) -> str:
    seconds = now.seconds_left or 0.0
    left = f", about {duration(seconds)} left" if round(seconds) else ""
    return f"{duration(max(0.0, now.at - now.began))}{left}"


def _footer(now: Now) -> list[str]:
    logs = [f"files in {now.place}"] if now.place else []
    return ["; ".join([f"{now.core_hours:.3g} core-hours so far", *logs])]
