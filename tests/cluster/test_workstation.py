"""One machine with several GPUs, without Slurm."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from phasewalk.cluster import SiteSettings, launching
from phasewalk.cluster.workstation import WorkstationLauncher, gpus_here
from phasewalk.errors import InputError
from phasewalk.jobs import Finished, Job, Started, run, submit
from phasewalk.settings_files import parse

SEES = "import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES')); time.sleep({})"


def site(text: str = "") -> SiteSettings:
    return parse(f"site: x\nscheduler: none\n{text}", "site", SiteSettings)


def launcher(text: str = "", gpus: tuple[str, ...] = ("0", "1", "2", "3")) -> WorkstationLauncher:
    return WorkstationLauncher(site(text), 8, gpus, os.environ)


def job(folder: Path, name: str, seconds: float = 0.0, **how: Any) -> Job:
    return Job(name, (sys.executable, "-c", SEES.format(seconds)), folder / name, **how)


def printed(ended: Finished) -> str:
    return (ended.directory / Finished.STDOUT).read_text().strip()


@pytest.mark.parametrize(
    ("text", "kind", "mpi", "seen"),
    [
        ("", "segment", True, "0,1,2,3"),
        ("", "segment", False, "0"),  # it asks the machine
        ("", "production", True, "0,1,2,3"),
        ("segment: {gpus: 2}", "production", True, "0,1"),
        ("", "train", False, "0"),
        ("", "compile", False, "0"),
        ("", "evaluate", False, "0"),
        ("", "label", False, ""),
        ("", "colvars", False, ""),
        ("train: {gpus: 2}", "train", False, "0,1"),
        ("segment: {gpus: 0}", "segment", True, ""),
        ("default: {gpus: 1}", "label", False, "0"),
    ],
)
def test_each_kind_sees_its_gpus(
    text: str, kind: Any, mpi: bool, seen: str, tmp_path: Path
) -> None:
    env = ("/usr/bin/env", "PW_N=1") if mpi else ()
    one = job(tmp_path, "x", kind=kind)
    if mpi:  # a launcher that drops `-n 4`
        drop = tmp_path / "mpiexec"
        drop.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
        drop.chmod(0o755)
        env = (str(drop),)
        one = job(tmp_path, "x", kind=kind, mpiexec=env, ranks=4)
    assert printed(run(launcher(text), one).require_success()) == seen


def test_trainings_side_by_side_have_gpus_of_their_own(tmp_path: Path) -> None:
    jobs = [job(tmp_path, f"{n}", 0.5, kind="train") for n in range(6)]
    running, most, seen = set[str](), 0, []
    for event in submit(launcher(gpus=("2", "5", "GPU-x")), jobs):
        if isinstance(event, Started):
            running.add(event.job.name)
        elif isinstance(event, Finished):
            running.discard(event.job.name)
            seen.append(printed(event))
        most = max(most, len(running))
    assert most == 3
    assert sorted(seen) == ["2", "2", "5", "5", "GPU-x", "GPU-x"]


def test_more_gpus_than_there_are_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs 4 GPUs \(gpus of train .* this machine has 1"):
        launcher("train: {gpus: 4}", ("0",)).session().add(job(tmp_path, "x", kind="train"))


def test_a_job_larger_than_the_machine_runs_alone(tmp_path: Path) -> None:
    ended = [
        event.job.name
        for event in submit(
            launcher(), [job(tmp_path, "large", threads=99), job(tmp_path, "small")]
        )
        if isinstance(event, Finished)
    ]
    assert ended == ["large", "small"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("0", "1", "10")),
        ({"CUDA_VISIBLE_DEVICES": "3, GPU-a"}, ("3", "GPU-a")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"ROCR_VISIBLE_DEVICES": "4,5"}, ("0", "1")),
    ],
)
def test_gpus_are_counted(
    environ: dict[str, str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus_here(environ, tmp_path, tmp_path / "none") == expected


def test_gpus_of_amd_are_counted(tmp_path: Path) -> None:
    for number, gpu in enumerate(("0", "4711", "4712")):  # the first one is the processor
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/gpu_id").write_text(f"{gpu}\n")
    assert gpus_here({}, tmp_path / "dev", tmp_path) == ("0", "1")


def test_the_launcher_of_a_site(tmp_path: Path) -> None:
    def made(text: str | None, **environ: str) -> Any:
        given = None if text is None else parse(f"site: x\n{text}", "s", SiteSettings)
        return launching.launcher(given, cores=3, folder=tmp_path, environ=environ)

    assert (type(made(None)).__name__, made(None).scratch) == ("LocalLauncher", None)
    here = made("scheduler: none", CUDA_VISIBLE_DEVICES="1")
    assert (here.cores, here.gpus, here.here, here.scratch) == (3, ("1",), False, None)
    assert made(f"scheduler: none\nscratch: {tmp_path}").scratch == tmp_path
    with pytest.raises(InputError, match="no such folder"):
        made(f"scheduler: none\nscratch: {tmp_path}/none")
    with pytest.raises(InputError, match="no SLURM_JOB_ID"):
        made("mode: steps")


FAKE_MPS = """\
#!/bin/sh
echo "$@ $(cat -) $CUDA_VISIBLE_DEVICES" >> {log}
test -d "$CUDA_MPS_PIPE_DIRECTORY" || exit 1
exit {code}
"""


@pytest.mark.parametrize(("code", "seen"), [(0, "0,1"), (1, "2,5")])
def test_mps_runs_around_a_segment(code: int, seen: str, tmp_path: Path) -> None:
    """Its daemon has the GPUs, which the walkers count from 0; without it they run all the same."""
    programs = tmp_path / "programs"
    programs.mkdir()
    daemon, mpiexec = programs / "nvidia-cuda-mps-control", programs / "mpiexec"
    daemon.write_text(FAKE_MPS.format(log=tmp_path / "log", code=code))
    mpiexec.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    for path in (daemon, mpiexec):
        path.chmod(0o755)
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    made = WorkstationLauncher(site("segment: {mps: true}"), 2, ("2", "5"), environ)
    text = """
import json, os
found = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "")
print(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], os.path.isdir(found), len(found)]))
raise SystemExit(5)
"""
    one = Job(
        "x",
        (sys.executable, "-c", text),
        tmp_path / "x",
        "segment",
        mpiexec=(str(mpiexec),),
        ranks=2,
    )
    ended = run(made, one)
    assert ended.returncode == 5
    gpus, there, length = json.loads(printed(ended))
    assert (gpus, there) == (seen, code == 0)
    assert length < 60
    assert [line.split() for line in (tmp_path / "log").read_text().splitlines()] == [
        ["-d", "2,5"],
        ["quit", "2,5"],
    ]


def test_without_mps_a_segment_runs_all_the_same(tmp_path: Path) -> None:
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    mpiexec.chmod(0o755)
    one = job(tmp_path, "x", kind="segment", mpiexec=(str(mpiexec),), ranks=4)
    ended = run(launcher("segment: {mps: true}"), one).require_success()
    assert printed(ended) == "0,1,2,3"
    assert "nvidia-cuda-mps-control not found" in (ended.directory / Finished.STDERR).read_text()
