"""What Slurm says of an allocation."""

import math
import stat
from datetime import datetime
from pathlib import Path

import pytest

from phasewalk.cluster import allocation
from phasewalk.cluster.nodes import Node
from phasewalk.errors import InputError

# As Slurm 22.05 printed it for a job of two parts (some lines left out).
HET = """\
JobId=1 HetJobId=1 HetJobOffset=0 JobName=interactive
   HetJobIdSet=1-2
   JobState=RUNNING Reason=None Dependency=(null)
   RunTime=00:00:00 TimeLimit=00:30:00 TimeMin=N/A
   StartTime=2026-11-27T17:03:51 EndTime=2026-11-27T17:33:51 Deadline=N/A
   Partition=gpu AllocNode:Sid=localhost:4590
   NodeList=n1
   JOB_GRES=gpu:2
     Nodes=n1 CPU_IDs=0-3 Mem=3000 GRES=gpu:2(IDX:0-1)
   TresPerNode=gres:gpu:2
   

JobId=2 HetJobId=1 HetJobOffset=1 JobName=interactive
   JobState=RUNNING Reason=None Dependency=(null)
   RunTime=00:00:00 TimeLimit=1-00:30:00 TimeMin=N/A
   StartTime=2026-11-27T17:03:51 EndTime=2026-11-27T17:43:51 Deadline=N/A
   Partition=cpu AllocNode:Sid=localhost:4590
   NodeList=n[2-3]
   JOB_GRES=(null)
     Nodes=n[2-3] CPU_IDs=0-1,6 Mem=2000 GRES=
"""  # noqa: W293


def test_a_heterogeneous_job_has_parts() -> None:
    found = allocation.parse(HET, "1")
    assert found.nodes == (
        Node("n1", 4, 2, 3000, 0, "gpu"),
        Node("n2", 3, 0, 2000, 1, "cpu"),
        Node("n3", 3, 0, 2000, 1, "cpu"),
    )
    assert found.ends_at == datetime(2026, 11, 27, 17, 33, 51).timestamp()
    assert found.lasts_s == 1800


def test_hardware_threads_are_no_cores() -> None:
    text = """NodeName=n1 Arch=x86_64 CoresPerSocket=2
   State=ALLOCATED ThreadsPerCore=2 TmpDisk=0

NodeName=n2 Arch=x86_64 CoresPerSocket=2
   State=ALLOCATED ThreadsPerCore=1 TmpDisk=0
"""
    found = allocation.with_cores(allocation.parse(HET, "1").nodes, text)
    assert [(node.cores, node.threads) for node in found] == [(2, 2), (3, 1), (3, 1)]


def test_without_limits_there_are_none() -> None:
    text = HET.partition("\n\n")[0]
    text = text.replace("00:30:00", "UNLIMITED").replace("2026-11-27T17:33:51", "Unknown")
    found = allocation.parse(text.replace("Mem=3000", "Mem=0"), "1")
    assert (found.ends_at, found.lasts_s) == (math.inf, math.inf)
    assert found.nodes[0].memory_MB == math.inf


def test_a_job_that_does_not_run_has_no_nodes() -> None:
    with pytest.raises(InputError, match="job 7: it has no running job"):
        allocation.parse(HET.replace("RUNNING", "PENDING"), "7")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3,7],gpu1", ["n1", "n2", "n3", "n7", "gpu1"]),
        ("nid[000998-001001]", ["nid000998", "nid000999", "nid001000", "nid001001"]),
        ("r[1-2]n[1-2]-ib", ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]),
    ],
)
def test_names_of_nodes(text: str, names: list[str]) -> None:
    assert allocation.hostnames(text) == names


@pytest.mark.parametrize(
    ("gres", "count"),
    [("", 0), ("(null)", 0), ("gpu:4", 4), ("gpu:a100:2(IDX:0-1)", 2), ("gpu:a:1,gpu:b:3", 4),
     ("shard:8,gpu:1(IDX:0)", 1)],
)  # fmt: skip
def test_number_of_gpus(gres: str, count: int) -> None:
    assert allocation._gpus(gres) == count


def test_outside_of_an_allocation_it_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"no SLURM_JOB_ID.*sbatch"):
        allocation.here({})


def test_inside_a_step_there_is_nothing_free() -> None:
    with pytest.raises(InputError, match="start it without srun"):
        allocation.here({"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0"})


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "Invalid job id"),
     ("exit 3", "exit code 3"), ("echo nonsense", "no running job")],
)  # fmt: skip
def test_what_scontrol_complains_of_is_shown(script: str, words: str, tmp_path: Path) -> None:
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environ = {"SLURM_JOB_ID": "7", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    with pytest.raises(InputError, match=words):
        allocation.here(environ)


def test_without_scontrol_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scontrol not found: this machine has no"):
        allocation.here({"SLURM_JOB_ID": "7", "PATH": str(tmp_path)})
