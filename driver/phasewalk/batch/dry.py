"""What would be submitted: as text, for `phasewalk submit --dry-run`, or shown to the scheduler."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..cluster import KIND_OF, SiteSettings, launching
from ..files import write_file
from ..jobs import Job
from ..submitted import FOLDER
from . import batches, scripts
from .driver import Driver, check, need_of, place_of
from .launcher import JobsLauncher
from .packing import PACKED, Wait, beside, plan

NAME = "phasewalk-{}-NUMBER"
"""In place of the name of a batch job of a kind of work."""


def texts(driver: Driver, jobs: Sequence[Job], environ: Mapping[str, str]) -> dict[str, str]:
    """The script of phasewalk itself, and what is started for jobs: title → text.

    Raises:
        InputError: no job could start, or a value cannot stand in a script.
    """
    site, root = driver.site, driver.root
    check(site)
    found = {f"driver: phasewalk itself, mode {site.mode}": driver.script()}
    for job in jobs:
        text = _step(site, job, environ) if site.mode == "steps" else batch(site, job, root)
        found[f"{KIND_OF[job.kind]}: {job.name}"] = text
        count = beside(job, site) if site.mode == "jobs" and job.kind in PACKED else 1
        if count > 1:
            found[f"{KIND_OF[job.kind]}s: {count} side by side"] = batch(site, job, root, count)
    return found


def batch(site: SiteSettings, job: Job, root: Path, count: int = 1) -> str:
    """The batch script of a job, or of several like it side by side, and what it runs."""
    place, folder = site.place_of(job), root.parent / FOLDER / NAME.format(KIND_OF[job.kind])
    script = batches.script(folder, job, place, plan([Wait(job)] * count, site).need)
    return f"{script}# {batches.JOBS}: {shlex.join(scripts.words(job, place, step=count > 1))}\n"


def _step(site: SiteSettings, job: Job, environ: Mapping[str, str]) -> str:
    """The command of a job inside the allocation of phasewalk itself."""
    need, memory_GB = need_of(site), place_of(site).memory_GB
    words = launching.step_words(
        site, job, environ=environ, nodes=need.ranks, gpus=need.gpus, memory_GB=memory_GB
    )
    return f"{shlex.join(words)}\n"


def refusals(launcher: JobsLauncher, jobs: Sequence[Job], folder: Path) -> dict[str, str]:
    """Why the scheduler would never start jobs: name of the job → reason; nothing is submitted.

    Args:
        launcher: of the jobs.
        jobs: of which none is started.
        folder: for their scripts.

    Raises:
        InputError: a value cannot stand in a script.
    """
    found = {}
    for number, job in enumerate(jobs):
        place, where = launcher.site.place_of(job), folder.absolute() / f"script-{number}"
        script = where / batches.SCRIPT
        write_file(script, batches.script(where, job, place, scripts.needs(job, place)).encode())
        found[job.name] = launcher.scheduler.refusal(script)
    return {name: why for name, why in found.items() if why}
