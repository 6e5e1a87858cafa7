"""`phasewalk check --site`: nothing is started if it could not work, and nothing is left behind."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from helpers import fake_engines, probed, slurm
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import SALT, write_campaign
from phasewalk import batch, engines
from phasewalk.batch import JobsLauncher
from phasewalk.checks import check as checks
from phasewalk.cluster import SiteSettings, launching
from phasewalk.cluster.nodes import Node
from phasewalk.commands import site_check
from phasewalk.engines import plugin
from phasewalk.errors import EngineFailed
from phasewalk.jobs import Finished, Job, Queued, Running, Started

Run = Callable[..., tuple[int, str, str]]
PLAIN = SALT[: SALT.index("    plumed:")] + "deploy: {mode: torchscript}\n"
SITE = "site: lab\nmode: jobs\npoll_s: 5\nsegment: {partition: fast}\n"


@dataclass
class Lab:
    """A campaign beside a site file, and the queue of this site."""

    folder: Path
    campaign: Path
    queue: FakeSlurm

    def site(self, text: str) -> None:
        self.campaign.with_name("lab.yaml").write_text(text)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """One batch job runs at a time, for 20 s, so that the others wait."""
    folder = tmp_path / "here"
    folder.mkdir()
    queue = FakeSlurm(slots=1, takes=lambda job: 20.0, play=look)

    def launcher(site: SiteSettings, beside: Path, environ: object) -> JobsLauncher:
        return JobsLauncher(site, queue, beside / "phasewalk-slurm", beside, clock=queue)

    found = replace(fake_engines.engines(tmp_path, probed.MACHINE), lmp=Path("/x/lmp"))
    monkeypatch.setattr(batch, "jobs_launcher", launcher)
    monkeypatch.setattr(engines, "find", lambda *_: found)
    monkeypatch.setattr(plugin, "ensure", lambda given, *_: given)
    made = Lab(folder, write_campaign(folder, PLAIN), queue)
    made.site(SITE)
    return made


def look(job: Job) -> int:
    probed.written(job.directory)
    (job.directory / "rank-1.json").write_text(probed.rank())
    return 0


@pytest.fixture
def other_checks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The checks after the table, which have tests of their own: what they are given."""
    given: list[object] = []

    def check(*arguments: object) -> list[checks.Row]:
        given.extend(arguments)
        return [checks.Row("reference", "ok", "a label")]

    monkeypatch.setattr(checks, "check", check)
    return given


def test_each_kind_is_looked_at_and_then_the_rest(
    run: Run, lab: Lab, other_checks: list[object]
) -> None:
    code, out, err = run("check", lab.campaign, "--site", "lab")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["time in queue", "host", "cores"]
    assert re.split(r" {2,}", lines[0].strip()) == ["label, train, compile, evaluate", "segment"]
    assert lines[-1] == f"ok      {'reference':<23} a label"
    assert lab.queue.started == ["probe of label, train, compile, evaluate", "probe of segment"]
    assert "segment: queued 5 s (Priority)\n" in err
    assert "--time=20\n" in next(iter(lab.queue.jobs.values())).text  # of the probes alone
    assert other_checks[1].launcher.site.place("label").time_min is None  # type: ignore[attr-defined]
    assert lab.files() == ["campaign.yaml", "lab.yaml", "salt.extxyz"]


def test_what_is_wrong_ends_it_after_the_table(
    run: Run, lab: Lab, other_checks: list[object]
) -> None:
    lab.queue.play = lambda job: look(job) if "segment" in job.name else 1
    code, out, err = run("check", lab.campaign, "--site", "lab")
    assert code == 2
    assert "wrong   label, train, compile, evaluate probe of label, train, compile, evaluate" in out
    assert err.splitlines()[-1].startswith("phasewalk: the campaign cannot run at this site yet")
    assert other_checks == []
    assert lab.files() == ["campaign.yaml", "lab.yaml", "salt.extxyz"]


@pytest.mark.parametrize(
    ("campaign", "site", "words"),
    [
        (PLAIN.replace("npt", "npq"), SITE, "systems.salt.ensemble"),
        (PLAIN, SITE + "train: {gpu: 1}\n", "train.gpu: unknown key"),
        (PLAIN, SITE + "train: {partition: nowhere}\n", "train "),
        (PLAIN, SITE + "train: {options: [exclusive]}\n", "'exclusive' is not an option of sbatch"),
        (PLAIN + "deploy: {device: cuda}\n", SITE, "the site file gives segment no GPU"),
        (SALT, SITE, "PLUMED"),
    ],
)
def test_if_anything_is_wrong_no_job_is_submitted(
    run: Run, lab: Lab, campaign: str, site: str, words: str
) -> None:
    lab.campaign.write_text(campaign.replace("deploy: {mode: torchscript}\ndeploy", "deploy"))
    lab.site(site)
    code, out, err = run("check", lab.campaign, "--site", "lab")
    assert (code, err.count("\n")) == (2, 1)
    assert words in out + err
    assert lab.queue.accepted == 0
    assert lab.files() == ["campaign.yaml", "lab.yaml", "salt.extxyz"]


def test_what_an_allocation_is_too_small_for(
    run: Run, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = slurm.fake_steps(tmp_path, Node("n1", 2), text="train: {memory_GB: 9, gpus: 1}")
    monkeypatch.setattr(launching, "launcher", lambda *_, **__: made)
    lab.site("site: lab\nmode: steps\n")
    lab.campaign.write_text(PLAIN + "reference: {cores_per_label: 4}\n")
    code, out, err = run("check", lab.campaign, "--site", "lab")
    assert (code, err.count("\n")) == (2, 1)
    assert [line[:31].rstrip() for line in out.splitlines()] == ["wrong   label", "wrong   train"]
    assert "label needs 4 cores on one node (label in the site file), but the allocation" in out
    assert not (tmp_path / "srun.jsonl").exists()


def test_ctrl_c_takes_the_probes_out_of_the_queue(
    run: Run, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = lab.queue.sleep

    def interrupted(seconds: float) -> None:
        sleep(seconds)
        if lab.queue.time >= 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(lab.queue, "sleep", interrupted)
    code, out, err = run("check", lab.campaign, "--site", "lab")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "phasewalk: stopped; all jobs of the check were cancelled"
    assert [one.state for one in lab.queue.jobs.values()] == ["CANCELLED", "CANCELLED"]
    assert lab.files() == ["campaign.yaml", "lab.yaml", "salt.extxyz"]


def test_a_plugin_that_cannot_be_built_is_a_row(
    run: Run, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places are looked at all the same."""

    def fail(*_: object) -> None:
        raise EngineFailed("building the plugin failed (compile): pair.cpp:1: error: no")

    monkeypatch.setattr(plugin, "ensure", fail)
    code, out, _ = run("check", lab.campaign, "--site", "lab")
    assert code == 2
    assert f"wrong   {'plugin':<23} building the plugin failed" in out
    assert len(lab.queue.started) == 2


def test_lines_for_those_that_wait_are_few(tmp_path: Path) -> None:
    """One after some seconds, then one every half a minute; the rest is for a terminal."""
    console = Console(record=True, width=200)
    time = [0.0]
    job = Job("probe of label", ("x",), tmp_path)
    with console.status("") as status:
        shown = site_check.Shown(status, console, lambda: time[0])
        for second in range(66):
            time[0] = float(second)
            shown.see(Queued(job, float(second), "Priority"))
        assert "label: queued 65 s (Priority)" in str(status.status)
        shown.see(Started(job))
        shown.see(Running(job, 3.0))
        assert "label: running 3 s" in str(status.status)
        shown.see(Finished(job, 0, 4.0))
        assert "label" not in str(status.status)
    lines = [line for line in console.export_text().splitlines() if "queued" in line]
    assert lines == [f"label: queued {n} s (Priority)" for n in (5, 35, 65)]
