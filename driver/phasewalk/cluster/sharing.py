"""Kinds of work that run in the same place of a site, and the site for short jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ..jobs import Job
from . import workstation
from .needs import DEFAULT_MIN, gpus_of
from .site import KIND_OF, Kind, PlaceSettings, SiteSettings


@dataclass(frozen=True)
class Shared:
    """Kinds of work with the same settings.

    Attributes:
        kinds: their names.
        job: the largest of their jobs.
        gpus: number of GPUs of it, on each node.
    """

    kinds: tuple[Kind, ...]
    job: Job
    gpus: int


def shared(site: SiteSettings, jobs: Sequence[Job], gpus: int | None) -> list[Shared]:
    """Jobs whose settings differ in nothing but the time limit, together.

    Jobs that use MPI are apart from those that do not, which are started in another way.

    Args:
        site: the settings.
        jobs: one of each kind.
        gpus: number of GPUs of this machine, if there is no scheduler; else None.
    """
    found: dict[tuple[str, int, bool], Shared] = {}
    for job in jobs:
        place = _place(site, job, gpus)
        count, kind = gpus_of(job, place), KIND_OF[job.kind]
        text = place.model_copy(update={"time_min": None}).model_dump_json()
        key = (text, count, bool(job.mpiexec))
        before = found.get(key)
        larger = before is None or job.cores > before.job.cores
        kinds = (*(before.kinds if before else ()), kind)
        found[key] = Shared(kinds, job if larger or before is None else before.job, count)
    return list(found.values())


def _place(site: SiteSettings, job: Job, gpus: int | None) -> PlaceSettings:
    return site.place_of(job) if gpus is None else workstation.place_of(site, job, gpus)


def brief(site: SiteSettings, minutes: float) -> SiteSettings:
    """The same site for jobs that last so long at most, which start earlier."""
    changed = {}
    for kind in get_args(Kind):
        limit = min(site.place(kind).time_min or DEFAULT_MIN, minutes)
        changed[kind] = getattr(site, kind).model_copy(update={"time_min": limit})
    return site.model_copy(update=changed)
