"""What would be submitted, as text: for `phasewalk submit --dry-run`."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..cluster import KIND_OF, SiteSettings, launching
from ..jobs import Job
from . import batches, scripts
from .batches import FOLDER
from .driver import Driver, check, need_of, place_of

NAME = "phasewalk-NUMBER"
"""In place of the name of a batch job."""


def texts(driver: Driver, jobs: Sequence[Job], environ: Mapping[str, str]) -> dict[str, str]:
    """The script of phasewalk itself, and what is started for jobs: title → text.

    Raises:
        InputError: no job could start, or a value cannot stand in a script.
    """
    site, root = driver.site, driver.root
    check(site)
    found = {f"driver: phasewalk itself, mode {site.mode}": driver.script()}
    for job in jobs:
        text = _step(site, job, environ) if site.mode == "steps" else _batch(site, job, root)
        found[f"{KIND_OF[job.kind]}: {job.name}"] = text
    return found


def _batch(site: SiteSettings, job: Job, root: Path) -> str:
    """The batch script of a job, and what it runs."""
    place, folder = site.place_of(job), root.parent / FOLDER / NAME
    script = batches.script(folder, place, scripts.needs(job, place))
    return f"{script}# {batches.JOBS}: {shlex.join(scripts.words(job, place, step=False))}\n"


def _step(site: SiteSettings, job: Job, environ: Mapping[str, str]) -> str:
    """The command of a job inside the allocation of phasewalk itself."""
    need, memory_GB = need_of(site), place_of(site).memory_GB
    words = launching.step_words(
        site, job, environ=environ, nodes=need.nodes, gpus=need.gpus, memory_GB=memory_GB
    )
    return f"{shlex.join(words)}\n"
