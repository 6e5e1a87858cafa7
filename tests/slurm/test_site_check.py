"""`phasewalk check --site` on a real Slurm: what it shows of hosts, cores and GPUs."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import campaigns, slurm
from helpers.campaigns import PHASEWALK, TinyCampaign

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
]
PLACES = "default: {partition: cpu, memory_GB: 1.5, time_min: 30}\n"
GPUS = """\
segment: {partition: gpu, gpus: 2}
compile: {partition: gpu, gpus: 1}
evaluate: {partition: gpu, gpus: 1}
"""
JOBS = f"site: lab\nmode: jobs\npoll_s: 1\n{PLACES}"
TITLES = ("", "time in queue", "host", "cores", "GPUs", "tiny model", "models made here")
NO_DRIVER = "were given on n1, but there is no driver (no nvidia-smi or rocm-smi)"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    with slurm.started(tmp_path_factory.mktemp("slurm"), nodes=3) as made:
        yield made


def check(
    campaign: TinyCampaign, site: str, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    campaign.file.with_name("lab.yaml").write_text(site)
    return subprocess.run(
        [*PHASEWALK, "check", str(campaign.file), "--site", "lab"],
        env={**campaign.env(), **environ},
        capture_output=True,
        text=True,
        timeout=500,
    )


def table(printed: str) -> dict[str, list[str]]:
    """Lines of the table by their titles; its columns are apart by two blanks."""
    found = {}
    for line in printed.splitlines():
        title, *cells = re.split(r" {2,}", line.rstrip())
        if title in TITLES and title not in found:
            found[title] = cells
    return found


def queue(cluster: slurm.Cluster) -> str:
    return cluster.run("squeue", "--noheader", "--format=%j %T").strip()


@pytest.mark.timeout(600)
def test_gpus_without_a_driver_are_seen_and_said(cluster: slurm.Cluster, tmp_path: Path) -> None:
    """The GPUs of this cluster are no GPUs. Two kinds share a probe, two others also."""
    campaign = campaigns.make(tmp_path / "it's here", ["NaCl"], rounds=1)
    done = check(campaign, JOBS + GPUS, cluster.env)
    assert done.returncode == 2, done.stdout + done.stderr
    shown = table(done.stdout)
    assert shown[""] == ["label, train", "segment", "compile, evaluate"]
    assert shown["host"][0] in ("n2", "n3")
    assert shown["host"][1:] == ["n1 (2 ranks)", "n1"]
    cores = [cell.partition(", usable")[0] for cell in shown["cores"]]
    assert cores == ["asked 1, given 1", "asked 2, given 2", "asked 1, given 1"]
    assert shown["GPUs"] == [
        "none",
        "asked 2, seen 2 (0,1): no driver",
        "asked 1, seen 1 (0): no driver",
    ]
    assert all(cell.startswith("cpu: ") for cell in shown["tiny model"])
    assert shown["models made here"] == ["fit"] * 3
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert [NO_DRIVER in line for line in wrong] == [True, True]
    assert "GPU(s) 0,1 were" in wrong[0]
    assert queue(cluster) == ""
    assert not (campaign.folder / "phasewalk-slurm").exists()


@pytest.mark.timeout(600)
def test_what_could_not_start_is_refused_before(cluster: slurm.Cluster, tmp_path: Path) -> None:
    campaign = campaigns.make(tmp_path / "c", ["NaCl"], rounds=1)
    wrong = "train: {partition: nowhere}\nevaluate: {memory_GB: 900}\n"
    done = check(campaign, JOBS + wrong, cluster.env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    first, second = done.stdout.splitlines()
    assert first.startswith("wrong   train")
    assert "Invalid partition name specified" in first
    assert second.startswith("wrong   evaluate")
    assert "Requested node configuration is not available" in second
    log = (cluster.folder / "slurmctld.log").read_text()
    assert str(campaign.folder) not in log
    assert queue(cluster) == ""


@pytest.mark.timeout(600)
def test_steps_of_an_allocation_are_seen_too(cluster: slurm.Cluster, tmp_path: Path) -> None:
    """Two nodes, over which the walkers are spread; then all other checks pass there."""
    campaign = campaigns.make(tmp_path / "c", ["NaCl"], rounds=1)
    nodes = ("-pcpu", "-N2", "--ntasks-per-node=2", "--mem=3000", "--time=60")
    with slurm.allocated(cluster, *nodes) as environ:
        site = "site: lab\nmode: steps\ndefault: {time_min: 10}\nsegment: {nodes: 2}\n"
        done = check(campaign, site, environ)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = table(done.stdout)
    assert shown[""] == ["label, train, compile, evaluate", "segment"]
    assert shown["host"][1] == "n2, n3 (2 ranks)"
    assert shown["cores"][1].startswith("asked 2, given 2")
    assert shown["GPUs"] == ["none", "none"]
    assert "\nok      parity " in done.stdout
    assert "\nok      ten steps " in done.stdout
