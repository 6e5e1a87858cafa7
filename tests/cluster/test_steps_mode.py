"""What srun is asked for, by a srun that writes it down."""

import json
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import slurm
from phasewalk.cluster.allocation import Allocation
from phasewalk.cluster.nodes import Node
from phasewalk.cluster.steps_mode import Steps
from phasewalk.engines import ProcessSession, workplace
from phasewalk.errors import InputError, OutOfTime
from phasewalk.jobs import Finished, Job, Queued, Running, Started, done_before, run, submit
from phasewalk.where import Pool, Where

GPU = Node("g1", 8, 4, 64_000, 0, "gpu")
CPUS = (Node("c1", 16, 0, 64_000, 1, "cpu"), Node("c2", 16, 0, 64_000, 1, "cpu"))
SITE = """
default: {memory_GB: 2}
segment: {gpus: 4, memory_GB: 16}
compile: {gpus: 1}
evaluate: {gpus: 1}
train: {gpus: 1, gpu_type: a100}
"""


def asked(folder: Path) -> list[dict[str, Any]]:
    """Options and environment of all calls of srun."""
    return [json.loads(line) for line in (folder / "srun.jsonl").read_text().splitlines()]


def job(folder: Path, name: str, **how: Any) -> Job:
    text = how.pop("text", "")
    return Job(name, (sys.executable, "-c", text), folder / "jobs" / name, **how)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            {"kind": "label", "threads": 4},
            {"nodelist": "c1", "ntasks": "1", "cpus-per-task": "4", "gres": "none",
             "mem": "2000M", "mpi": "none", "het-group": "1"},
        ),
        (
            {"kind": "label", "mpiexec": ("mpiexec",), "ranks": 8, "threads": 2},
            {"nodelist": "c1", "ntasks": "8", "cpus-per-task": "2", "mpi": "pmi2"},
        ),
        (
            {"kind": "label", "mpiexec": ("mpiexec",), "ranks": 30},
            {"nodelist": "c1,c2", "nodes": "2", "ntasks": "30", "cpus-per-task": "1"},
        ),
        (
            {"kind": "train"},
            {"nodelist": "g1", "gres": "gpu:a100:1", "het-group": "0"},
        ),
        (
            {"kind": "segment", "mpiexec": ("mpiexec",), "ranks": 6},
            {"nodelist": "g1", "gres": "gpu:4", "ntasks": "6", "mem": "16000M", "exact": ""},
        ),
        (
            {"kind": "segment", "mpiexec": ("mpiexec",), "ranks": 12},
            {"nodelist": "g1", "gres": "gpu:4", "ntasks": "12", "overcommit": ""},
        ),
        (
            {"kind": "segment", "mpiexec": ("mpiexec",), "ranks": 2},
            {"nodelist": "g1", "gres": "gpu:2", "ntasks": "2"},  # one for each walker at most
        ),
        (
            {"kind": "production", "mpiexec": ("mpiexec",), "ranks": 2, "stop_file": "stop"},
            {"nodelist": "g1", "gres": "gpu:2", "ntasks": "2", "mem": "16000M"},
        ),
        ({"kind": "compile", "threads": 99}, {"nodelist": "g1", "cpus-per-task": "8"}),
        ({"kind": "colvars"}, {"nodelist": "g1", "gres": "none"}),
        (
            {"kind": "compile", "threads": 3, "background": True},
            {"overlap": "", "gres": "gpu:1", "mem": "0", "cpus-per-task": "3"},
        ),
    ],
)  # fmt: skip
def test_what_srun_is_asked_for(
    how: dict[str, Any], expected: dict[str, str], tmp_path: Path
) -> None:
    launcher = slurm.fake_steps(tmp_path, GPU, *CPUS, text=SITE)
    ended = run(launcher, job(tmp_path, "one", **how)).require_success()
    (call,) = asked(tmp_path)
    assert {key: call["options"].get(key) for key in expected} == expected
    assert ended.host == expected.get("nodelist", "g1")
    hidden = call["environ"].pop("program") == "env CUDA_VISIBLE_DEVICES="
    assert hidden == (call["options"]["gres"] == "none")


def test_slurms_variables_of_the_driver_are_no_options_of_steps(tmp_path: Path) -> None:
    theirs = {
        "SLURM_MEM_PER_CPU": "100", "SLURM_NTASKS": "9", "SLURM_CPU_BIND": "x",
        "SLURM_JOB_ID": "1", "SLURM_CONF": "c", "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    }  # fmt: skip
    run(slurm.fake_steps(tmp_path, GPU, text=SITE, **theirs), job(tmp_path, "x", kind="train"))
    (call,) = asked(tmp_path)
    call["environ"].pop("program")
    assert call["environ"] == {"SLURM_JOB_ID": "1", "SLURM_CONF": "c"}


def test_modules_environment_and_prefix_are_words(tmp_path: Path) -> None:
    """Whatever they contain: no shell reads them."""
    odd = "a 'b' \"c\" $(touch pwned) ;"
    programs = tmp_path / "with"
    programs.write_text('#!/bin/sh\necho "$1"; shift; exec "$@"\n')
    programs.chmod(0o755)
    site = {
        "environment": {"PW_X": odd},
        "prefix": [str(programs), odd],
        "modules": ["mod/1", odd],
    }
    (tmp_path / "profile").write_text('module() { echo "$@" >> "$PW_MODULES"; }\n')
    launcher = slurm.fake_steps(
        tmp_path, text=f"label: {json.dumps(site)}", PW_MODULES=str(tmp_path / "modules"),
        BASH_ENV=str(tmp_path / "profile"),
    )  # fmt: skip
    text = "import os; print(os.environ['PW_X'])"
    ended = run(launcher, job(tmp_path, odd.replace("/", ""), kind="label", text=text))
    assert ended.require_success().last_lines(2) == f"{odd} | {odd}"
    assert (tmp_path / "modules").read_text() == f"load mod/1\nload {odd}\n"
    assert not list(tmp_path.rglob("pwned"))


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "profile").write_text("module() { return 1; }\n")
    launcher = slurm.fake_steps(
        tmp_path, text="label: {modules: [cp2k]}", BASH_ENV=str(tmp_path / "profile")
    )
    ended = run(launcher, job(tmp_path, "x", kind="label"))
    assert ended.last_lines() == "phasewalk: module load cp2k failed"
    assert not (tmp_path / "srun.jsonl").exists()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"kind": "label", "threads": 17}, "needs 17 cores on one node, 2 GB of memory per node"),
        ({"kind": "label", "mpiexec": ("x",), "ranks": 33}, "needs 33 cores, 2 GB"),
        ({"kind": "label", "memory_GB": 65.0}, "needs 1 cores on one node, 65 GB"),
    ],
)
def test_what_never_fits_is_refused_before_anything_starts(
    how: dict[str, Any], words: str, tmp_path: Path
) -> None:
    launcher = slurm.fake_steps(tmp_path, *CPUS, text="label: {memory_GB: 2}")
    if "memory_GB" in how:
        launcher = slurm.fake_steps(tmp_path, *CPUS)
    session = launcher.session()
    with pytest.raises(InputError, match=words) as error:
        session.add(job(tmp_path, "x", **how))
    assert "2 node(s) of 16 cores, 64 GB" in str(error.value)


def test_a_kind_without_a_node_with_gpus_is_refused(tmp_path: Path) -> None:
    launcher = slurm.fake_steps(tmp_path, *CPUS, text="train: {gpus: 1}")
    with pytest.raises(InputError, match="needs 1 cores on one node, 1 GPUs per node"):
        launcher.session().add(job(tmp_path, "x", kind="train"))


def timed(tmp_path: Path, left_min: float, lasts_min: float, text: str) -> ProcessSession:
    """A session on an allocation that ends soon."""
    made = Allocation("1", (Node("n1", 2),), 60 * left_min, 60 * lasts_min)
    environ = slurm.fake_environ(tmp_path)
    return ProcessSession(Steps(slurm.site(text), made, environ, clock=lambda: 0.0))


def test_a_job_that_the_allocation_cannot_hold_is_refused(tmp_path: Path) -> None:
    session = timed(tmp_path, 30, 30, "")
    with pytest.raises(InputError, match=r"60 min \(time_min of label .*lasts 30 min; set"):
        session.add(job(tmp_path, "x", kind="label"))
    session.add(job(tmp_path, "y", kind="label", timeout_s=600.0))


def test_what_still_fits_in_time_runs_and_then_the_session_ends(tmp_path: Path) -> None:
    site = "label: {time_min: 5}\ntrain: {time_min: 20}"
    with closing(timed(tmp_path, 15, 60, site)) as session:
        for name, kind in (("train", "train"), ("a", "label"), ("b", "label"), ("c", "label")):
            session.add(job(tmp_path, name, kind=kind))
        ended = []
        with pytest.raises(OutOfTime, match=r"train was not started: .* 20 min .* in 15.0 min"):
            ended += [e.job.name for e in session.events() if isinstance(e, Finished)]
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == ["a", "b", "c"]
    assert OutOfTime.exit_code == 75


def test_just_before_the_end_running_steps_are_stopped(tmp_path: Path) -> None:
    made = Allocation("1", (Node("n1", 2),), 120.0, 3600.0)
    now = [0.0]
    site = slurm.site("label: {time_min: 0.5}")
    steps = Steps(site, made, slurm.fake_environ(tmp_path), clock=lambda: now[0])
    with closing(ProcessSession(steps)) as session:
        session.add(job(tmp_path, "x", kind="label", text="import time; time.sleep(50)"))
        events = session.events()
        assert isinstance(next(events), Started)
        now[0] = 100.0
        with pytest.raises(OutOfTime, match="running jobs were stopped"):
            list(events)


LASTS = "import os, time\nwhile not os.path.exists('stop'): time.sleep(0.02)\nopen('restart', 'w')"


def test_a_run_is_asked_to_stop_before_the_end_and_then_waits_for_another_allocation(
    tmp_path: Path,
) -> None:
    """It needs no time limit: it takes what is left."""
    made = Allocation("1", (Node("n1", 2),), time.time() + 3.5, 4.0)
    steps = Steps(slurm.site("default: {time_min: 600}"), made, slurm.fake_environ(tmp_path))
    one = job(tmp_path, "run", kind="production", text=LASTS, stop_file="stop")
    with closing(ProcessSession(steps)) as session:
        session.add(one)
        ended = [event for event in session.events() if isinstance(event, Finished)]
        assert [end.returncode for end in ended] == [0]
        assert (one.directory / "stop").read_text() == workplace.OVER
        session.add(one)
        with pytest.raises(OutOfTime, match=r"run was not started, since .* ends in 0.0 min"):
            list(session.events())


def test_labels_and_a_training_run_beside_the_walkers(tmp_path: Path) -> None:
    """Each in its own part of the allocation; none waits for another."""
    hold = "import time; time.sleep(1)"
    jobs = [
        job(tmp_path, "walkers", kind="segment", mpiexec=("x",), ranks=4, text=hold),
        *(job(tmp_path, f"label {n}", kind="label", threads=8, text=hold) for n in range(4)),
        job(tmp_path, "waits for a GPU", kind="train", text=hold),
    ]
    running: set[str] = set()
    most: set[str] = set()
    for event in submit(slurm.fake_steps(tmp_path, GPU, *CPUS, text=SITE), jobs):
        if isinstance(event, Started):
            running.add(event.job.name)
        elif isinstance(event, Finished):
            running.discard(event.job.name)
        most = max(most, set(running), key=len)
    assert most == {"walkers", "label 0", "label 1", "label 2", "label 3"}


def test_a_step_says_where_it_waits_and_runs(tmp_path: Path) -> None:
    """Also in its directory, for a run that is killed before it has taken in the result."""
    launcher = slurm.fake_steps(tmp_path, GPU, *CPUS, text=SITE)
    text = "import time; time.sleep(0.8)"
    trains = [job(tmp_path, f"train-{i}", kind="train", threads=3, text=text) for i in range(3)]
    events = list(submit(launcher, trains))
    waits = [event for event in events if isinstance(event, Queued)]
    assert [event.job.name for event in waits] == ["train-2"]
    assert "free cores, GPUs or memory" in waits[0].why
    pool = launcher.allocation.pool
    assert (pool.number, pool.nodes, pool.cores, pool.gpus) == ("1", 3, 40, 4)
    assert waits[0].where == Where("train", number="1", pool=pool)
    for event in events:
        if isinstance(event, Started | Running | Finished):
            assert event.where is not None
            assert event.where.started is not None
            said = replace(event.where, started=None)
            assert said == Where("train", "gpu", "1", "g1", 3, 1, pool=pool)
            assert event.where.queued_s is None
    ended = done_before(trains[0])
    assert ended is not None
    assert ended.where == next(e.where for e in events if isinstance(e, Started))


def test_what_is_known_of_the_end_of_an_allocation() -> None:
    nodes = (Node("n1", 8, 2, group=0), Node("n1", 8, 0, group=1))
    assert Allocation("5", nodes).pool == Pool("5", 1, 16, 2)
    assert Allocation("5", nodes, 5000.0, 3600.0).pool == Pool("5", 1, 16, 2, 1400.0, 5000.0)
