"""Kinds of work with the same settings need one probe; short jobs have short limits."""

from pathlib import Path
from typing import Any

from phasewalk.cluster import SiteSettings, sharing
from phasewalk.jobs import Job, Kind
from phasewalk.settings_files import parse


def job(kind: Kind, cores: int = 1, *, mpi: bool = False) -> Job:
    how: dict[str, Any] = {"mpiexec": ("mpiexec",), "ranks": cores} if mpi else {"threads": cores}
    return Job(kind, ("x",), Path(kind), kind, **how)


JOBS = [job("label", 2), job("segment", 4, mpi=True), job("train"), job("compile", 8)]
JOBS.append(job("evaluate"))


def shared(text: str, gpus: int | None = None) -> list[tuple[str, str, int]]:
    site = parse(f"site: x\n{text}", "x", SiteSettings)
    found = sharing.shared(site, JOBS, gpus)
    return [(" ".join(one.kinds), one.job.name, one.gpus) for one in found]


def test_what_differs_in_nothing_but_time_is_shared() -> None:
    """The largest job stands for all; walkers are started in another way."""
    assert shared("label: {time_min: 5}") == [
        ("label train compile evaluate", "compile", 0),
        ("segment", "segment", 0),
    ]
    gpus = "segment: {gpus: 4}\ncompile: {gpus: 1}\nevaluate: {gpus: 1}\ntrain: {memory_GB: 9}"
    assert shared(gpus) == [
        ("label", "label", 0),
        ("segment", "segment", 4),
        ("train", "train", 0),
        ("compile evaluate", "compile", 1),
    ]


def test_a_workstation_gives_gpus_by_itself() -> None:
    assert shared("scheduler: none", gpus=2) == [
        ("label", "label", 0),
        ("segment", "segment", 2),
        ("train compile evaluate", "compile", 1),
    ]


def test_short_jobs_have_short_limits() -> None:
    text = "site: x\ndefault: {time_min: 300, memory_GB: 3}\nlabel: {time_min: 5}"
    made = sharing.brief(parse(text, "x", SiteSettings), 20.0)
    assert [made.place(kind).time_min for kind in ("label", "train", "driver")] == [5, 20, 300]
    assert made.place("label").memory_GB == 3
    assert sharing.brief(SiteSettings(site="x"), 90.0).place("train").time_min == 60
