"""A launcher that calls a function at each event, as to keep a lock."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from .jobs import Event, Job, Launcher, Session


@dataclass(frozen=True)
class Observed:
    """A launcher that calls `each`, and `see` with the event, at each event of its sessions."""

    launcher: Launcher
    each: Callable[[], None] = lambda: None
    see: Callable[[Event], None] = lambda event: None

    @property
    def cores(self) -> int | None:
        """See `Launcher.cores`."""
        return self.launcher.cores

    @property
    def here(self) -> bool:
        """Whether its jobs run on the machine of this process."""
        return self.launcher.here

    @property
    def scratch(self) -> Path | None:
        """Folder for temporary folders that its jobs see; None: that of the system."""
        return self.launcher.scratch

    @property
    def walkers(self) -> int | None:
        """See `Launcher.walkers`."""
        return self.launcher.walkers

    @property
    def walker_gpus(self) -> int | None:
        """See `Launcher.walker_gpus`."""
        return self.launcher.walker_gpus

    def session(self) -> Session:
        """Open a session of the launcher."""
        return ObservedSession(self.launcher.session(), self.each, self.see)


@dataclass(frozen=True)
class ObservedSession:
    """A session that calls `each` at each of its events; see `jobs.Session`."""

    session: Session
    each: Callable[[], None]
    see: Callable[[Event], None]

    def add(self, job: Job) -> None:
        """Add a job."""
        self.session.add(job)

    def resume(self, job: Job) -> bool:
        """Take over a job of an earlier process."""
        return self.session.resume(job)

    def events(self) -> Generator[Event]:
        """Yield events."""
        for event in self.session.events():
            self.each()
            self.see(event)
            yield event

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a running job."""
        self.session.narrow(directory, cores)

    def stop(self, directory: Path) -> None:
        """Stop or cancel a job."""
        self.session.stop(directory)

    def close(self) -> None:
        """Stop running jobs."""
        self.session.close()
