"""The jobs of a run, one after another: each goes on where the one before has ended.

A job ends when the run does, when it is stopped, when the time of its machines is over (it then
stops by itself, with restart files), or when something happens to its machines. What was written
after the last restart file is cut before the next one, and only if no job is left that may write.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..bias import tail_lines
from ..engines import workplace
from ..errors import EngineFailed, InputError, Interrupted
from ..jobs import Event, Finished, Job, Queued, Running, Session, Started, finished
from ..moment import duration
from ..store import Lock
from ..units import FS_PER_PS
from ..walkers import Engines, launch
from ..where import MARK
from . import deck, outputs
from .alarmed import Alarms
from .plan import Plan

GRACE_S = 300.0
"""Time to stop softly, after which the run is killed and goes on from its last restart file."""
MOST_STUCK = 3
"""Number of jobs in a row that may end without a new restart file."""
SECONDS_PER_DAY = 86400.0
Shown = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """Where a run has ended.

    Attributes:
        steps: step of each walker's last restart file.
        total: number of steps of each walker.
    """

    steps: Mapping[str, int]
    total: int

    @property
    def done(self) -> bool:
        """Whether all walkers have all steps."""
        return all(step >= self.total for step in self.steps.values())


def reached(plan: Plan, folder: Path) -> Outcome:
    """Where a run is now."""
    steps = {walker: outputs.last_step(folder, walker) for walker in plan.walkers}
    return Outcome(steps, plan.settings.steps)


def job(plan: Plan, folder: Path, engines: Engines) -> Job:
    """The job of all walkers; it runs in the folder of the run."""
    settings = plan.settings
    walking = launch(
        *("production", settings.walkers, engines, folder),
        ranks=settings.ranks,
        deck=deck.MAIN,
    )
    return replace(walking, kind="production", stop_file=deck.STOP)


@dataclass
class Starts:
    """The jobs of a run.

    Attributes:
        plan: the run.
        folder: of the run.
        lock: of the folder, which is held.
        leaves: jobs stay in the queue when this process is stopped.
        show: receives the progress.
        say: receives what is to be read in any case.
    """

    plan: Plan
    folder: Path
    lock: Lock
    leaves: bool
    show: Shown
    say: Shown

    def to_end(
        self, session: Session, job: Job, prepare: Callable[[], Mapping[str, int]]
    ) -> Outcome:
        """Start jobs until the run has ended, or is stopped.

        Args:
            session: runs them.
            job: what each of them is.
            prepare: cuts the files; returns the step at which each walker goes on.

        Raises:
            InputError: a job of the run may be in a queue that the session does not know.
            EngineFailed: LAMMPS failed, or does not get on.
            Interrupted: it could not be stopped softly.
        """
        taken, stuck = session.resume(job), 0
        if not taken and not self.leaves:
            self._check_queue(job)
        if taken:
            self.say("an earlier job of this run is taken over")
        while taken or not reached(self.plan, self.folder).done:
            before = reached(self.plan, self.folder)
            if not taken:
                self._say_begin(prepare())
                session.add(job)
            taken = False
            ended, asked = self._one(session, before.steps)
            now = reached(self.plan, self.folder)
            if asked and (ended.returncode == 0 or ended.why):
                return now
            self._check(ended, now)
            if now.done:
                return now
            why = ended.why or "stopped before its time was over"
            stuck = 0 if sum(now.steps.values()) > sum(before.steps.values()) else stuck + 1
            if stuck == MOST_STUCK:
                raise EngineFailed(
                    f"{stuck} jobs in a row have ended without a new restart file, the last one "
                    f"was {why}; decrease restart_every_steps (now "
                    f"{self.plan.settings.restart_every_steps}), or use machines for longer"
                )
            self.say(f"the job was {why}; the run goes on")
        return reached(self.plan, self.folder)

    def _check_queue(self, job: Job) -> None:
        """Raise InputError if a batch job may write into the folder."""
        mark = self.folder / MARK
        if mark.is_file() and finished(job) is None:
            raise InputError(
                f"{self.folder}: a batch job of this run may be in the queue; continue with the "
                "--site that it was started with, or stop it first: phasewalk cancel "
                f"{shlex.quote(str(self.folder))}"
            )
        mark.unlink(missing_ok=True)

    def _say_begin(self, steps: Mapping[str, int]) -> None:
        for walker, step in steps.items():
            if step:
                self.say(f"{walker} goes on at step {step}")

    def _one(self, session: Session, steps: Mapping[str, int]) -> tuple[Finished, bool]:
        """Wait for the end of a job; returns whether somebody has asked for it, too."""
        alarms = Alarms(self.plan, self.folder, steps, self.say)
        progress = _Progress(self, alarms)
        stop = self.folder / deck.STOP
        try:
            ended = _end(session, progress)
        except KeyboardInterrupt:
            if self.leaves:
                raise
            stop.unlink(missing_ok=True)
            stop.touch()
            self.say("stopping, and writing a restart file …")
            ended = _end(session, progress, within_s=GRACE_S)
        alarms.end()
        asked = stop.exists() and stop.read_text(encoding="utf-8") != workplace.OVER
        stop.unlink(missing_ok=True)
        return ended, asked

    def _check(self, ended: Finished, now: Outcome) -> None:
        """Raise EngineFailed if LAMMPS failed, with the error from a log."""
        if ended.returncode in (0, None) or ended.again:
            return
        for walker in () if ended.why else self.plan.walkers:
            lines = tail_lines(self.folder / f"{walker}.log", 2**14)
            errors = [line for line in lines if line.startswith("ERROR")]
            if errors:
                raise EngineFailed(
                    f"{walker}: {errors[-1]} (the log is {self.folder / walker}.log); the same "
                    f"command goes on from step {now.steps[walker]}"
                )
        ended.require_success()


def _end(session: Session, progress: "_Progress", within_s: float | None = None) -> Finished:
    """Wait for the end of the only job."""
    began = time.monotonic()
    for event in session.events():
        if isinstance(event, Finished):
            return event
        if within_s is not None and time.monotonic() - began > within_s:
            raise Interrupted(f"killed, because it had not stopped within {within_s:g} s")
        progress.see(event)
    raise Interrupted("stopped before it was started")


class _Progress:
    """The progress of a job, from the ends of its tables.

    Args:
        starts: of the run.
        alarms: of the run.
    """

    def __init__(self, starts: Starts, alarms: Alarms) -> None:
        self.starts, self.alarms = starts, alarms
        self._first: tuple[float, float] | None = None
        self._said = ""

    def see(self, event: Event) -> None:
        """Show what has happened."""
        self.starts.lock.beat()
        self._say(event)
        if isinstance(event, Queued):
            why = f" ({event.why})" if event.why else ""
            self.starts.show(f"in the queue for {duration(event.seconds)}{why}")
        if isinstance(event, Running):
            self._look(event.seconds)

    def _say(self, event: Event) -> None:
        """Say once that a batch job waits, and that it runs."""
        where = event.where
        if where is None or not where.number or where.pool is not None:
            return
        does = "waits in the queue"
        if isinstance(event, Started | Running):
            does = f"runs on {where.nodes}" if where.nodes else "runs"
        if does != self._said:
            self.starts.say(f"job {where.number} {does}")
        self._said = does

    def _look(self, seconds: float) -> None:
        """Show how far it is, so long after the start."""
        self.alarms.look()
        settings = self.starts.plan.settings
        total, per_ps = settings.steps, FS_PER_PS / settings.timestep_fs
        done = min(self._step(walker) for walker in self.starts.plan.walkers)
        text = f"{done / per_ps:.3f} of {total / per_ps:g} ps ({100 * done // total} %)"
        if self._first is None:
            self._first = (done, seconds)
        rate = (done - self._first[0]) / max(seconds - self._first[1], 1e-9)
        if rate > 0.0:
            speed = rate * SECONDS_PER_DAY / per_ps
            text += f", {speed:.3g} ps/day, {duration((total - done) / rate)} left"
        self.starts.show(text + self.alarms.status)

    def _step(self, walker: str) -> int:
        """Step of the last row of a walker's table."""
        lines = tail_lines(self.starts.folder / f"{walker}.thermo", 4096)
        words = lines[-1].split() if lines else []
        return int(words[0]) if words and words[0].isdigit() else 0
