"""The session of a campaign at work, and the jobs in it that run ahead of their turn."""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs import Event, Finished, Job, Launcher, Session


@dataclass
class UnderWay:
    """What runs now.

    A job may be started ahead: while another task runs, and before the loop comes to its own. When
    the loop does, it finds the job running or ended.
    """

    _session: Session | None = None
    _ahead: dict[Path, Finished | None] = field(default_factory=dict)

    def began(self, directory: Path) -> bool:
        """Whether the job of a directory was started ahead."""
        return directory in self._ahead

    def ahead(self, launcher: Launcher, job: Job) -> None:
        """Start a job beside those that run."""
        self._ahead[job.directory] = None
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
            ended = self._ahead.pop(directory)
            if ended is not None:
                mine.discard(directory)
                yield ended
        for event in session.events() if mine else ():
            if isinstance(event, Finished):
                if event.directory in self._ahead:
                    self._ahead[event.directory] = event
                mine.discard(event.directory)
            yield event
            if not mine:
                break
        if not self._ahead:
            self.close()

    def drop(self) -> None:
        """Stop what runs ahead: its turn does not come."""
        for directory in list(self._ahead):
            del self._ahead[directory]
            if self._session is not None:
                self._session.stop(directory)
        self.close()

    def close(self) -> None:
        """Stop all that runs."""
        session, self._session = self._session, None
        self._ahead.clear()
        if session is not None:
            session.close()

    def _open(self, launcher: Launcher) -> Session:
        if self._session is None:
            self._session = launcher.session()
        return self._session
