"""`phasewalk submit` on a real Slurm: it submits itself again, and the results are the same."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import campaigns, slurm
from helpers.campaigns import PHASEWALK, TinyCampaign
from phasewalk.batch import driver

pytestmark = pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite")
NODES = 4
SITE = """\
site: lab
mode: {mode}
poll_s: 1
default: {{partition: cpu, memory_GB: 1.5, time_min: {time_min}}}
segment: {{nodes: 2}}
driver: {{time_min: {driver_min}}}
"""


def phasewalk(
    campaign: TinyCampaign, cluster: slurm.Cluster, *words: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PHASEWALK, *words],
        env={**campaign.env(), **cluster.env},
        capture_output=True,
        text=True,
        timeout=100,
    )


def wait_until(condition: Callable[[], object], within_s: float) -> None:
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.5)


def printed(campaign: TinyCampaign) -> str:
    path = driver.output(campaign.root)
    return path.read_text() if path.exists() else ""


@pytest.mark.timeout(1200)
def test_it_submits_itself_again_until_the_campaign_ends(
    cluster: slurm.Cluster, learned: TinyCampaign, tmp_path: Path
) -> None:
    """Slurm asks the first job to stop 30 s to 90 s after it began, before the campaign ends.

    For that the reference waits until the second job is there.
    """
    campaign = campaigns.make(tmp_path / "it's here", ["NaCl"], rounds=1)
    text = SITE.format(mode="jobs", time_min=15, driver_min=2)
    campaign.file.with_name("lab.yaml").write_text(text)
    hold = campaign.folder / "hold"
    hold.touch()
    asked = ("submit", str(campaign.file), "--dir", str(campaign.root), "--site", "lab")
    first = phasewalk(campaign, cluster, *asked)
    assert first.returncode == 0, first.stderr
    second = phasewalk(campaign, cluster, *asked)
    assert (second.returncode, second.stderr.count("\n")) == (2, 1)
    assert "in the queue for it already" in second.stderr
    wait_until(lambda: "the next job is" in printed(campaign), 300)
    hold.unlink()
    wait_until(lambda: "the campaign has ended" in printed(campaign), 600)
    wait_until(lambda: not cluster.run("squeue", "--noheader", "--format=%j").strip(), 60)
    campaigns.assert_same(campaign, learned)
    assert len(set(campaign.paid())) == len(campaign.paid())


@pytest.mark.timeout(600)
def test_cancel_ends_all_of_it_and_submit_goes_on(cluster: slurm.Cluster, tmp_path: Path) -> None:
    campaign = campaigns.make(tmp_path / "c", ["NaCl"], rounds=1)
    text = SITE.format(mode="jobs", time_min=15, driver_min=60)
    campaign.file.with_name("lab.yaml").write_text(text)
    wrapper = campaign.folder / "reference.py"
    wrapper.write_text("import time\ntime.sleep(1000)\n" + wrapper.read_text())
    asked = ("submit", str(campaign.file), "--dir", str(campaign.root), "--site", "lab")
    assert phasewalk(campaign, cluster, *asked).returncode == 0
    wait_until(lambda: len(cluster.run("squeue", "--noheader").splitlines()) > 2, 120)
    done = phasewalk(campaign, cluster, "cancel", str(campaign.root))
    assert done.returncode == 0, done.stderr
    assert "cancelled: phasewalk itself (job " in done.stdout
    assert " and 0 other" not in done.stdout
    wait_until(lambda: not cluster.run("squeue", "--noheader").strip(), 60)
    time.sleep(3)
    assert not cluster.run("squeue", "--noheader").strip()  # nothing was submitted again
    assert "submitted again" not in printed(campaign).replace("not submitted again", "")
