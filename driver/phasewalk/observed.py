"""A launcher that calls a function at each event, as to keep a lock."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from .jobs import Event, Job, Launcher, Session


@dataclass(frozen=True)
class Observed:
    """A launcher that calls `each` at each event of its sessions."""

    launcher: Launcher
    each: Callable[[], None]

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

    def session(self) -> Session:
        """Open a session of the launcher."""
        return _ObservedSession(self.launcher.session(), self.each)


@dataclass(frozen=True)
class _ObservedSession:
    """See `Observed`."""

    session: Session
    each: Callable[[], None]

    def add(self, job: Job) -> None:
        self.session.add(job)

    def resume(self, job: Job) -> bool:
        return self.session.resume(job)

    def events(self) -> Generator[Event]:
        for event in self.session.events():
            self.each()
            yield event

    def narrow(self, directory: Path, cores: int) -> None:
        self.session.narrow(directory, cores)

    def stop(self, directory: Path) -> None:
        self.session.stop(directory)

    def close(self) -> None:
        self.session.close()
