"""The launcher session of a running campaign, and jobs that are started early."""

import math
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Event, Finished, Job, Kind, Launcher, Running, Session


@dataclass
class _Ahead:
    """A job that was started early: its task, run time, and result once it has finished."""

    task: str
    job: Job
    seconds: float = 0.0
    ended: Finished | None = None


@dataclass
class UnderWay:
    """The running jobs.

    A job may be started early, while another task is running. A job may also be left running while
    the loop does something else. When the loop reaches its task, the job is running or has
    finished.
    """

    _session: Session | None = None
    _ahead: dict[Path, _Ahead] = field(default_factory=dict)
    _places: dict[str, Path] = field(default_factory=dict)

    def place(self, task: str) -> Path | None:
        """Directory of a task's job if it was started early; otherwise None."""
        return self._places.get(task)

    def done_s(self, task: str) -> float:
        """Run time of a task's job that was started early; infinite if it has finished."""
        place = self.place(task)
        if place is None:
            return 0.0
        return math.inf if self._ahead[place].ended is not None else self._ahead[place].seconds

    def ahead(self, launcher: Launcher, task: str, job: Job) -> None:
        """Start the job of a task early, in addition to the running jobs."""
        self._take_in(task, job)
        self._open(launcher).add(job)

    def resume(self, launcher: Launcher, task: str, job: Job) -> bool:
        """Whether the job of a task, started by an earlier process, still runs; it is awaited."""
        resumed = self._open(launcher).resume(job)
        if resumed:
            self._take_in(task, job)
        else:
            self._close_if_idle()
        return resumed

    def leave(self, task: str, job: Job) -> None:
        """Let the job of a task go on beside what comes next, which does not wait for its cores."""
        if job.directory not in self._ahead:
            self._take_in(task, job)
        self.narrow(job.directory, 0)

    def job(self, directory: Path) -> Job:
        """A job that was started ahead, or left."""
        return self._ahead[directory].job

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a running job."""
        if self._session is not None:
            self._session.narrow(directory, cores)

    def run(
        self, launcher: Launcher, jobs: Sequence[Job], begun: Collection[Path]
    ) -> Generator[Event]:
        """Run jobs, and wait for jobs that were started early.

        Args:
            launcher: launcher of the campaign.
            jobs: jobs to start.
            begun: directories of jobs that were started early.

        Yields:
            All events, including those of other jobs, until the last of these jobs has finished.
            A caller that stops earlier calls `leave` for each job that is still running.
        """
        mine = {job.directory for job in jobs} | set(begun)
        session = self._open(launcher)
        for job in jobs:
            session.add(job)
        for directory in begun:
            ended = self._ahead[directory].ended
            if ended is not None:
                self._forget(directory)
                mine.discard(directory)
                yield ended
        for event in session.events() if mine else ():
            self._note(event)
            if isinstance(event, Finished) and event.directory in mine:
                mine.discard(event.directory)
                self._forget(event.directory)
            yield event
            if not mine:
                break
        self._close_if_idle()

    def drop(self, kind: Kind, *, but: Collection[str] = ()) -> None:
        """Stop jobs of a kind that were started early and are not needed.

        Args:
            kind: kind of the jobs.
            but: tasks whose jobs are needed.
        """
        dropped = [
            directory
            for directory, one in self._ahead.items()
            if one.job.kind == kind and one.task not in but
        ]
        for directory in dropped:
            self._forget(directory)
            if self._session is not None:
                self._session.stop(directory)
        self._close_if_idle()

    def close(self) -> None:
        """Stop all running jobs."""
        session, self._session = self._session, None
        self._ahead.clear()
        self._places.clear()
        if session is not None:
            session.close()

    def _take_in(self, task: str, job: Job) -> None:
        self._ahead[job.directory] = _Ahead(task, job)
        self._places[task] = job.directory

    def _forget(self, directory: Path) -> None:
        one = self._ahead.pop(directory, None)
        if one is not None:
            self._places.pop(one.task, None)

    def _note(self, event: Event) -> None:
        """Record an event of a job that was started early."""
        one = self._ahead.get(event.job.directory)
        if one is not None and isinstance(event, Finished):
            one.ended = event
        elif one is not None and isinstance(event, Running):
            one.seconds = event.seconds

    def _close_if_idle(self) -> None:
        if not self._ahead:
            self.close()

    def _open(self, launcher: Launcher) -> Session:
        if self._session is None:
            self._session = launcher.session()
        return self._session
