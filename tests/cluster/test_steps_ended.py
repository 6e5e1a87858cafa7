"""What srun printed (recorded with Slurm 22.05, unless said otherwise), and what it means."""

import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import slurm
from phasewalk.cluster import Need
from phasewalk.cluster.nodes import Node
from phasewalk.cluster.steps_ended import outside
from phasewalk.errors import OutOfTime
from phasewalk.jobs import Finished, Job, run

NEED = Need(1, 1, memory_MB=200)
MEMORY = "killed for memory: its limit of 0.2 GB was exceeded; raise memory_GB of label"
ABORTED = "srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n"
CANCELLED = "slurmstepd-n2: error: *** STEP 3.0 ON n2 CANCELLED AT 2026-11-27T17:41:45"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", {}),
        ("srun: error: n1: task 0: Exited with exit code 3\n", {}),
        (
            "slurmstepd-n2: error: StepId=2.12 exceeded memory limit (511111168 > 209715200), "
            "being killed\n" + CANCELLED + " ***\n",
            {"why": MEMORY},
        ),
        # With control groups, from Slurm's documentation.
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=5.0.", {"why": MEMORY}),
        ("srun: error: c3: task 0: Out Of Memory", {"why": MEMORY}),
        ("srun: error: Node failure on n2\n" + ABORTED, {"again": True, "lost": ("n2",)}),
        (ABORTED + CANCELLED + " ***", {"why": "cancelled by hand (scancel)", "ask": True}),
        (CANCELLED + " DUE TO TIME LIMIT ***", {"ended": True}),
        (  # a LAMMPS that has met an error, with Slurm 22.05
            f"{ABORTED}srun: error: n2: tasks 0-1: Killed\n"
            "srun: launch/slurm: _step_signal: Terminating StepId=7.0\n"
            "Abort(1) on node 1 (rank 1 in comm 0): application called "
            f"MPI_Abort(MPI_COMM_WORLD, 1) - process 1\n{CANCELLED} ***",
            {},
        ),
        (
            "srun: error: Unable to confirm allocation for job 2: Invalid job id specified\n"
            "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 2",
            {"again": True, "ask": True},
        ),
        (
            "srun: error: Unable to create step for job 4: Socket timed out on send/recv operation",
            {"again": True, "ask": True},
        ),
        ("out of memory in a program's own words", {}),
    ],
)
def test_what_srun_says(said: str, expected: dict[str, Any]) -> None:
    found = outside(said, NEED, "label")
    assert (found is None) == (not expected)
    assert {key: getattr(found, key) for key in expected} == expected


def failing(folder: Path, text: str, code: int, times: int) -> dict[str, str]:
    """A srun that fails some times with a message, and then works."""
    environ = slurm.fake_environ(folder)
    srun = folder / "programs/srun"
    real = srun.resolve()
    srun.unlink()
    srun.write_text(
        f"#!/bin/sh\necho x >> {folder}/calls\n"
        f"if [ $(wc -l < {folder}/calls) -le {times} ]; then echo '{text}' >&2; exit {code}; fi\n"
        f'exec {sys.executable} {real} "$@"\n'
    )
    srun.chmod(0o755)
    return environ


BUSY = "srun: error: Unable to create step for job 4: Socket timed out on send/recv operation"
LOST = "srun: error: Node failure on n1"


@pytest.mark.parametrize(("times", "code", "why"), [(2, 0, ""), (3, 1, "not started: Slurm")])
def test_a_step_that_slurm_does_not_start_is_tried_again(
    times: int, code: int, why: str, tmp_path: Path
) -> None:
    failing(tmp_path, BUSY, 1, times)
    job = Job("x", (sys.executable, "-c", "print(4)"), tmp_path / "x")
    ended = run(slurm.fake_steps(tmp_path), job)
    assert (ended.returncode, ended.why[: len(why)]) == (code, why)
    assert len(list(tmp_path.glob("x.lost-*"))) == 2
    if not code:
        assert (ended.directory / Finished.STDOUT).read_text() == "4\n"


def test_if_the_only_node_is_lost_the_run_ends(tmp_path: Path) -> None:
    failing(tmp_path, LOST, 0, 1)
    job = Job("x", (sys.executable, "-c", ""), tmp_path / "x", kind="label")
    with pytest.raises(OutOfTime, match="Slurm has lost n1, and what is left"):
        run(slurm.fake_steps(tmp_path), job)


def test_another_node_takes_over(tmp_path: Path) -> None:
    failing(tmp_path, LOST, 0, 1)
    job = Job("x", (sys.executable, "-c", ""), tmp_path / "x", kind="label")
    ended = run(slurm.fake_steps(tmp_path, Node("n1", 2), Node("n2", 2)), job)
    assert (ended.host, ended.where and ended.where.losses) == ("n2", 1)


@pytest.mark.parametrize(("most", "code"), [("20", 0), ("null", 0), ("3", 1)])
def test_it_is_started_again_as_often_as_the_site_file_says(
    tmp_path: Path, most: str, code: int
) -> None:
    environ = slurm.fake_environ(tmp_path)
    srun = tmp_path / "programs/srun"
    real = srun.resolve()
    srun.unlink()
    srun.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/calls; n=$(wc -l < {tmp_path}/calls)\n"
        f'if [ $n -le 5 ]; then echo "srun: error: Node failure on n$n" >&2; exit 0; fi\n'
        f'exec {sys.executable} {real} "$@"\n'
    )
    srun.chmod(0o755)
    assert environ
    nodes = [Node(f"n{n}", 2) for n in range(1, 8)]
    job = Job("x", (sys.executable, "-c", ""), tmp_path / "x", kind="label")
    ended = run(slurm.fake_steps(tmp_path, *nodes, text=f"max_losses: {most}"), job)
    assert ended.returncode == code
    assert ended.where
    assert ended.where.losses == (3 if code else 5)
    assert ("lost with its node" in ended.why) == bool(code)


def test_a_run_that_goes_on_is_handed_back_with_its_files(tmp_path: Path) -> None:
    """Who has started it cuts them before it goes on."""
    failing(tmp_path, LOST, 0, 1)
    job = Job("x", (sys.executable, "-c", ""), tmp_path / "x", "production", stop_file="stop")
    job.directory.mkdir()
    (job.directory / "trajectory").touch()
    ended = run(slurm.fake_steps(tmp_path, Node("n1", 2), Node("n2", 2)), job)
    assert (ended.returncode, ended.why, ended.again) == (1, "lost with its node, n1", True)
    assert (job.directory / "trajectory").exists()
    assert (tmp_path / "calls").read_text() == "x\n"
