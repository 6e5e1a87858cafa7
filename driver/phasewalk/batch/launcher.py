"""The launcher of a site whose jobs are put into the queue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..cluster import SiteSettings
from ..jobs import Session
from ..submitted import FOLDER
from . import batches
from .asking import Clock, SystemClock
from .packing import Times
from .scheduler import Scheduler, Slurm


@dataclass(frozen=True)
class JobsLauncher:
    """Puts jobs into the queue of a cluster.

    Attributes:
        site: where each kind of work runs.
        scheduler: the queue.
        folder: in which each batch job gets a folder of its own; all nodes see it.
        scratch: for temporary folders; all nodes see it.
        leaves: jobs go on when a session is closed; else they are cancelled.
        clock: of this process.
        name: makes a new name for a batch job of a kind of work.
        times: of jobs that have ended.
    """

    site: SiteSettings
    scheduler: Scheduler
    folder: Path
    scratch: Path | None = None
    leaves: bool = True
    clock: Clock = field(default_factory=SystemClock)
    name: Callable[[str], str] = batches.new_name
    times: Times = field(default_factory=Times)

    @property
    def cores(self) -> None:
        """Each job has the cores that it asks for; nobody knows how many there are."""

    @property
    def here(self) -> bool:
        """Its jobs run on other machines."""
        return False

    @property
    def walkers(self) -> int | None:
        """Maximum number of walkers of one launch."""
        return self.site.place("segment").walkers

    @property
    def walker_gpus(self) -> int | None:
        """Number of GPUs of a launch of walkers."""
        return self.site.gpus_of("segment")

    def session(self) -> Session:
        """Open a session."""
        from .jobs_mode import JobsSession

        return JobsSession(self)


def jobs_launcher(site: SiteSettings, folder: Path, environ: Mapping[str, str]) -> JobsLauncher:
    """The launcher of a site whose mode is `jobs`.

    Args:
        site: the site.
        folder: in which the campaign directory is; all nodes see it.
        environ: of this process.

    Raises:
        InputError: this machine has no Slurm.
    """
    scratch = Path(site.scratch).expanduser() if site.scratch else folder
    slurm = Slurm(environ)
    slurm.check()
    return JobsLauncher(site, slurm, folder.absolute() / FOLDER, scratch.absolute())
