"""What a probe sees where it runs, and how long its files are on their way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phasewalk.engines import here, machine_child
from phasewalk.sites import probe_child
from phasewalk.sites.probe import CHILD, REQUEST

PARTS = ("host", "node", "cores", "given", "gpus", "gpu_names")


def begin(folder: Path, request: dict[str, object], **environ: str) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)
    (folder / REQUEST).write_text(json.dumps(request))
    dropped = ("SLURM", "PMI", "CUDA")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    command = [sys.executable, "-P", str(CHILD), REQUEST]
    return subprocess.Popen(command, cwd=folder, env={**env, **environ})


def step(folder: Path, name: str, code: str) -> dict[str, object]:
    argv = [sys.executable, "-S", "-c", code]
    return {"name": name, "argv": argv, "directory": str(folder), "env": {"X": "1"}, "limit_s": 9}


def test_the_first_rank_says_what_it_sees(tmp_path: Path) -> None:
    """The answer of phasewalk's machine is looked at while it runs; both clocks are this one."""
    place = tmp_path / "probe"
    asks = "import os, sys; sys.exit('PMI_RANK' in os.environ or os.environ['X'] != '1')"
    fails = "import sys; print('first\\n\\nlast\\n', file=sys.stderr); sys.exit(3)"
    request = {
        "programs": [sys.executable, "/no/such/file", "no-such-program"],
        "steps": [step(tmp_path, n, c) for n, c in (("a", asks), ("b", fails), ("c", asks))],
    }
    begun = time.time()
    given = {"SLURM_CPUS_ON_NODE": "3", "SLURMD_NODENAME": "n7", "CUDA_VISIBLE_DEVICES": "0,2"}
    process = begin(place, request, PMI_RANK="0", SLURM_PROCID="4", **given)
    while not (place / "ping-0").exists():
        time.sleep(0.01)
    probe_child.answer([place])
    assert process.wait() == 0
    found = json.loads((place / "probe.json").read_text())
    assert found["machine"]["host"] == here().host
    assert begun <= found["started"] <= time.time()
    assert found["missing"] == ["/no/such/file", "no-such-program"]
    assert [found["place"][name] for name in PARTS[1:4:2]] == ["n7", 3]
    assert found["place"]["gpus"] == ["0", "2"]
    assert len(found["place"]["cores"]) <= len(os.sched_getaffinity(0))
    assert 0 < found["file_ms"] < 10_000
    assert 0 < found["seen_s"] < 5
    assert abs(found["clock_s"]) < 1
    assert [(s["name"], s["code"], s["said"]) for s in found["steps"]] == [
        ("a", 0, ""),
        ("b", 3, "last"),
    ]


def test_other_ranks_say_only_where_they_are(tmp_path: Path) -> None:
    """mpiexec inside a job of Slurm leaves that one's number of its only task."""
    process = begin(tmp_path, {}, PMI_RANK="3", SLURM_PROCID="0", CUDA_VISIBLE_DEVICES="")
    assert process.wait() == 0
    found = json.loads((tmp_path / "rank-3.json").read_text())
    assert (tuple(found), found["gpus"], found["given"]) == (PARTS, [], None)
    assert not (tmp_path / "probe.json").exists()


def test_files_that_nobody_sees_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_child, "UNSEEN_S", 0.05)
    assert probe_child.pinged(tmp_path) == {"seen_s": None, "clock_s": None}


def test_a_probe_that_slurm_starts_again_is_answered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is emptied before; the other folder does not exist yet."""
    later = tmp_path / "later"
    looks = iter(range(100))

    def sleep(seconds: float) -> None:
        number = next(looks)
        if number == 0:
            (tmp_path / "pong-0").unlink()
        if number == 1:
            later.mkdir()
        for folder in (tmp_path, later) if number > 1 else ():
            for ping in range(probe_child.PINGS):
                (folder / f"ping-{ping}").touch()

    monkeypatch.setattr(probe_child, "LOOK_S", 0.0)
    (tmp_path / "ping-0").touch()
    probe_child.answer([tmp_path, later], sleep)
    for folder in (tmp_path, later):
        assert len(list(folder.glob("pong-?"))) == probe_child.PINGS


def nvidia_smi(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine_child, "KFD", folder / "kfd")


@pytest.mark.parametrize(
    ("body", "gpu"),
    [
        ('[ "$1" = --query-gpu=compute_cap ] && printf "9.0\\n8.0\\n9.0\\n"', "sm_80 sm_90"),
        ("echo 'Field \"compute_cap\" is not a valid field to query.'; exit 2", ""),
        ("echo 'No devices were found, at all'", ""),
    ],
)
def test_nvidia_gpus_have_an_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, gpu: str
) -> None:
    nvidia_smi(tmp_path, body, monkeypatch)
    found = machine_child.facts()
    assert (found["has_gpu"], found["gpu"]) == (True, gpu)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine_child.facts()["gpu"] == ""


def test_amd_gpus_have_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node 0 is the processor."""
    nvidia_smi(tmp_path, "exit 9", monkeypatch)
    for node, version in enumerate((0, 90010, 90402)):
        file = tmp_path / f"kfd/{node}/properties"
        file.parent.mkdir(parents=True)
        file.write_text(f"cpu_cores_count 1\ngfx_target_version {version}\nvendor_id 4098\n")
    assert machine_child.gpu_architectures() == ["gfx90a", "gfx942"]
