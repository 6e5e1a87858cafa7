"""The session of a campaign at work, and the jobs in it that run ahead of their turn."""

import math
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Event, Finished, Job, Kind, Launcher, Running, Session


@dataclass
class _Ahead:
    """A job that runs ahead: of which task, since when, and how it has ended."""

    task: str
    job: Job
    seconds: float = 0.0
    ended: Finished | None = None


@dataclass
class UnderWay:
    """What runs now.

    A job may be started ahead: while another task runs, and before the loop comes to its own. When
    the loop does, it finds the job running or ended.
    """

    _session: Session | None = None
    _ahead: dict[Path, _Ahead] = field(default_factory=dict)

    def place(self, task: str) -> Path | None:
        """Directory of a task's job that was started ahead; None if it was not."""
        return next((place for place, one in self._ahead.items() if one.task == task), None)

    def done_s(self, task: str) -> float:
        """For how long a task's job has run that was started ahead; infinite if it has ended."""
        place = self.place(task)
        if place is None:
            return 0.0
        return math.inf if self._ahead[place].ended is not None else self._ahead[place].seconds

    def ahead(self, launcher: Launcher, task: str, job: Job) -> None:
        """Start a task's job beside those that run."""
        self._ahead[job.directory] = _Ahead(task, job)
        self._open(launcher).add(job)

    def narrow(self, directory: Path, cores: int) -> None:
        """A running job needs no more than these cores from now on."""
        if self._session is not None:
            self._session.narrow(directory, cores)

    def run(
        self, launcher: Launcher, jobs: Sequence[Job], begun: Collection[Path]
    ) -> Generator[Event]:
        """Run jobs, and wait for some that were started ahead.

        Args:
            launcher: of the campaign.
            jobs: to start.
            begun: directories of those that were started ahead.

        Yields:
            All events until the last of these has ended: also those of other jobs.
        """
        mine = {job.directory for job in jobs} | set(begun)
        session = self._open(launcher)
        for job in jobs:
            session.add(job)
        for directory in begun:
            ended = self._ahead.pop(directory).ended
            if ended is not None:
                mine.discard(directory)
                yield ended
        for event in session.events() if mine else ():
            self._note(event)
            if isinstance(event, Finished):
                mine.discard(event.directory)
            yield event
            if not mine:
                break
        self._close_if_idle()

    def drop(self, kind: Kind) -> None:
        """Stop what runs ahead of a kind of work: its turn does not come."""
        for directory in [place for place, one in self._ahead.items() if one.job.kind == kind]:
            del self._ahead[directory]
            if self._session is not None:
                self._session.stop(directory)
        self._close_if_idle()

    def close(self) -> None:
        """Stop all that runs."""
        session, self._session = self._session, None
        self._ahead.clear()
        if session is not None:
            session.close()

    def _note(self, event: Event) -> None:
        """What happens to a job that runs ahead."""
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
