"""A campaign in the queue of a real Slurm: its driver is killed, and the results are the same."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import campaigns, slurm
from helpers.campaigns import PHASEWALK, TinyCampaign

pytestmark = pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite")
SITE = """\
site: lab
mode: jobs
poll_s: 1
default: {partition: cpu, memory_GB: 1.5, time_min: 10}
segment: {nodes: 2}
"""


def test_a_driver_is_killed_and_the_results_are_the_same(
    cluster: slurm.Cluster, learned: TinyCampaign, tmp_path: Path
) -> None:
    campaign = campaigns.make(tmp_path / "it's here", ["NaCl"], rounds=1)
    campaign.file.with_name("lab.yaml").write_text(SITE)
    command = [*PHASEWALK, "run", str(campaign.file), "--dir", str(campaign.root), "--site", "lab"]
    env = {**campaign.env(), **cluster.env}
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(campaign.root.glob("rounds/*/train/stdout.txt")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert cluster.run("squeue", "--noheader", "--format=%j").startswith("phasewalk-")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    campaigns.assert_same(campaign, learned)
    assert len(set(campaign.paid())) == len(campaign.paid())
    assert not list((campaign.root).glob("rounds/**/*.interrupted-*"))
