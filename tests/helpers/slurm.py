"""Slurm for tests: a real cluster on this machine, and a srun that only seems to be one."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phasewalk.cluster import SiteSettings, allocation
from phasewalk.cluster.allocation import Allocation
from phasewalk.cluster.nodes import Node
from phasewalk.cluster.steps_mode import StepsLauncher
from phasewalk.settings_files import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "slurm"))

from cluster import Cluster, missing

FAKE_SRUN = Path(__file__).with_name("fake_srun.py")
SITE = "site: test\nmode: steps\n"


def site(text: str = "") -> SiteSettings:
    """A site in steps mode."""
    return parse(SITE + text, "site", SiteSettings)


def fake_environ(folder: Path, **more: str) -> dict[str, str]:
    """An environment whose srun is the fake one, which writes to srun.jsonl in the folder."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "srun").exists():
        (programs / "srun").symlink_to(FAKE_SRUN)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "FAKE_SRUN_LOG": str(folder / "srun.jsonl"),
        **more,
    }


def fake_steps(folder: Path, *nodes: Node, text: str = "", **more: str) -> StepsLauncher:
    """Steps on nodes that are none; by default one of two cores."""
    made = Allocation("1", nodes or (Node("n1", 2),))
    return StepsLauncher(site(text), made, fake_environ(folder, **more))


@contextmanager
def started(folder: Path, **how: int) -> Iterator[Cluster]:
    """A real Slurm cluster on this machine; the test is skipped if that is not possible."""
    if missing():
        pytest.skip(missing())
    cluster = Cluster(folder, **how)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def allocated(cluster: Cluster, *options: str) -> Iterator[dict[str, str]]:
    """The environment of a process inside an allocation of a cluster, which is ended at the end."""
    name = f"test{time.monotonic_ns()}"
    cluster.run("salloc", "--no-shell", f"--job-name={name}", *options)
    # The parts of a heterogeneous job have numbers of their own; it goes by the first of them.
    number = cluster.run("squeue", "-h", "-o", "%A", f"--name={name}", "--sort=i").split()[0]
    try:
        yield {**os.environ, **cluster.env, "SLURM_JOB_ID": number}
    finally:
        cluster.run("scancel", number)


def real_steps(
    environ: dict[str, str], text: str = "", scratch: Path | None = None
) -> StepsLauncher:
    """Steps of the allocation of an environment."""
    return StepsLauncher(site(text), allocation.here(environ), environ, scratch)
