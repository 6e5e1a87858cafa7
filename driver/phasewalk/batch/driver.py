"""The job of phasewalk itself, which `phasewalk submit` submits and `phasewalk cancel` ends.

Its folder is named by the campaign directory, and so is the job, by which it is found in the queue.
"""

import json
import math
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..cluster import OF_CAMPAIGNS, Need, PlaceSettings, SiteSettings
from ..cluster import needs as shared
from ..cluster import words as common
from ..errors import InputError
from ..files import write_file
from ..submitted import CANCELLED, folder_of, name_of
from . import batches, scripts
from .asking import Clock
from .driver_job import IDLE, PLAN, Plan
from .scheduler import Scheduler, State

STOP_S = 300.0
"""Time before the time limit at which Slurm asks phasewalk to stop; steps are stopped later."""
STEPS_STOP_S = 60.0
ENDS_S = 60.0
"""Time in which a job that is cancelled ends."""


@dataclass(frozen=True)
class Driver:
    """The job of phasewalk itself.

    Attributes:
        root: the campaign directory.
        site: where it runs.
        argv: the command `phasewalk run`.
        lock: name of the file in the directory that a run holds.
        journal: name of the file in the directory that grows with each finished task.
    """

    root: Path
    site: SiteSettings
    argv: tuple[str, ...]
    lock: str
    journal: str

    @property
    def plan(self) -> Plan:
        """What its job knows of it."""
        return Plan(
            name=name_of(self.root),
            lock=str(self.root / self.lock),
            journal=str(self.root / self.journal),
            steps=self.site.mode == "steps",
            stop_s=stop_s(self.site),
        )

    def script(self) -> str:
        """Its batch script; InputError if a value cannot stand in one."""
        place, folder = place_of(self.site), folder_of(self.root)
        argv = common.at_python((sys.executable, "-P", "-m", "phasewalk.batch"), place)
        whole = ("--exclusive",) if self.site.mode == "steps" else ()
        memory = ("--mem=0",) if whole and place.memory_GB is None else ()
        return scripts.batch_script(
            (*(place.prefix or ()), *argv, str(folder), *common.at_python(self.argv, place)),
            place,
            name=name_of(self.root),
            folder=folder,
            need=need_of(self.site),
            options=(*whole, *memory, f"--signal=B:TERM@{stop_s(self.site):.0f}"),
        )

    def submit(self, scheduler: Scheduler) -> str:
        """Write it, put it into the queue and return its number.

        Raises:
            InputError: it is in the queue already, or Slurm refuses it.
            NotNow: no answer.
        """
        check(self.site)
        text, folder = self.script(), folder_of(self.root)
        for number, state in in_queue(self.root, scheduler).items():
            raise InputError(
                f"{self.root}: phasewalk is in the queue for it already (job {number}, "
                f"{state.state}); end that with: phasewalk cancel {shlex.quote(str(self.root))}"
            )
        write_file(folder / PLAN, json.dumps(asdict(self.plan), indent=1).encode())
        write_file(folder / batches.SCRIPT, text.encode())
        for name in (CANCELLED, IDLE):
            (folder / name).unlink(missing_ok=True)
        number = scheduler.submit(folder / batches.SCRIPT)
        batches.write_number(folder, number)
        return number


@dataclass(frozen=True)
class Cancelled:
    """The numbers of what was cancelled.

    Attributes:
        driver: the job of phasewalk itself, and the next one if that was submitted already.
        jobs: batch jobs of the campaign.
    """

    driver: Collection[str]
    jobs: Collection[str]


def cancel(root: Path, scheduler: Scheduler, clock: Clock, *, soft_s: float = 0.0) -> Cancelled:
    """End the job of phasewalk itself, and then all batch jobs of a campaign.

    Args:
        root: the campaign directory.
        scheduler: the queue.
        clock: of this process.
        soft_s: time in which those that run, and were asked to, may end by themselves.

    Raises:
        NotNow: the queue does not answer; the job of phasewalk is not submitted again all the same.
    """
    folder = folder_of(root)
    if folder.is_dir():
        write_file(folder / CANCELLED, b"")  # it submits itself no more
    found: set[str] = set()
    until = clock.now() + ENDS_S
    while (left := in_queue(root, scheduler)) and clock.now() < until:
        scheduler.cancel([number for number in left if number not in found])
        found |= set(left)
        clock.sleep(1.0)
    jobs = batches.in_queue(folder.parent, scheduler, within=root)
    left, until = jobs, clock.now() + soft_s
    while any(not state.waits for state in left.values()) and clock.now() < until:
        clock.sleep(1.0)
        left = batches.in_queue(folder.parent, scheduler, within=root)
    batches.cancel_all(folder.parent, scheduler, within=root)
    return Cancelled(sorted(found, key=int), sorted(jobs, key=int))


def in_queue(root: Path, scheduler: Scheduler) -> dict[str, State]:
    """The jobs of phasewalk itself for a campaign directory that wait or run, by number."""
    name = name_of(root)
    found = scheduler.states().items()
    return {number: state for number, state in found if state.name == name and not state.ended}


def output(root: Path) -> Path:
    """File with what it prints."""
    return folder_of(root) / scripts.OUTPUT


def stop_s(site: SiteSettings) -> float:
    """Time from Slurm's SIGTERM to the time limit."""
    most = STEPS_STOP_S if site.mode == "steps" else STOP_S
    return math.floor(min(most, 0.25 * 60 * need_of(site).minutes))


def place_of(site: SiteSettings) -> PlaceSettings:
    """The settings of its place; of `default` not what is meant for each of the other jobs.

    It is no program of a container unless `driver` says so, since it needs Slurm's commands.
    """
    own, place = site.driver, site.place("driver")
    steps = site.mode == "steps"
    gpus = max(site.place(kind).gpus or 0 for kind in OF_CAMPAIGNS) if steps else 0
    options = place.options if own.options or steps else _shared(place.options)
    return place.model_copy(
        update={
            "prefix": own.prefix,
            "python": own.python,
            "gpus": gpus if own.gpus is None else own.gpus,
            "memory_GB": own.memory_GB if steps else place.memory_GB,
            "options": options,
        }
    )


def _shared(options: Sequence[str] | None) -> list[str]:
    """Options without that for whole nodes: phasewalk itself needs one core."""
    return [word for word in options or () if not word.startswith("--exclusive")]


def need_of(site: SiteSettings) -> Need:
    """What it occupies: whole nodes for the jobs' steps, or one core."""
    place, steps = place_of(site), site.mode == "steps"
    nodes = (place.nodes or 1) if steps else 1
    return Need(
        ranks=nodes,
        nodes=nodes,
        gpus=place.gpus or 0,
        gpu_type=place.gpu_type or "",
        memory_MB=shared.megabytes(place.memory_GB),
        minutes=place.time_min or shared.DEFAULT_MIN,
    )


def check(site: SiteSettings) -> None:
    """Raise InputError if no job could ever start inside the job of phasewalk itself."""
    own = need_of(site).minutes
    for kind in OF_CAMPAIGNS if site.mode == "steps" else ():
        minutes = site.place(kind).time_min or shared.DEFAULT_MIN
        if minutes > own:
            raise InputError(
                f"{kind} needs up to {minutes:g} min (time_min of {kind} in the site file), but "
                f"driver, the allocation, lasts {own:g} min; raise time_min of driver"
            )
