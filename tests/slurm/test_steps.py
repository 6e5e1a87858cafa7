"""Steps of a real allocation: cores, GPUs and memory are shared out, and nothing outlives us."""

import ast
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers import slurm
from phasewalk import engines as finding
from phasewalk.cluster import allocation
from phasewalk.cluster.steps_mode import Steps
from phasewalk.engines import EngineSettings, ProcessSession
from phasewalk.errors import InputError, Interrupted, OutOfTime
from phasewalk.jobs import Finished, Job, Launcher, Running, Started, run, submit
from phasewalk.jobs import finished as jobs_finished

SEES = """
import os, time
names = ("SLURMD_NODENAME", "SLURM_LOCALID", "CUDA_VISIBLE_DEVICES", "SLURM_CPUS_ON_NODE",
         "SLURM_STEP_NUM_TASKS", "PW_X")
print(repr([os.environ.get(name) for name in names]))
"""
SEGMENT = "segment: {gpus: 2}\n"
SITE = f"""
{SEGMENT}\
train: {{gpus: 1, memory_GB: 0.5}}
compile: {{gpus: 1}}
evaluate: {{gpus: 1}}
label: {{environment: {{PW_X: "a 'b' $HOME"}}}}
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A heterogeneous allocation: a node of four cores and two GPUs, two nodes of four cores."""
    with slurm.started(tmp_path_factory.mktemp("slurm"), nodes=3, cpus=4) as cluster:
        gpu = ("-pgpu", "-N1", "-n4", "--gres=gpu:2", "--mem=3000", "--time=60")
        cpu = ("-pcpu", "-N2", "--ntasks-per-node=4", "--mem=3000", "--time=60")
        with slurm.allocated(cluster, *gpu, ":", *cpu) as environ:
            yield environ


def program(folder: Path, name: str, text: str = "", seconds: float = 0.0, **how: Any) -> Job:
    text = f"{SEES}\n{text}\ntime.sleep({seconds})"
    return Job(name, (sys.executable, "-c", text), folder / name, timeout_s=60.0, **how)


def seen(launcher: Launcher, jobs: Sequence[Job]) -> dict[str, list[list[str]]]:
    """What each rank of each job printed, in the order of ranks."""
    ended = [event for event in submit(launcher, jobs) if isinstance(event, Finished)]
    assert [(one.job.name, one.last_lines()) for one in ended if one.returncode] == []
    texts = {one.job.name: (one.directory / Finished.STDOUT).read_text() for one in ended}
    return {
        name: sorted(ast.literal_eval(line) for line in text.splitlines())
        for name, text in texts.items()
    }


def test_the_allocation_is_read_from_slurm(mixed: dict[str, str]) -> None:
    found = allocation.here(mixed)
    assert [(n.name, n.cores, n.gpus, n.memory_MB, n.group, n.partition) for n in found.nodes] == [
        *[("n1", 4, 2, 3000, 0, "gpu"), ("n2", 4, 0, 3000, 1, "cpu"), ("n3", 4, 0, 3000, 1, "cpu")]
    ]
    assert found.lasts_s == 3600
    assert 3400 < found.ends_at - time.time() <= 3600


def test_each_kind_has_its_nodes_and_gpus(mixed: dict[str, str], tmp_path: Path) -> None:
    """Two trainings side by side have different GPUs; labels have none, and leave the GPU node."""
    jobs = [
        *(program(tmp_path, f"train {n}", seconds=2, kind="train") for n in "ab"),
        program(tmp_path, "label", kind="label", threads=3),
        program(tmp_path, "walkers", kind="segment", mpiexec=("x",), ranks=4),
    ]
    found = seen(slurm.real_steps(mixed, SITE), jobs)
    trained = [found[f"train {n}"][0] for n in "ab"]
    assert [line[0] for line in trained] == ["n1", "n1"]
    assert {line[2] for line in trained} == {"0", "1"}
    (label,) = found["label"]
    assert label[0] in ("n2", "n3")
    assert label[2:] == ["", "3", "1", "a 'b' $HOME"]
    assert [line[:5] for line in found["walkers"]] == [
        ["n1", str(rank), "0,1", "4", "4"] for rank in range(4)
    ]


def test_ranks_are_spread_over_nodes_and_may_share_cores(
    mixed: dict[str, str], tmp_path: Path
) -> None:
    text = "segment: {partition: cpu}"
    jobs = [
        program(tmp_path, "five", kind="segment", mpiexec=("x",), ranks=5),
        program(tmp_path, "twelve", kind="segment", mpiexec=("x",), ranks=12),
    ]
    launcher = slurm.real_steps(mixed, text)
    assert launcher.cores == 8
    found = seen(launcher, jobs)
    assert [line[0] for line in found["five"]] == ["n2", "n2", "n2", "n3", "n3"]
    assert [line[0] for line in found["twelve"]].count("n2") == 6


def test_what_does_not_fit_is_refused_with_numbers(mixed: dict[str, str], tmp_path: Path) -> None:
    launcher = slurm.real_steps(mixed, SITE)
    with pytest.raises(InputError, match=r"needs 5 cores on one node .*1 node\(s\) of 4 cores"):
        run(launcher, program(tmp_path, "label", kind="label", threads=5))
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_others_need_not_wait_for_does_not_hold_them_up(
    mixed: dict[str, str], tmp_path: Path
) -> None:
    """Slurm holds its cores, but not for us."""
    launcher = slurm.real_steps(mixed, "label: {partition: gpu}")
    late = program(tmp_path, "late", seconds=4, kind="label", threads=4)
    with closing(launcher.session()) as session:
        session.add(late)
        for event in session.events():
            if event.job is late and isinstance(event, Started):
                session.add(program(tmp_path, "next", kind="label", threads=4))
                session.narrow(late.directory, 0)
            if isinstance(event, Finished):
                assert event.job.name == "next"
                assert event.returncode == 0
                assert event.seconds < 3
                break


def children(text: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", text], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split() if int(word) != os.getpid()]


def gone(text: str, within_s: float = 15.0) -> bool:
    until = time.monotonic() + within_s
    while children(text) and time.monotonic() < until:
        time.sleep(0.1)
    return not children(text)


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_no_step_outlives_the_driver(how: str, mixed: dict[str, str], tmp_path: Path) -> None:
    """Neither when its session is closed, nor when its process is killed."""
    mark = f"pw_mark_{how}_{os.getpid()}_x"
    code = f"""
    import os, pathlib, sys, time
    sys.path[:0] = {[str(Path(slurm.__file__).parents[1])]!r}
    from helpers import slurm
    from contextlib import closing
    from phasewalk.jobs import Job, Running
    job = Job("j", (sys.executable, "-c", "import time; time.sleep(100)", "{mark[:-2]}" + "_x"),
              pathlib.Path({str(tmp_path / "job")!r}), mpiexec=("x",), ranks=6, kind="segment")
    with closing(slurm.real_steps(dict(os.environ), "segment: {{partition: cpu}}").session()) as s:
        s.add(job)
        for event in s.events():
            if isinstance(event, Running) and event.seconds > 2:
                if {how == "closed"}: break
                os.kill(os.getpid(), 9)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=mixed, capture_output=True, text=True
    )
    assert done.returncode == (0 if how == "closed" else -signal.SIGKILL), done.stderr
    assert gone(mark, within_s=1.0 if how == "closed" else 15.0)
    assert run(slurm.real_steps(mixed), program(tmp_path, "after")).returncode == 0


def test_a_step_that_is_killed_for_memory_says_so(mixed: dict[str, str], tmp_path: Path) -> None:
    launcher = slurm.real_steps(mixed, "label: {memory_GB: 0.2}")
    ended = run(launcher, program(tmp_path, "hog", "x = b'x' * 600_000_000", 8, kind="label"))
    assert ended.returncode != 0
    assert (
        ended.why == "killed for memory: its limit of 0.2 GB was exceeded; raise memory_GB of label"
    )


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    with slurm.started(tmp_path_factory.mktemp("slurm"), nodes=3) as made:
        yield made


def test_a_core_with_two_threads_is_one_core(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Slurm gives no core to two steps: what does not fit would wait in srun, as if it ran."""
    folder = tmp_path_factory.mktemp("slurm")
    with (
        slurm.started(folder, nodes=2, cpus=8, threads=2) as cluster,
        slurm.allocated(cluster, "-pcpu", "--exclusive", "--mem=2000", "--time=60") as environ,
    ):
        launcher = slurm.real_steps(environ)
        assert launcher.cores == 4
        names = "abcdef"
        labels = [program(tmp_path, name, seconds=2, kind="label") for name in names]
        ended = [one for one in submit(launcher, labels) if isinstance(one, Finished)]
        assert all(one.seconds < 4 for one in ended), ended
        large = program(tmp_path, "large", kind="label", threads=4)
        assert run(launcher, large).require_success().host == "n2"


def test_a_step_that_is_lost_with_its_node_is_done_again_elsewhere(
    own: slurm.Cluster, tmp_path: Path
) -> None:
    """Of which srun says that it ended well."""
    kept = ("-pcpu", "-N2", "--ntasks-per-node=2", "--mem=1000", "--time=60", "--no-kill")
    with slurm.allocated(own, *kept) as environ:
        launcher = slurm.real_steps(environ)
        jobs = [program(tmp_path, name, seconds=5, kind="label", threads=2) for name in "ab"]
        ended, lost = {}, ""
        for event in submit(launcher, jobs):
            if isinstance(event, Running) and event.seconds > 1 and not lost:
                lost = "n2"
                own.lose_node(lost)
            if isinstance(event, Finished):
                ended[event.job.name] = event
    assert {one.returncode for one in ended.values()} == {0}
    assert {one.host for one in ended.values()} == {"n3"}
    assert len(list(tmp_path.glob("?.lost-1"))) == 1
    assert all("n3" in one.last_lines() for one in ended.values())


def test_what_is_cancelled_is_told_apart(own: slurm.Cluster, tmp_path: Path) -> None:
    """A step, by hand; then the whole allocation, in which no step counts as failed."""
    with slurm.allocated(own, "-pcpu", "-n2", "--mem=1000", "--time=60") as environ:
        number, running = environ["SLURM_JOB_ID"], Running
        for name, words in (("step", f"{number}.0"), ("all", number)):
            job = program(tmp_path, name, seconds=60, kind="label")
            with closing(slurm.real_steps(environ).session()) as session:
                session.add(job)
                events = session.events()
                while not isinstance(next(events), running):
                    pass
                own.run("scancel", words)
                if name == "all":
                    with pytest.raises(Interrupted, match="Slurm has ended the allocation"):
                        list(events)
                    continue
                last = list(events)[-1]
            assert isinstance(last, Finished)
            assert last.why == "cancelled by hand (scancel)"
            assert jobs_finished(job) == last


def test_nothing_is_started_that_the_allocation_would_cut_off(
    mixed: dict[str, str], tmp_path: Path
) -> None:
    """Smaller jobs still start; what runs is awaited; then the session ends with what to do."""
    site = slurm.site("label: {time_min: 10}\ntrain: {time_min: 20}")
    made = allocation.here(mixed)
    steps = Steps(site, made, mixed, clock=lambda: made.ends_at - 15 * 60)
    ended = []
    with closing(ProcessSession(steps)) as session:
        session.add(Job("train", ("true",), tmp_path / "train", kind="train"))
        session.add(Job("label", ("true",), tmp_path / "label", kind="label"))
        with pytest.raises(OutOfTime, match=r"train was not started.* 20 min .*15.0 min"):
            ended += [event for event in session.events() if isinstance(event, Finished)]
    assert [(tmp_path / name).exists() for name in ("label", "train")] == [True, False]


@pytest.mark.engine("lammps")
def test_mps_starts_once_on_a_node_and_leaves_mpi_alone(
    mixed: dict[str, str], tmp_path: Path
) -> None:
    """The ranks reach their launcher through what starts MPS."""
    log, daemon = tmp_path / "log", tmp_path / "nvidia-cuda-mps-control"
    daemon.write_text(f'#!/bin/sh\necho "$@ $(cat -) $CUDA_VISIBLE_DEVICES" >> {log}\n')
    daemon.chmod(0o755)
    environ = {**mixed, "PATH": f"{tmp_path}:{mixed['PATH']}"}
    ended = run(
        slurm.real_steps(environ, f"{SITE}\nsegment: {{gpus: 2, mps: true}}".replace(SEGMENT, "")),
        partitions(mixed, tmp_path),
    )
    assert ended.returncode == 0, ended.last_lines()
    check_partitions(ended)
    assert [line.split() for line in log.read_text().splitlines()] == [
        *(["-d", "0,1"], ["quit", "0,1"])
    ]
    assert not list(Path("/tmp").glob("phasewalk-mps-*"))


@pytest.mark.engine("lammps")
@pytest.mark.parametrize("launcher", ["srun", "mpiexec"])
def test_partitions_of_lammps_are_one_run(
    launcher: str, mixed: dict[str, str], tmp_path: Path
) -> None:
    """Over two nodes with srun, on one with the engines' own mpiexec."""
    nodes = 2 if launcher == "srun" else 1
    text = f"segment: {{partition: cpu, launcher: {launcher}, nodes: {nodes}}}"
    ended = run(slurm.real_steps(mixed, text), partitions(mixed, tmp_path))
    assert (ended.returncode, ended.host.count(",")) == (0, nodes - 1), ended.last_lines()
    check_partitions(ended)


def partitions(environ: dict[str, str], folder: Path) -> Job:
    """Four partitions of LAMMPS, which are one run only if MPI works."""
    found = finding.find(EngineSettings(), environ)
    deck = b"variable w world a b c d\nprint 'partition ${w}'\n"
    return Job(
        "partitions", (str(found.lmp), "-partition", "4x1", "-in", "in.lmp"), folder / "mpi",
        kind="segment", inputs={"in.lmp": deck}, env=found.env, mpiexec=found.mpiexec, ranks=4,
        timeout_s=100,
    )  # fmt: skip


def check_partitions(ended: Finished) -> None:
    logs = [(ended.directory / f"log.lammps.{n}").read_text() for n in range(4)]
    assert [f"partition {letter}" in log for letter, log in zip("abcd", logs, strict=True)] == [
        *[True] * 4
    ]


def test_it_works_in_a_job_script(own: slurm.Cluster, tmp_path: Path) -> None:
    """With all that sbatch sets there; its own srun would be refused."""
    code = f"""
    import os, pathlib, sys
    sys.path[:0] = {[str(Path(slurm.__file__).parents[1])]!r}
    from helpers import slurm
    from phasewalk.errors import InputError
    from phasewalk.jobs import Job, run
    try:
        launcher = slurm.real_steps(dict(os.environ), "train: {{gpus: 1, memory_GB: 0.3}}")
    except InputError as error:
        print(error)
        sys.exit(2)
    program = (sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")
    for kind in ("train", "label"):
        ended = run(launcher, Job(kind, program, pathlib.Path({str(tmp_path)!r}) / kind, kind))
        print(kind, ended.returncode, repr(ended.last_lines()))
    """
    (tmp_path / "run.py").write_text(textwrap.dedent(code))
    words = f"{sys.executable} {tmp_path}/run.py"
    (tmp_path / "job.sh").write_text(f"#!/bin/bash\n{words}\nsrun -n1 {words}\ntrue\n")
    options = ("-pgpu", "-n2", "--gres=gpu:2", "--mem-per-cpu=500", "--time=60")
    own.run("sbatch", "--wait", *options, f"--output={tmp_path}/out", str(tmp_path / "job.sh"))
    train, label, *refused = (tmp_path / "out").read_text().splitlines()
    assert (train, label) == ("train 0 '0'", "label 0 '(no output)'")
    assert "start it without srun" in refused[0]
