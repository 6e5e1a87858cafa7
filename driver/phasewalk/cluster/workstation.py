"""Jobs on this machine, each with GPUs of its own: `scheduler: none`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..engines import Command, Outside, ProcessSession
from ..errors import InputError
from ..jobs import Job, Session
from ..where import Pool, Where
from . import words
from .needs import WALKERS, WALKING, Need, mps_words, need_of
from .nodes import Node, Nodes, Placement, largest_share
from .site import KIND_OF, PlaceSettings, SiteSettings

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable with the GPUs of a process; ROCm knows it, too."""
WITH_ONE = ("train", "compile", "evaluate")
"""Kinds of work that use one GPU if there are any and the site file does not say."""


@dataclass
class Workstation:
    """The cores and GPUs of this machine; see `processes.Machines`.

    Attributes:
        site: the settings.
        cores: number of cores.
        gpus: names of its GPUs, as in CUDA_VISIBLE_DEVICES.
        environ: environment of this process.
    """

    site: SiteSettings
    cores: int
    gpus: tuple[str, ...]
    environ: Mapping[str, str]
    _nodes: Nodes = field(init=False)
    _held: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    """GPUs of running jobs."""

    def __post_init__(self) -> None:
        self._nodes = Nodes((Node("", self.cores, len(self.gpus)),))

    def alike(self, job: Job) -> Need:
        """What it needs."""
        place = place_of(self.site, job, len(self.gpus))
        need = need_of(job, place, (0,))
        return replace(need, nodes=None, memory_MB=0, spread=False, crowd=True)

    def weight(self, job: Job) -> float:
        """Its share of the machine."""
        need = self.alike(job)
        return largest_share(need, Nodes(self._nodes.nodes).place(need), self._nodes.nodes)

    def place(self, job: Job, before: Job | None) -> Placement | None:
        """Its cores and GPUs, if so many are free; a job larger than the machine gets all cores."""
        return self._nodes.place(self.alike(job), None if before is None else self.alike(before))

    def check(self, job: Job) -> None:
        """Raise InputError if it needs more GPUs than there are."""
        wanted = self.alike(job).gpus
        if wanted > len(self.gpus):
            raise InputError(
                f"{job.name} needs {wanted} GPUs (gpus of {KIND_OF[job.kind]} in the site file), "
                f"but this machine has {len(self.gpus)}; reduce gpus"
            )

    def take(self, job: Job, placement: Placement) -> Command:
        """Occupy cores and GPUs."""
        place, need = place_of(self.site, job, len(self.gpus)), self.alike(job)
        self._nodes.take(job.directory, placement.shares)
        held = {gpu for gpus in self._held.values() for gpu in gpus}
        free = [gpu for gpu in self.gpus if gpu not in held]
        mine = tuple((free + sorted(held))[: need.gpus])
        if not need.background:
            self._held[job.directory] = mine
        program = (*mps_words(job, place), *words.program(job, place, mpiexec=True))
        return Command(
            words.with_modules(place, program, self.environ),
            self.environ,
            {VISIBLE: ",".join(mine)},
            where=replace(
                self.where(job),
                cores=sum(share.cores for share in placement.shares),
                gpus=len(mine) if not need.background else 0,
            ),
        )

    def where(self, job: Job) -> Where:
        """On this machine."""
        return Where(KIND_OF[job.kind], pool=Pool("", 1, self.cores, len(self.gpus)))

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a job."""
        self._nodes.narrow(directory, cores)

    def release(self, directory: Path) -> None:
        """Free the cores and GPUs of a job."""
        self._nodes.release(directory)
        self._held.pop(directory, None)

    def note(self, happened: Outside) -> None:
        """Nothing happens from outside."""

    def check_time(self, waiting: Job | None) -> None:
        """There is no time limit."""


def place_of(site: SiteSettings, job: Job, gpus: int) -> PlaceSettings:
    """Settings of a job's kind; if they do not say, walkers have all GPUs, some others one."""
    place, kind = site.place_of(job), KIND_OF[job.kind]
    if place.gpus is not None:
        return place
    number = gpus if kind in WALKING else min(gpus, 1) if kind in WITH_ONE else 0
    return place.model_copy(update={"gpus": number})


def gpus_here(environ: Mapping[str, str], devices: Path, kfd: Path) -> tuple[str, ...]:
    """Names of the GPUs of this machine that this process may use.

    Args:
        environ: environment variables; CUDA_VISIBLE_DEVICES may name some of them.
        devices: folder of devices, /dev, which has one file for each GPU of NVIDIA.
        kfd: /sys/class/kfd/kfd/topology/nodes, where Linux lists GPUs of AMD.
    """
    if VISIBLE in environ:
        return _listed(environ[VISIBLE])
    if "ROCR_VISIBLE_DEVICES" in environ:  # what is below it counts those from 0
        return tuple(str(n) for n, _ in enumerate(_listed(environ["ROCR_VISIBLE_DEVICES"])))
    numbers = [m[1] for path in devices.glob("nvidia*") if (m := _NVIDIA.fullmatch(path.name))]
    if numbers:
        return tuple(sorted(numbers, key=int))
    amd = [path for path in kfd.glob("*/gpu_id") if path.read_text().strip() not in ("", "0")]
    return tuple(str(number) for number in range(len(amd)))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip() not in ("", "-1"))


_NVIDIA = re.compile(r"nvidia(\d+)")


@dataclass(frozen=True)
class WorkstationLauncher:
    """Runs jobs on this machine, each with GPUs of its own.

    Attributes:
        site: the settings.
        cores: number of cores.
        gpus: names of its GPUs.
        environ: environment of this process.
        scratch: folder for temporary folders; None: that of the system.
    """

    site: SiteSettings
    cores: int
    gpus: tuple[str, ...]
    environ: Mapping[str, str]
    scratch: Path | None = None

    @property
    def here(self) -> bool:
        """Its jobs see only some of the GPUs of this machine, so that they are asked."""
        return False

    @property
    def walkers(self) -> int | None:
        """Maximum number of walkers of one launch."""
        return self.site.place(WALKERS).walkers

    @property
    def walker_gpus(self) -> int:
        """Number of GPUs of a launch of walkers."""
        given = self.site.gpus_of(WALKERS)
        return len(self.gpus) if given is None else given

    def session(self) -> Session:
        """Open a session."""
        return ProcessSession(Workstation(self.site, self.cores, self.gpus, self.environ))
