"""A walker that has ended does not wait for the others with its label; nothing else changes."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from helpers.fakes import ROOT, FakeLauncher, Watcher, crystal, label, write_campaign
from phasewalk.bias import Frame
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Outputs, Task, Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.jobs import Finished, Job, Started
from phasewalk.labelling import label as labelling
from phasewalk.labels.label import Label
from phasewalk.rounds import explore, proposals
from phasewalk.rounds.launches import Walk
from phasewalk.store import directory as store
from phasewalk.store.records_outputs import Segment
from phasewalk.walkers import outcomes
from phasewalk.walkers.limits import BONDS
from phasewalk.walkers.logs import Stop
from phasewalk.walkers.near_frames import NearFrames
from phasewalk.walkers.segment import SegmentPlan, SegmentResult, Walker, WalkerResult

RECORDED = ROOT / "tests/data/segment"
CAMPAIGN = """\
campaign: argon
systems:
  ar: {structure: ar.extxyz, walkers: 2, ensemble: npt, temperature_K: 40}
segment: {steps: 110, timestep_fs: 2, dump_every_steps: 20, thermo_every_steps: 20}
candidates: {min_distance_fraction: 0.1}
"""
ARGON = bulk("Ar", "fcc", a=5.4) * (2, 2, 2)


def write(directory: Path, *walkers: str) -> None:
    """What these walkers leave when they have ended."""
    for walker in walkers:
        for ending in ("log", "dump"):
            shutil.copy(RECORDED / f"{walker}.{ending}", directory)


@dataclass
class Story:
    """A segment of two walkers and their labels, with programs that last as long as they should.

    Attributes:
        first: seconds until the first walker has ended; the segment takes 10.
        label: seconds of a label.
    """

    work: Work
    first: float = 2.0
    label: float = 3.0
    code: int = 0

    def __post_init__(self) -> None:
        launcher = self.launcher
        launcher.takes, launcher.watch, launcher.play = self.takes, self.watch, self.play

    @property
    def launcher(self) -> FakeLauncher:
        assert isinstance(self.work.launcher, FakeLauncher)
        return self.work.launcher

    def takes(self, job: Job) -> float:
        return 10.0 if job.kind == "segment" else self.label

    def watch(self, job: Job, seconds: float) -> None:
        if job.kind == "segment" and seconds >= self.first:
            write(job.directory, "ar-0")

    def play(self, job: Job) -> int:
        if job.kind == "segment":
            write(job.directory, "ar-0", "ar-1")
            return 0
        made = label(crystal())
        answer = {
            "energy_eV": -float(len(job.inputs["request.json"])),
            "forces_eV_per_A": made.forces.tolist(),
            "stress_eV_per_A3": made.stress.tolist(),
            "seconds": 0.1,
        }
        (job.directory / "result.json").write_text(json.dumps(answer))
        return self.code

    @property
    def plan(self) -> SegmentPlan:
        settings = self.work.campaign.settings
        return SegmentPlan(
            round=1,
            generation=0,
            walkers=tuple(Walker(f"ar-{n}", "ar", n, ARGON, 110) for n in range(2)),
            systems=settings.systems,
            settings=settings.segment,
            histories={},
            model=Path("model.nequip.pth"),
            type_names=("Ar",),
            seed=1,
            guards=self.work.guards,
        )

    def segment(self, *, ahead: bool, known: Sequence[Label] = ()) -> None:
        plan, work = self.plan, self.work
        task = Task(
            name="segment 1",
            stage="segment",
            round=1,
            inputs="1",
            place="rounds/001/segment",
            job=lambda directory: Job("segment", ("lmp",), directory, "segment", ranks=2),
            read=lambda ended: read(outcomes.read(ended, plan), ended.directory),
        )

        def read(result: SegmentResult, directory: Path) -> Outputs:
            return explore._read_segment(work, plan, result, directory)

        seen = NearFrames.of(one.atoms for one in known)
        early = proposals.Early.of(work, plan, seen) if ahead else None
        explore._walk(work, Walk(task, plan, lambda: plan, (plan,), read), early)

    def labels(self, known: Sequence[Label] = ()) -> list[Label]:
        seen = NearFrames.of(one.atoms for one in known)
        found = proposals.proposals(self.work, 1, seen)
        return labelling.label_proposals(self.work, 1, found)

    def seen(self, kind: type) -> list[str]:
        assert isinstance(self.work.observer, Watcher)
        return [e.job.kind for e in self.work.observer.events if isinstance(e, kind)]


Make = Callable[..., Story]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[Work] = []

    def story(name: str = "one", **options: Any) -> Story:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        path = write_campaign(folder, CAMPAIGN, {"ar": ARGON})
        campaign = inputs.load(path)
        found = discovery.find(EngineSettings(), {"PHASEWALK_CACHE": str(folder / "cache")})
        kept = store.open_campaign(folder / "run", campaign.identity())
        opened.append(Work(campaign, kept, FakeLauncher(), found, Watcher()))
        return Story(opened[-1], **options)

    yield story
    for work in opened:
        work.store.close()


def test_a_label_starts_when_its_own_walker_has_ended(make: Make) -> None:
    story = make()
    story.segment(ahead=True)
    assert story.seen(Started) == ["segment", "label"]
    assert story.seen(Finished) == ["label", "segment"]
    (record,) = story.work.store.records()
    assert (record.task, record.of(Segment).guarded) == ("segment 1", ["ar"])
    made = story.labels()
    assert [one.origin["walker"] for one in made] == ["ar-0", "ar-1"]
    assert story.seen(Started) == ["segment", "label", "label"]  # none twice
    assert story.work.under_way._session is None


@pytest.mark.parametrize("seconds", [1.0, 3.0, 30.0])
def test_labels_and_journal_are_those_of_a_campaign_that_waits(make: Make, seconds: float) -> None:
    """Also if a label that began ahead ends after all that began later."""
    found = []
    for name in ("ahead", "waits"):
        story = make(name, label=seconds)
        story.segment(ahead=name == "ahead")
        made = story.labels()
        records = [
            (r.task, r.stage, r.inputs, {k: v for k, v in r.outputs.items() if k != "files"})
            for r in story.work.store.records()
        ]
        found.append(
            ([(one.key, one.energy, dict(one.origin)) for one in made], sorted(records, key=str))
        )
    assert found[0] == found[1]


def test_a_label_ahead_that_fails_is_no_secret(make: Make) -> None:
    story = make(code=1)
    story.segment(ahead=True)
    assert story.labels() == []
    failed = [r.task for r in story.work.store.records() if "failed" in r.outputs]
    assert len(failed) == 6  # three frames of each walker
    assert story.seen(Started).count("label") == 6


def test_a_frame_that_is_known_is_not_started(make: Make) -> None:
    first = make("first")
    first.segment(ahead=True)
    known = first.labels()
    second = make("second")
    second.segment(ahead=True, known=known)
    assert second.seen(Started) == ["segment"]


def test_what_was_started_for_nothing_is_stopped(make: Make) -> None:
    """The frame turned out to be redundant, or the segment was walked again."""
    story = make(label=60.0)
    story.segment(ahead=True)
    assert labelling.label_proposals(story.work, 1, []) == []
    assert [job.kind for job in story.launcher.stopped] == ["label"]
    assert story.work.under_way._session is None


def test_a_kill_during_the_segment_loses_no_label_that_was_ready(make: Make) -> None:
    story = make()
    play = story.play

    def killed(job: Job) -> int:
        if job.kind == "segment":
            raise KeyboardInterrupt
        return play(job)

    story.launcher.play = killed
    with pytest.raises(KeyboardInterrupt):
        story.segment(ahead=True)
    story.work.store.close()
    again = make()  # the same directory
    again.segment(ahead=True)
    assert len(again.labels()) == 2
    assert again.seen(Started) == ["segment", "label"]  # the other walker's


def test_a_walker_whose_files_are_not_whole_waits(make: Make) -> None:
    story = make()

    def half(job: Job, seconds: float) -> None:
        if job.kind == "segment":
            write(job.directory, "ar-0")
            dump = job.directory / "ar-0.dump"
            dump.write_bytes(dump.read_bytes()[:-400])

    story.launcher.watch = half
    story.segment(ahead=True)
    assert story.seen(Started) == ["segment"]


def test_while_all_cores_are_busy_nothing_starts_ahead(make: Make) -> None:
    """Two cores, and each walker has one: the label gets the core of the one that has ended."""
    story = make(label=4.0)
    launcher = replace(story.launcher, cores=1)
    story = Story(replace(story.work, launcher=launcher))
    story.segment(ahead=True)
    assert story.seen(Started) == ["segment"]
    with closing(story.work.store):
        assert len(story.labels()) == 2


@pytest.mark.parametrize(
    ("reason", "steps"),
    [("walltime", [150, 170, 180, 190, 200, 210]), ("force", [150, 170, 180, 190, 200])]
    + [(reason, [150, 170, 180, 190]) for reason in BONDS],
)
def test_frames_of_a_change_of_bonds_are_no_candidates(
    make: Make, reason: str, steps: list[int]
) -> None:
    """It lasted for 10 steps before the stop, and the 10 before it began are not used either."""
    plan = make().plan
    frames = tuple(Frame(step, ARGON) for step in (110, 150, 170, 180, 190, 200, 210))
    stop = Stop(210, reason, 3.0, 2.0, 180)
    outcome = WalkerResult(
        id="ar-0", system="ar", frames=frames, last_step=210, steps_done=100, halted="so",
        stop=stop, new_hills=(), headers={}, colvars=(), thermo={}, seconds=1.0,
        broke=reason != "walltime",
    )  # fmt: skip
    assert [step for step, _ in proposals._usable(plan, plan.walkers[0], outcome)] == steps
