"""Batch jobs on nodes whose cores have two hardware threads: each core is given to one rank."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import slurm
from phasewalk.batch import JobsLauncher, Slurm
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.jobs import Finished, Job, run, submit

PLACE = PlaceSettings(partition="cpu", memory_GB=0.1, time_min=1)
SLEEPS = "import time; print(time.time(), flush=True); time.sleep(3); print(time.time())"


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    how = {"nodes": 3, "cpus": 8, "threads": 2}
    with slurm.started(tmp_path_factory.mktemp("slurm"), **how) as made:
        yield made


def launcher(cluster: slurm.Cluster, folder: Path, site: SiteSettings) -> JobsLauncher:
    fast = site.model_copy(update={"poll_s": 0.5})
    return JobsLauncher(fast, Slurm({**os.environ, **cluster.env}), folder / "batch jobs")


@pytest.mark.parametrize("options", [[], ["--export=NONE"]], ids=str)
def test_nodes_have_equal_numbers_of_ranks_and_of_their_gpus(
    threaded: slurm.Cluster, tmp_path: Path, options: list[str]
) -> None:
    """Slurm fills one node before the next; and it hands on no variables after --export=NONE."""
    place = PLACE.model_copy(update={"nodes": 2, "options": options})
    site = SiteSettings(site="test", default=place)
    words = ("sh", "-c", 'echo "$SLURMD_NODENAME $MINE"')
    job = Job("x", words, tmp_path / "x", mpiexec=("none",), ranks=6, env={"MINE": "yes"})
    ended = run(launcher(threaded, tmp_path, site), job).require_success()
    lines = (ended.directory / Finished.STDOUT).read_text().splitlines()
    assert Counter(lines) == {"n2 yes": 3, "n3 yes": 3}


def test_labels_that_share_a_batch_job_run_side_by_side(
    threaded: slurm.Cluster, tmp_path: Path
) -> None:
    """Without --threads-per-core=1 two of four waited a minute for the cores of the others."""
    site = SiteSettings(site="test", default=PLACE, max_jobs=1, pack_cores=4)
    made = launcher(threaded, tmp_path, site)
    argv = (sys.executable, "-S", "-c", SLEEPS)
    jobs = [Job(name, argv, tmp_path / name, "label") for name in "abcd"]
    made.times.add(jobs[0], 3.0)
    ended = [event for event in submit(made, jobs) if isinstance(event, Finished)]
    times = [
        [float(line) for line in (one.directory / Finished.STDOUT).read_text().split()]
        for one in ended
    ]
    assert len(times) == 4
    assert max(begun for begun, _ in times) < min(over for _, over in times)
