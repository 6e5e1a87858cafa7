"""Long runs in the queue of a real Slurm: time limits, killed drivers, a lost node."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import slurm
from helpers.campaigns import PHASEWALK, TinyCampaign
from helpers.produced import assert_continuous
from phasewalk.producing.outputs import last_step

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.timeout(900),
]
LONG = 1_000_000
"""Number of steps that no test waits for."""
EVERY = {"thermo": 50, "dump": 100, "colvar": 20, "hills": 35}
SITE = """\
site: lab
mode: {mode}
poll_s: 1
default: {{partition: cpu, memory_GB: 1.5, time_min: 2}}
segment: {{time_min: 30}}
production: {{{production}}}
"""
SETTINGS = """\
campaign: run
structure: NaCl
supercell: [2, 1, 1]
temperature_K: 20
walkers: 2
length_ps: {length_ps}
thermo_every_steps: 50
dump_every_steps: 100
restart_every_steps: 1000
plumed: |
  d: DISTANCE ATOMS=1,2
  metad: METAD ARG=d SIGMA=0.01 HEIGHT=0.001 PACE=35
  PRINT ARG=d,metad.bias STRIDE=20 FILE=COLVAR
"""


@dataclass
class Run:
    """A production file beside a learned campaign, and `phasewalk produce` on a Slurm."""

    cluster: slurm.Cluster
    folder: Path
    steps: int = LONG

    @property
    def root(self) -> Path:
        return self.folder / "p.production"

    def start(
        self, *words: str, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PHASEWALK, *(words or ("produce", "p.yaml", "--site", "lab"))],
            cwd=self.folder,
            env=environ or {**os.environ, **self.cluster.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def step(self, walker: str = "walker-1") -> int:
        path = self.root / f"{walker}.thermo"
        lines = path.read_text().splitlines() if path.exists() else []
        return int(lines[-1].split()[0]) if lines and lines[-1][:1].isdigit() else 0

    def until(self, happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
        end = time.monotonic() + 300
        while not happened():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.1)

    def lasts(self, steps: int) -> None:
        """Make it so long."""
        self.steps = steps
        (self.folder / "p.yaml").write_text(SETTINGS.format(length_ps=steps * 0.5 / 1000))

    def lasts_a_little(self) -> None:
        """Make it some steps longer than it is."""
        reached = max(self.step("walker-0"), self.step("walker-1"))
        self.lasts(reached // 700 * 700 + 1400)

    def to_end(self) -> str:
        """Go on until these are done."""
        self.lasts_a_little()
        said, _ = self.start().communicate(timeout=600)
        assert f"walker-1: {self.steps} of {self.steps} steps" in said, said
        self.check()
        return said

    def cancel(self) -> str:
        """Stop it softly."""
        said, _ = self.start("cancel", "p.production").communicate(timeout=100)
        assert (self.root / "walker-1.restart.end").exists()
        assert not self.queue()
        return said

    def check(self) -> None:
        for walker, hills in (("walker-0", "metad.hills.0"), ("walker-1", "metad.hills.1")):
            assert_continuous(self.root, walker, hills, steps=self.steps, every=EVERY)

    def queue(self) -> list[list[str]]:
        """Number, state and node of the jobs of the run in the queue."""
        lines = self.cluster.run("squeue", "--noheader", "--format=%i %T %N %j").splitlines()
        return [line.split() for line in lines if "phasewalk-production-" in line]


def made(
    cluster: slurm.Cluster, learned: TinyCampaign, folder: Path, production: str, mode: str = "jobs"
) -> Run:
    """A run, with the settings of its place."""
    folder.mkdir()
    (folder / "run").symlink_to(learned.root)
    (folder / "lab.yaml").write_text(SITE.format(mode=mode, production=production))
    run = Run(cluster, folder)
    run.lasts(LONG)
    return run


@pytest.fixture
def here(cluster: slurm.Cluster, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "it's here"
    cluster.run("scancel", "--user=root")
    cluster.wait_for("idle", *cluster.names)


def test_a_time_limit_in_the_middle(
    cluster: slurm.Cluster, learned: TinyCampaign, here: Path
) -> None:
    """Slurm tells the job 30 s to 60 s after its start that its 2 minutes are nearly over."""
    run = made(cluster, learned, here, "time_min: 2, nodes: 2")
    process = run.start()
    run.until(lambda: run.step() > 0, process)
    ((first, _, nodes, _),) = run.queue()
    assert nodes == "n[2-3]"
    run.until(lambda: [one for one in run.queue() if one[0] != first], process)
    before = run.step()
    run.until(lambda: run.step() > before, process)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the job was stopped before its time was over; the run goes on" in said
    assert f"job {first} runs on n[2-3]" in said
    assert "walker-0 goes on at step " in said
    run.cancel()
    run.to_end()


def test_drivers_are_killed_and_the_job_goes_on_then_its_node_is_lost(
    cluster: slurm.Cluster, learned: TinyCampaign, here: Path
) -> None:
    run = made(cluster, learned, here, "time_min: 20")
    first = run.start()
    run.until(lambda: run.step() > 500, first)
    ((number, state, _, _),) = run.queue()
    assert state == "RUNNING"
    first.kill()
    first.communicate()
    reached = run.step()
    second = run.start()  # it takes the job over, and is stopped by Ctrl-C
    run.until(lambda: run.step() > reached + 500, second)
    assert [one[0] for one in run.queue()] == [number]
    second.send_signal(signal.SIGINT)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 130, said
    assert "an earlier job of this run is taken over" in said
    assert "goes on at step" not in said
    assert "A job in the queue goes on; stop it softly with: phasewalk cancel " in said
    assert [one[:2] for one in run.queue()] == [[number, "RUNNING"]]
    said = run.cancel()
    assert said.startswith(f"job {number} was stopped; "), said
    third = run.start()
    run.until(lambda: run.queue() and run.step() > reached + 1500, third)
    ((number, _, node, _),) = run.queue()
    cluster.lose_node(node)
    run.until(lambda: [one for one in run.queue() if one[0] != number], third)
    cluster.start_node(node)
    before = run.step()
    run.until(lambda: run.step() > before, third)
    third.terminate()
    said, _ = third.communicate(timeout=60)
    assert f"the job was lost with its node ({node}); the run goes on" in said
    run.cancel()
    run.to_end()


def test_the_end_of_an_allocation(
    cluster: slurm.Cluster, learned: TinyCampaign, here: Path
) -> None:
    run = made(cluster, learned, here, "", mode="steps")

    def allocated() -> tuple[int, str]:
        with slurm.allocated(cluster, "-pcpu", "-n2", "--mem=3000", "--time=2") as environ:
            process = run.start(environ=environ)
            said, _ = process.communicate(timeout=200)
        return process.returncode, said

    code, said = allocated()
    assert code == 75, said
    assert "Nothing is lost; continue with: phasewalk produce p.yaml --site lab" in said
    assert "production was not started, since the allocation ends in" in said
    assert last_step(run.root, "walker-0") > run.step("walker-0") - 50  # it was stopped softly
    run.lasts_a_little()
    code, said = allocated()
    assert code == 0, said
    run.check()
