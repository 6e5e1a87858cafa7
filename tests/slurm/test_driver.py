"""The job of phasewalk itself on a real Slurm: its signals, and who submits it again."""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import slurm
from phasewalk.batch import Slurm, SystemClock, driver
from phasewalk.cluster import SiteSettings
from phasewalk.settings_files import parse
from phasewalk.store import JOURNAL, LOCK

WAITS = "trap 'echo stopped; exit 130' TERM; echo started; while true; do sleep 0.1; done"


@pytest.fixture
def queue(cluster: slurm.Cluster) -> Slurm:
    return Slurm({**os.environ, **cluster.env})


def made(root: Path, command: str, minutes: int = 60, mode: str = "jobs") -> driver.Driver:
    argv = ("bash", "-c", command)
    text = f"site: lab\nmode: {mode}\ndefault: {{partition: cpu, time_min: {minutes}}}"
    root.mkdir(parents=True)
    return driver.Driver(root, parse(text, "lab", SiteSettings), argv, LOCK, JOURNAL)


def wait_for(condition: Callable[[], object], within_s: float = 60) -> None:
    limit = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.3)


def printed(own: driver.Driver) -> str:
    path = driver.output(own.root)
    return path.read_text() if path.exists() else ""


def test_before_its_time_limit_it_stops_and_submits_itself_again(
    queue: Slurm, tmp_path: Path
) -> None:
    root = tmp_path / "it's here" / "c.run"
    mark = shlex.quote(str(root / "second"))
    own = made(root, f"test -e {mark} && exit 0; touch {mark}; {WAITS}", minutes=2)
    own.submit(queue)
    wait_for(lambda: "the campaign has ended" in printed(own), 180)
    text = printed(own)
    assert text.index("stopped") < text.index("submitted again") < text.index("the next job is")
    wait_for(lambda: not driver.in_queue(root, queue))


def test_one_that_is_cancelled_by_hand_is_not_submitted_again(queue: Slurm, tmp_path: Path) -> None:
    own = made(tmp_path / "c.run", WAITS)
    number = own.submit(queue)
    wait_for(lambda: "started" in printed(own))
    queue.cancel([number])
    wait_for(lambda: not driver.in_queue(own.root, queue))
    assert "stopped" in printed(own)
    assert "the next job is" not in printed(own)


def test_cancel_ends_it(queue: Slurm, tmp_path: Path) -> None:
    own = made(tmp_path / "c.run", WAITS, mode="steps")
    number = own.submit(queue)
    wait_for(lambda: "started" in printed(own))
    done = driver.cancel(own.root, queue, SystemClock())
    assert (done.driver, done.jobs) == ([number], [])
    assert not driver.in_queue(own.root, queue)


def test_on_a_lost_node_it_is_started_again_elsewhere(
    queue: Slurm, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    root = tmp_path / "c.run"
    own = made(root, f"echo $SLURMD_NODENAME >> {shlex.quote(str(root / 'on'))}; {WAITS}")
    number = own.submit(queue)
    wait_for(lambda: "started" in printed(own))
    lost = (root / "on").read_text().split()[0]
    cluster.lose_node(lost)
    wait_for(lambda: queue.states()[number].waits)
    cluster.run("scontrol", "update", f"jobid={number}", "StartTime=now")  # not in two minutes
    wait_for(lambda: len((root / "on").read_text().split()) == 2)
    driver.cancel(root, queue, SystemClock())
    cluster.start_node(lost)
