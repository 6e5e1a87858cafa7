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
from ..errors import EngineFailed, InputError, Interrupted, named
from ..jobs import Event, Finished, Job, Queued, Running, Session, Started, finished
from ..moment import duration
from ..store import Lock
from ..units import FS_PER_PS
from ..walkers import Engines, launch
from ..where import MARK
from . import deck, outputs
from .alarmed import Alarms
from .plan import Plan
from .written import Full, Written

GRACE_S = 300.0
"""Time to stop softly, after which the run is killed and goes on from its last restart file."""
LATE_S = 90.0
"""Time after which what another machine has written is seen here for certain."""
MOST_STUCK = 3
"""Number of jobs in a row that may end without a new restart file."""
SECONDS_PER_DAY = 86400.0
_LOG_END = 2**14
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
    steps = {walker: outputs.last_step(folder, walker, len(plan.atoms)) for walker in plan.walkers}
    return Outcome(steps, plan.settings.steps)


def job(plan: Plan, folder: Path, engines: Engines) -> Job:
    """The job of all walkers; it runs in the folder of the run."""
    settings = plan.settings
    walking = launch(
        *("production", settings.walkers, engines, folder),
        ranks=settings.ranks,
        deck=deck.MAIN,
        partitioned=settings.walkers > 1,
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
            Full: there is little space left; it has stopped softly.
            Interrupted: it could not be stopped softly.
        """
        taken, stuck = session.resume(job), 0
        if not taken and not self.leaves:
            self._check_queue(job)
        if taken:
            self.say("an earlier job of this run is taken over")
        elif (now := reached(self.plan, self.folder)).done and not self._lacking():
            Alarms(self.plan, self.folder, None, self.say).end()  # killed before it had looked
            return now
        while True:
            steps, logs = None, dict.fromkeys(self.plan.walkers, 0)
            if not taken:
                steps, logs = self._begin(prepare), log_sizes(self.plan, self.folder)
                session.add(job)
            taken, before = False, reached(self.plan, self.folder)
            ended, asked = self._one(session, steps)
            now = reached(self.plan, self.folder)
            asked = asked and (ended.returncode == 0 or bool(ended.why))
            if not asked:
                check_ended(self.plan, self.folder, ended, logs)
            if now.done and (fault := self._lacking()):
                raise EngineFailed(f"{fault}: was there no space left? The same command goes on")
            if now.done or asked:
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

    def _begin(self, prepare: Callable[[], Mapping[str, int]]) -> Mapping[str, int]:
        """Prepare a job, and say where it goes on."""
        steps = prepare()
        for walker, step in steps.items():
            if step:
                self.say(f"{walker} goes on at step {step}")
        return steps

    def _lacking(self) -> InputError | None:
        """What the files of a run that has all steps lack."""
        plan, folder, atoms = self.plan, self.folder, len(self.plan.atoms)
        for walker in plan.walkers:
            if fault := outputs.incomplete(folder, walker, deck.series(plan, walker), atoms=atoms):
                return fault
        return None

    def _one(self, session: Session, steps: Mapping[str, int] | None) -> tuple[Finished, bool]:
        """Wait for the end of a job.

        Args:
            session: runs it.
            steps: at which each walker goes on; None: nothing was cut.

        Returns:
            Its end, and whether somebody has asked for it.
        """
        alarms = Alarms(self.plan, self.folder, steps, self.say)
        progress, full = _Progress(self, alarms), None
        try:
            ended = self._end(session, progress)
        except KeyboardInterrupt:
            if self.leaves:
                raise
            ended = self._stop(session, progress)
        except Full as why:
            full, ended = why, self._stop(session, progress)
        except EngineFailed as fault:  # it is killed with its session, unless it is in a queue
            if self.leaves:
                self._stop_failed(session, progress, fault)
            raise
        alarms.end()
        stop = self.folder / deck.STOP
        asked = stop.exists() and stop.read_text(encoding="utf-8") != workplace.OVER
        stop.unlink(missing_ok=True)
        if full:
            raise full
        return ended, asked

    def _stop(self, session: Session, progress: "_Progress") -> Finished:
        """Stop a job softly."""
        stop = self.folder / deck.STOP
        with named(stop):
            stop.unlink(missing_ok=True)
            stop.touch()
        self.say("stopping, and writing a restart file …")
        return self._end(session, progress, within_s=GRACE_S)

    def _stop_failed(self, session: Session, progress: "_Progress", fault: EngineFailed) -> None:
        """Stop a job in a queue that does not write; the next one must not start beside it."""
        progress.written = None
        try:
            self._stop(session, progress)
        except Interrupted as late:
            raise EngineFailed(f"{fault}; its job in the queue is {late}") from fault

    def _end(
        self, session: Session, progress: "_Progress", within_s: float | None = None
    ) -> Finished:
        """Wait for the end of the only job."""
        began = time.monotonic()
        for event in session.events():
            if isinstance(event, Finished):
                return event
            if within_s is not None and time.monotonic() - began > within_s:
                what = "not stopped yet, after" if self.leaves else "killed, not having stopped in"
                raise Interrupted(f"{what} {within_s:g} s")
            progress.see(event)
        raise Interrupted("stopped before it was started")


def log_sizes(plan: Plan, folder: Path) -> dict[str, int]:
    """Sizes of the logs of all walkers, which all starts make longer."""
    paths = {walker: folder / f"{walker}.log" for walker in plan.walkers}
    return {one: path.stat().st_size if path.exists() else 0 for one, path in paths.items()}


def check_ended(plan: Plan, folder: Path, ended: Finished, before: Mapping[str, int]) -> None:
    """Raise EngineFailed if LAMMPS failed, with the error that it has added to a log.

    Args:
        plan: the run.
        folder: of the run.
        ended: the end of the job.
        before: sizes of the logs when it was added.
    """
    if ended.returncode in (0, None) or ended.again:
        return
    sizes = log_sizes(plan, folder)
    for walker in () if ended.why else plan.walkers:
        added = sizes[walker] - before[walker] + 1  # with the end of the line before
        lines = tail_lines(folder / f"{walker}.log", min(added, _LOG_END))
        errors = [line for line in lines if line.startswith("ERROR")]
        if errors:
            kept = reached(plan, folder).steps[walker]
            raise EngineFailed(
                f"{walker}: {errors[-1]} (the log is {folder / walker}.log); the same command goes "
                f"on from step {kept}"
            )
    try:
        ended.require_success()
    except EngineFailed as error:
        raise EngineFailed(f"{error}; the same command goes on") from error


class _Progress:
    """The progress of a job, from the ends of its tables.

    Args:
        starts: of the run.
        alarms: of the run.
    """

    def __init__(self, starts: Starts, alarms: Alarms) -> None:
        self.starts, self.alarms = starts, alarms
        self.written: Written | None = Written(starts.plan, starts.folder)
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
            if self.written:
                elsewhere = event.where is not None and event.where.number
                self.written.check(late_s=LATE_S if elsewhere else 0.0)
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
