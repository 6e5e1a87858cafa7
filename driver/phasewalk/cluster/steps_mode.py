"""Jobs as steps (srun) inside the allocation of Slurm in which phasewalk runs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..engines import Command, Outside, ProcessSession
from ..errors import InputError, Interrupted, OutOfTime
from ..jobs import Finished, Job, Session
from ..where import Where
from . import allocation, words
from .allocation import Allocation
from .needs import DEFAULT_MIN, WALKERS, Need, limit_min, mps_words, need_of
from .nodes import Node, Nodes, Placement, largest_share
from .site import KIND_OF, OF_CAMPAIGNS, Kind, PlaceSettings, SiteSettings
from .steps_ended import outside

MARGIN_S = 60.0
"""Running steps are stopped so long before the allocation ends, which would kill phasewalk too."""
SAYS = "srun.txt"
"""File with what srun itself prints."""
GRACE_S = 10.0
"""Time that srun has to stop its step."""


@dataclass
class Steps:
    """The nodes of an allocation; see `processes.Machines`.

    Attributes:
        site: the settings.
        allocation: the nodes, and when it ends.
        environ: environment of this process.
        clock: seconds since 1970.
    """

    site: SiteSettings
    allocation: Allocation
    environ: Mapping[str, str]
    clock: Callable[[], float] = time.time
    _ours: Nodes = field(init=False)
    _slurm: Nodes = field(init=False)
    """What Slurm holds for steps, which may be more than the jobs are said to occupy."""
    _lost: list[str] = field(default_factory=list)
    """Names of nodes that are lost."""

    def __post_init__(self) -> None:
        self._ours = Nodes(self.allocation.nodes)
        self._slurm = Nodes(self.allocation.nodes)

    def alike(self, job: Job) -> tuple[Need, float]:
        """What it needs, and for how long."""
        return self._need(job), limit_min(job, self.site.place_of(job))

    def weight(self, job: Job) -> float:
        """Its share of the allocation."""
        need, nodes = self._need(job), self._ours.nodes
        return largest_share(need, Nodes(nodes).place(need), nodes)

    def place(self, job: Job, before: Job | None) -> Placement | None:
        """The nodes on which it fits now, if the allocation lasts long enough for it."""
        if self._late(job):
            return None
        waits = None if before is None or self._late(before) else self._need(before)
        return self._ours.place(self._need(job), waits)

    def check(self, job: Job) -> None:
        """Raise InputError if it does not fit even when nothing else runs."""
        place, kind = self.site.place_of(job), KIND_OF[job.kind]
        need, minutes = self._need(job), limit_min(job, place)
        if not job.stop_file:
            _check_minutes(job.name, minutes, kind, self.allocation)
        if need.on and self._ours.fits_ever(need):
            return
        if self._lost:
            raise OutOfTime(
                f"Slurm has lost {', '.join(self._lost)}, and what is left of the allocation is "
                f"too small for {job.name}"
            )
        raise InputError(
            f"{job.name} needs {_in_words(need)} ({kind} in the site file), but the allocation "
            f"has {_all_in_words(self.allocation.nodes)}; ask for a larger one, or reduce what it "
            "needs"
        )

    def take(self, job: Job, placement: Placement) -> Command:
        """Occupy nodes; returns the words of srun."""
        need, place = self._need(job), self.site.place_of(job)
        overlap = need.background or self._crowds_slurm(placement)
        self._ours.take(job.directory, placement.shares)
        if not overlap:
            self._slurm.take(job.directory, placement.shares)
        names = [self.allocation.nodes[share.node].name for share in placement.shares]
        own = words.own_mpiexec(job, place)
        program = (
            *self._srun(job, placement, overlap=overlap),
            *(() if need.gpus else words.NO_GPU),
            *mps_words(job, place),
            *words.program(job, place, mpiexec=own),
        )
        return Command(
            words=words.with_modules(place, program, self.environ),
            environ=words.without_slurm(self.environ),
            over=words.mpi_variables(job, place),
            host=",".join(names),
            where=replace(
                self.where(job),
                partition=self.allocation.nodes[placement.shares[0].node].partition,
                nodes=",".join(names),
                cores=sum(share.cores for share in placement.shares),
                gpus=sum(share.gpus for share in placement.shares),
            ),
            grace_s=GRACE_S,
            says=SAYS,
            max_losses=self.site.max_losses,
            outside=lambda said: outside(said, need, KIND_OF[job.kind]),
        )

    def where(self, job: Job) -> Where:
        """In which allocation a job waits."""
        found = self.allocation
        return Where(KIND_OF[job.kind], number=found.id, pool=found.pool)

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of a job; Slurm still holds all of them."""
        self._ours.narrow(directory, cores)

    def release(self, directory: Path) -> None:
        """Free the nodes of a job."""
        self._ours.release(directory)
        self._slurm.release(directory)

    def note(self, happened: Outside) -> None:
        """Do without nodes that are lost.

        Raises:
            OutOfTime: the time of the allocation is over.
            Interrupted: somebody has cancelled it, or Slurm puts it back into the queue.
        """
        new = [name for name in happened.lost if name not in self._lost]
        self._lost += new
        for nodes in (self._ours, self._slurm) if new else ():
            nodes.lose(new)
        if happened.ended:
            raise OutOfTime("the allocation has reached its time limit")
        if happened.ask and not allocation.still_runs(self.environ):
            raise Interrupted("Slurm has ended the allocation")

    def check_time(self, waiting: Job | None) -> None:
        """Raise OutOfTime if the allocation ends before the next job would, or at once."""
        left_s = self.allocation.ends_at - self.clock()
        if waiting is not None and self._late(waiting):
            kind = KIND_OF[waiting.kind]
            if waiting.stop_file:
                raise OutOfTime(
                    f"{waiting.name} was not started, since the allocation ends in "
                    f"{max(0.0, left_s) / 60:.1f} min"
                )
            raise OutOfTime(
                f"{waiting.name} was not started: it needs up to "
                f"{limit_min(waiting, self.site.place_of(waiting)):g} min (time_min of {kind} in "
                f"the site file), and the allocation ends in {max(0.0, left_s) / 60:.1f} min"
            )
        if left_s < self._margin_s:
            raise OutOfTime(
                f"the allocation ends in {max(0.0, left_s):.0f} s; running jobs were stopped"
            )

    def _late(self, job: Job) -> bool:
        """Whether the allocation may end before the job does."""
        left_s = self.allocation.ends_at - self.clock() - self._margin_s
        # A job that may last as long as the whole allocation may start at its beginning.
        most = (0.5 if job.stop_file else 0.9) * self.allocation.lasts_s
        least = min(limit_min(job, self.site.place_of(job)) * 60.0, most)
        return left_s < least

    @property
    def _margin_s(self) -> float:
        """Shorter in short allocations."""
        return min(MARGIN_S, 0.02 * self.allocation.lasts_s)

    def _need(self, job: Job) -> Need:
        place = self.site.place_of(job)
        return need_of(job, place, able(self._ours.nodes, place))

    def _crowds_slurm(self, placement: Placement) -> bool:
        """Whether Slurm would let a step wait for cores that are free by our count.

        A step that shares cores may be given a GPU of another; a step with GPUs rather waits.
        """
        free = self._slurm.free()
        nodes = self.allocation.nodes
        return any(
            free[share.node].cores < share.cores
            and not (share.gpus and free[share.node].gpus < nodes[share.node].gpus)
            for share in placement.shares
        )

    def _srun(self, job: Job, placement: Placement, *, overlap: bool) -> tuple[str, ...]:
        """The words of srun for a job on some nodes."""
        need, place = self._need(job), self.site.place_of(job)
        nodes = [self.allocation.nodes[share.node] for share in placement.shares]
        one_process = not job.mpiexec or words.own_mpiexec(job, place)
        cores = max(1, min(need.cores, nodes[0].cores))
        tasks, threads = (1, cores) if one_process else (need.ranks, need.threads)
        overcommit = placement.crowded and not one_process
        het = len({node.group for node in self.allocation.nodes}) > 1
        memory = f"{need.memory_MB}M" if need.memory_MB and not overlap else "0"
        return (
            "srun",
            *((f"--het-group={nodes[0].group}",) if het else ()),
            f"--nodes={len(nodes)}",
            f"--nodelist={','.join(node.name for node in nodes)}",
            f"--ntasks={tasks}",
            *replace(need, nodes=len(nodes)).evenly,
            # Without --exact a step has all cores of its nodes, on which it may start more ranks.
            *(("--overcommit",) if overcommit else ("--exact", f"--cpus-per-task={threads}")),
            *(("--overlap",) if overlap else ()),
            *(("--threads-per-core=1",) if nodes[0].threads > 1 else ()),
            f"--gres={need.gres}",
            f"--mem={memory}",
            f"--mpi={'none' if one_process else words.mpi_of(place)}",
            "--kill-on-bad-exit=1",
            f"--output={Finished.STDOUT}",
            f"--error={Finished.STDERR}",
        )


def able(nodes: tuple[Node, ...], place: PlaceSettings) -> tuple[int, ...]:
    """Indices of the nodes for a kind of work.

    Work without GPUs runs on nodes without GPUs if there are any. If a part of the allocation is in
    the partition of the place, it runs there.
    """
    wanted = place.gpus or 0
    found = [i for i, node in enumerate(nodes) if node.cores and node.gpus >= wanted]
    if not wanted:
        found = [i for i in found if not nodes[i].gpus] or found
    named = [i for i in found if place.partition and nodes[i].partition == place.partition]
    return tuple(named or found)


def _check_minutes(what: str, minutes: float, kind: Kind, allocation: Allocation) -> None:
    """Raise InputError if the allocation is shorter than a time limit."""
    if minutes * 60.0 > allocation.lasts_s:
        raise InputError(
            f"{what} needs up to {minutes:g} min (time_min of {kind} in the site file), but the "
            f"allocation lasts {allocation.lasts_s / 60:g} min; set time_min to what it really "
            "needs, or ask for a longer allocation"
        )


def open_steps(
    site: SiteSettings,
    environ: Mapping[str, str],
    scratch: Path,
    kinds: Sequence[Kind] = OF_CAMPAIGNS,
) -> "StepsLauncher":
    """A launcher for the allocation of this process.

    Args:
        site: the settings.
        environ: environment variables.
        scratch: folder for temporary folders that all nodes see.
        kinds: of work that must fit into the time of the allocation.

    Raises:
        InputError: there is none, or a kind of work may take longer than it lasts.
    """
    found = allocation.here(environ)
    for kind in kinds:
        _check_minutes(kind, site.place(kind).time_min or DEFAULT_MIN, kind, found)
    return StepsLauncher(site, found, environ, scratch)


def _in_words(need: Need) -> str:
    """What a job needs."""
    where = f" on {need.nodes} nodes" if need.nodes else "" if need.spread else " on one node"
    gpus = f", {need.gpus} GPUs" if need.gpus else ""
    memory = f", {need.memory_MB / 1000:g} GB of memory" if need.memory_MB else ""
    per = " per node" if gpus or memory else ""
    return f"{need.cores} cores{where}{gpus}{memory}{per}"


def _all_in_words(nodes: tuple[Node, ...]) -> str:
    """What an allocation has."""
    found: dict[str, int] = {}
    for node in nodes:
        memory = "" if math.isinf(node.memory_MB) else f", {node.memory_MB / 1000:g} GB"
        gpus = f", {node.gpus} GPUs" if node.gpus else ""
        text = f"{node.cores} cores{gpus}{memory}"
        found[text] = found.get(text, 0) + 1
    return " and ".join(f"{count} node(s) of {text}" for text, count in found.items())


@dataclass(frozen=True)
class StepsLauncher:
    """Runs jobs as steps of an allocation.

    Attributes:
        site: the settings.
        allocation: the nodes.
        environ: environment of this process.
        scratch: folder for temporary folders that all nodes see.
    """

    site: SiteSettings
    allocation: Allocation
    environ: Mapping[str, str]
    scratch: Path | None = None

    @property
    def cores(self) -> int:
        """Number of cores of the nodes on which walkers run."""
        on = able(self.allocation.nodes, self.site.place(WALKERS))
        return sum(self.allocation.nodes[i].cores for i in on)

    @property
    def here(self) -> bool:
        """Its jobs run on other machines, or on a part of this one."""
        return False

    @property
    def walkers(self) -> int | None:
        """Maximum number of walkers of one launch."""
        return self.site.place(WALKERS).walkers

    @property
    def walker_gpus(self) -> int | None:
        """Number of GPUs of a launch of walkers."""
        return self.site.gpus_of(WALKERS)

    def session(self) -> Session:
        """Open a session."""
        return ProcessSession(Steps(self.site, self.allocation, self.environ))
