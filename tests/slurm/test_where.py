"""What a real Slurm says of where jobs wait and run: what users see, and the ledger."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import slurm
from phasewalk import jobs
from phasewalk.batch import jobs_launcher
from phasewalk.cluster import SiteSettings
from phasewalk.jobs import Finished, Job, Queued, Running, submit
from phasewalk.settings_files import parse
from phasewalk.where import Where

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SITE = """\
site: lab
poll_s: 1
pack_min: 0
default: {memory_GB: 0.5, time_min: 5}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    with slurm.started(tmp_path_factory.mktemp("slurm"), nodes=3) as made:
        yield made


def sleeps(folder: Path, count: int, seconds: int) -> list[Job]:
    argv = ("sleep", str(seconds))
    return [Job(f"label-{i}", argv, folder / str(i), "label", threads=2) for i in range(count)]


def ends(found: list[jobs.Event]) -> list[Where]:
    """Where jobs have ended; the same is in their directories."""
    wheres = []
    for event in found:
        if isinstance(event, Finished):
            assert event.returncode == 0
            assert event.where is not None
            kept = jobs.finished(event.job)
            assert kept is not None
            assert kept.where is not None
            same = {"submitted": event.where.submitted, "started": event.where.started}
            assert replace(kept.where, **same) == event.where
            wheres.append(event.where)
    return wheres


def test_times_in_the_queue_are_those_of_slurm(cluster: slurm.Cluster, tmp_path: Path) -> None:
    """Two nodes of two cores: the third and fourth job wait for the first two."""
    environ = {**os.environ, **cluster.env}
    launcher = jobs_launcher(parse(SITE, "site", SiteSettings), tmp_path, environ)
    with closing(launcher.session()) as session:
        for job in sleeps(tmp_path / "run", 4, 5):
            session.add(job)
        found = list(session.events())
    wheres = ends(found)
    assert {where.nodes for where in wheres} == {"n2", "n3"}
    assert {(where.kind, where.partition, where.cores) for where in wheres} == {("label", "cpu", 2)}
    assert len({where.number for where in wheres}) == 4
    waited = sorted(where.queued_s for where in wheres if where.queued_s is not None)
    assert waited[0] <= 3
    assert waited[3] >= 5
    reasons = {event.why for event in found if isinstance(event, Queued)}
    assert reasons & {"Priority", "Resources"}
    written = json.loads((tmp_path / "run/3/finished.json").read_text())["where"]
    last = next(where for where in wheres if where.number == written["number"])
    assert last.started is not None
    assert abs(written["started"] - last.started) < 5


def test_steps_know_their_allocation(cluster: slurm.Cluster, tmp_path: Path) -> None:
    asked = ("-N2", "-n2", "-c2", "--mem=1000", "-t5", "-pcpu")
    with slurm.allocated(cluster, *asked) as environ:
        launcher = slurm.real_steps(environ, "default: {memory_GB: 0.2, time_min: 1}\n", tmp_path)
        found = list(submit(launcher, sleeps(tmp_path / "run", 3, 2)))
    wheres = ends(found)
    pool = launcher.allocation.pool
    assert (pool.nodes, pool.cores, pool.gpus) == (2, 4, 0)
    assert pool.began is not None
    assert pool.ends_at == pool.began + 300
    assert {(where.partition, where.number, where.pool) for where in wheres} == {
        ("cpu", environ["SLURM_JOB_ID"], pool)
    }
    assert {event.job.name for event in found if isinstance(event, Queued)} == {"label-2"}
    runs = [event.where for event in found if isinstance(event, Running)]
    assert {where.nodes for where in runs if where} == {"n2", "n3"}
