"""Probes run side by side, of the size of real jobs, and what they say is read."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from helpers import fake_engines, probed, slurm
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import SALT, FakeLauncher, write_campaign
from phasewalk.batch import JobsLauncher
from phasewalk.campaign import Campaign, inputs
from phasewalk.cluster import SiteSettings
from phasewalk.engines import Engines, here
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Job
from phasewalk.sites import probe
from phasewalk.sites.probe import Answer, Asked, NoAnswer

WALKERS = probed.asked("segment", "evaluate", mpiexec=("mpiexec",), ranks=3)
LABEL = probed.asked("label", cores=4)


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return inputs.load(write_campaign(tmp_path, SALT))


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    return replace(fake_engines.engines(tmp_path, probed.MACHINE), lmp=Path("/x/lmp"))


def play(job: Job) -> int:
    probed.written(job.directory)
    for rank in range(1, WALKERS.job.ranks if "segment" in job.name else 1):
        place = probed.place("n1" if rank < 2 else "n2", cores=2)
        (job.directory / f"rank-{rank}.json").write_text(json.dumps(asdict(place)))
    return 0


def ask(
    campaign: Campaign, engines: Engines, folder: Path, *asked: Asked, play: Callable[[Job], int]
) -> tuple[list[probe.Probed], FakeSlurm]:
    queue = FakeSlurm(play=play, slots=1, takes=lambda job: 20.0)
    settings = SiteSettings(site="lab")
    found = probe.ask(
        asked,
        campaign,
        engines=engines,
        launcher=JobsLauncher(settings, queue, folder / "slurm", clock=queue, leaves=False),
        near=FakeLauncher(),
        place=folder,
    )
    return found, queue


def test_a_probe_is_of_the_size_of_a_real_job(campaign: Campaign, engines: Engines) -> None:
    made = probe.job(WALKERS, campaign, engines, Path("/p"))
    assert (made.kind, made.ranks, made.mpiexec) == ("segment", 3, ("mpiexec",))
    request = json.loads(made.inputs[probe.REQUEST])
    assert request["programs"] == ["/x/lmp"]
    assert [step["name"] for step in request["steps"]] == list(probe.STEPS[:2])  # no plugin yet
    built = replace(engines, plugin=Path("/x/plugin.so"))
    request = json.loads(probe.job(WALKERS, campaign, built, Path("/p")).inputs[probe.REQUEST])
    assert request["programs"] == ["/x/lmp", "/x/plugin.so"]
    assert [step["name"] for step in request["steps"]] == list(probe.STEPS)
    label = json.loads(probe.job(LABEL, campaign, built, Path("/p")).inputs[probe.REQUEST])
    assert label == {"programs": ["program"], "steps": []}


@pytest.mark.parametrize(
    ("device", "asked", "words"),
    [("cpu", WALKERS, "cpu"), ("cpu", probed.asked("train"), "auto"), ("auto", WALKERS, "auto")],
)
def test_the_tiny_model_is_for_the_device_of_the_campaign(
    tmp_path: Path, engines: Engines, device: str, asked: Asked, words: str
) -> None:
    made = inputs.load(write_campaign(tmp_path, SALT + f"deploy: {{device: {device}}}\n"))
    job = probe.job(asked, made, engines, Path("/p"))
    argv = json.loads(job.inputs[probe.REQUEST])["steps"][1]["argv"]
    assert argv[argv.index("--device") + 1] == words


def test_all_places_are_asked_at_once(campaign: Campaign, engines: Engines, tmp_path: Path) -> None:
    (first, second), queue = ask(campaign, engines, tmp_path, WALKERS, LABEL, play=play)
    assert isinstance(first.found, Answer)
    assert isinstance(second.found, Answer)
    assert queue.sizes == [1, 1]
    assert first.found.hosts == ("n1", "n2")
    assert (first.found.cores, first.found.given, len(first.found.places)) == (4, None, 3)
    assert (second.asked, second.found.hosts) == (LABEL, ("n1",))
    assert first.queued_s is not None


def test_the_time_in_the_queue_is_by_the_clock_here(
    campaign: Campaign, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock there is 50 s ahead, and says that it began 30 s after the submission."""

    def late(job: Job) -> int:
        probed.written(job.directory, started=1080.0, clock_s=50.0)
        return 0

    monkeypatch.setattr(probe.time, "time", lambda: 1000.0)
    (one,), _ = ask(campaign, engines, tmp_path, LABEL, play=late)
    assert one.queued_s == 30.0


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        (None, 1, "probe of label ended with code 1"),
        (None, 0, "probe.json: not the answer of a probe"),
        ("{}", 0, "started is missing"),
    ],
)
def test_a_probe_that_fails(
    campaign: Campaign, engines: Engines, tmp_path: Path, text: str | None, code: int, why: str
) -> None:
    def fail(job: Job) -> int:
        if text is not None:
            (job.directory / "probe.json").write_text(text)
        return code

    (one,), _ = ask(campaign, engines, tmp_path, LABEL, play=fail)
    assert isinstance(one.found, NoAnswer)
    assert why in one.found.why


def test_a_rank_that_says_nothing(campaign: Campaign, engines: Engines, tmp_path: Path) -> None:
    def first(job: Job) -> int:
        probed.written(job.directory)
        return 0

    (one,), _ = ask(campaign, engines, tmp_path, WALKERS, play=first)
    assert isinstance(one.found, NoAnswer)
    assert "not all of its ranks have answered" in one.found.why


def test_a_step_is_asked_and_answered(campaign: Campaign, engines: Engines, tmp_path: Path) -> None:
    """The child itself, in a step of an allocation that is none, and what answers it."""
    label = probed.asked("label", cores=2)
    (one,) = probe.ask(
        [replace(label, job=replace(label.job, argv=("no-such-program",)))],
        campaign,
        engines=engines,
        launcher=slurm.fake_steps(tmp_path),
        near=LocalLauncher(1),
        place=tmp_path / "shared folder",
    )
    assert isinstance(one.found, Answer)
    assert one.found.machine.host == here().host
    assert one.found.missing == ("no-such-program",)
    assert one.found.seen_s is not None
    assert abs(one.found.clock_s or 9.0) < 1.0
    assert one.queued_s is not None
    assert one.queued_s < 5.0
