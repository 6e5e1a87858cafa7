"""The launcher of a site."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engines import available_cores
from ..errors import InputError
from ..jobs import Job, Launcher
from . import workstation
from .allocation import Allocation
from .nodes import Node
from .site import OF_CAMPAIGNS, Kind, SiteSettings
from .steps_mode import Steps, open_steps

DEVICES, KFD = Path("/dev"), Path("/sys/class/kfd/kfd/topology/nodes")


def launcher(
    site: SiteSettings | None,
    *,
    cores: int | None,
    folder: Path,
    environ: Mapping[str, str],
    kinds: Sequence[Kind] = OF_CAMPAIGNS,
) -> Launcher:
    """The launcher that runs jobs as a site file says; without one, on this machine.

    That of a site whose jobs are put into the queue is `batch.jobs_launcher`.

    Args:
        site: the settings; None if there are none.
        cores: number of cores of this machine to use; None: all.
        folder: that of the campaign directory, for temporary folders that all nodes see.
        environ: environment variables.
        kinds: of work that must fit into the time of an allocation.

    Raises:
        InputError: there is no allocation, or no folder for temporary files.
    """
    from ..engines.local import LocalLauncher

    cores = cores or available_cores()
    gpus = workstation.gpus_here(environ, DEVICES, KFD)
    if site is None:
        return LocalLauncher(cores, len(gpus))
    scratch = _scratch(site, folder)
    if site.scheduler == "none":
        here = scratch if site.scratch else None
        return workstation.WorkstationLauncher(site, cores, gpus, environ, here)
    return open_steps(site, environ, scratch, kinds)


def step_words(
    site: SiteSettings,
    job: Job,
    *,
    environ: Mapping[str, str],
    nodes: int,
    gpus: int,
    memory_GB: float | None,
) -> tuple[str, ...]:
    """The command of a job in an allocation that is yet to come.

    Args:
        site: the settings.
        job: the job.
        environ: environment variables.
        nodes: number of nodes of the allocation, whose cores are as many as the job needs.
        gpus: number of GPUs of each.
        memory_GB: memory of each; None for enough.

    Raises:
        InputError: the job does not fit.
    """
    memory_MB = math.inf if memory_GB is None else memory_GB * 1000.0
    here = tuple(Node(f"NODE{i + 1}", job.cores, gpus, memory_MB) for i in range(nodes))
    steps = Steps(site, Allocation("0", here), environ)
    steps.check(job)
    placement = steps.place(job, None)
    return steps.take(job, placement).words if placement else ()


def _scratch(site: SiteSettings, folder: Path) -> Path:
    """Folder for temporary folders that all nodes see."""
    if site.scratch is None:
        return folder.absolute()
    found = Path(site.scratch).expanduser()
    if not found.is_dir():
        raise InputError(f"{found} (scratch of the site file): no such folder; make it")
    return found.absolute()
