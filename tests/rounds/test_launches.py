"""A segment of more walkers than fit into one launch: several launches, and the same campaign."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import FakeLauncher, Watcher
from phasewalk.batch import JobsLauncher
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.errors import InputError
from phasewalk.jobs import Event, Finished, Job
from phasewalk.status import history, summary, verifying
from phasewalk.store import directory

LIVE = "    bias_sharing: live\n"


def made(folder: Path, **options: Any) -> FakeCampaign:
    return fake_campaign.make(folder, ["NaCl", "KCl"], rounds=2, walkers=3, bootstrap=4, **options)


def limited(campaign: FakeCampaign, most: int = 4, **options: Any) -> FakeLauncher:
    return FakeLauncher(campaign.programs, walkers=most, **options)


def content(root: Path) -> dict[str, bytes]:
    """What walkers and labels have left."""
    patterns = ("labels/*.json", "bias/*/*.tsv", "bias/*/*/*.hills", "rounds/*/walkers.json")
    endings = ("colvar", "dump", "log", "hills", "hills.1")
    walked = [f"rounds/*/segment/*.{ending}" for ending in endings]
    found = [path for one in (*patterns, *walked) for path in root.glob(one)]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def records(campaign: FakeCampaign) -> dict[str, Any]:
    with closing(directory.open_campaign(campaign.root, campaign.campaign.identity())) as opened:
        return {one.task: (one.stage, one.inputs) for one in opened.records()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> FakeCampaign:
    campaign = made(tmp_path_factory.mktemp("whole") / "campaign")
    campaign.run()
    return campaign


def same(found: FakeCampaign, whole: FakeCampaign) -> None:
    """The same campaign in all that counts, with nothing of its launches left beside it."""
    assert content(found.root) == content(whole.root)
    ours, theirs = records(found), records(whole)
    assert {n: r for n, r in ours.items() if "cache" not in n} == {
        n: r for n, r in theirs.items() if "cache" not in n
    }
    assert not [*found.root.glob("rounds/*/segment.*"), *found.root.glob("rounds/*/.segment*")]
    assert verifying.verify(found.root).passed


def test_frames_and_hills_are_those_of_one_launch(tmp_path: Path, whole: FakeCampaign) -> None:
    found = made(tmp_path / "campaign")
    launcher = limited(found)
    done = found.run(launcher=launcher)
    assert [name for name in done if "segment" in name] == [
        f"segment of round {n}, launch {k} of 2" for n in (1, 2) for k in (1, 2)
    ]
    assert [job.ranks for job in launcher.jobs if job.kind == "segment"] == [3, 3, 3, 3]
    same(found, whole)
    assert (found.root / "rounds/001/segment/launch-2/stdout.txt").is_file()
    assert not history.read(found.root).problems
    cost, all_at_once = (summary.collect(one.root)["cost"] for one in (found, whole))
    assert cost["core_hours"]["segment"] == pytest.approx(all_at_once["core_hours"]["segment"])


def test_what_is_seen_of_the_walkers_is_of_all_launches(tmp_path: Path) -> None:
    found = made(tmp_path / "campaign")
    watcher = Watcher()
    found.run(launcher=limited(found, takes=lambda job: 3.0), watcher=watcher)
    rows = [seen.rows for seen in watcher.seen if len(seen.rows) > 1]
    assert {len(one) for one in rows} == {6}


@dataclass
class Stops(Watcher):
    """Ends phasewalk when so many launches have ended."""

    after: int = 1
    ended: list[str] = field(default_factory=list)

    def see(self, event: Event, *, beside: bool = False) -> None:
        if isinstance(event, Finished) and event.job.kind == "segment":
            self.ended.append(event.job.name)
            if len(self.ended) == self.after:
                raise KeyboardInterrupt


@pytest.mark.parametrize(("most", "after"), [(4, 1), (4, 2), (4, 3), (6, 1), (6, 2)])
def test_a_launch_that_has_ended_is_not_repeated(
    tmp_path: Path, whole: FakeCampaign, most: int, after: int
) -> None:
    """Nor a segment of one; in round 2 METAD has appended to its input."""
    found = made(tmp_path / "campaign")
    with pytest.raises(KeyboardInterrupt):
        found.run(launcher=limited(found, most), watcher=Stops(after=after))
    done = Counter(found.programs.done)
    done.update(
        found.run(launcher=limited(found, most + (most < 6)))
    )  # a larger allocation: as it was begun
    assert [name for name, number in done.items() if number > 1] == []
    same(found, whole)


def test_one_that_was_killed_is_repeated_alone(tmp_path: Path, whole: FakeCampaign) -> None:
    found = made(tmp_path / "campaign")
    started: list[str] = []

    def play(job: Job) -> int:
        started.append(job.name)
        first = started.count(job.name) == 1
        return 137 if first and job.name.endswith("round 1, launch 1 of 2") else found.programs(job)

    found.run(launcher=FakeLauncher(play, walkers=4))
    counts = Counter(name for name in started if "launch" in name)
    assert counts["segment of round 1, launch 1 of 2"] == 2
    assert sum(counts.values()) == 5
    assert content(found.root) == content(whole.root)


def test_walkers_that_share_hills_within_a_round_are_together(tmp_path: Path) -> None:
    found = made(tmp_path / "campaign")
    text = (
        (found.folder / "campaign.yaml").read_text().replace("    plumed", f"{LIVE}    plumed", 1)
    )
    (found.folder / "campaign.yaml").write_text(text)
    launcher = limited(found)
    found.run(launcher=launcher)
    assert [job.ranks for job in launcher.jobs if job.kind == "segment"] == [3, 3, 3, 3]
    few = made(tmp_path / "few")
    (few.folder / "campaign.yaml").write_text(text)
    with pytest.raises(InputError, match="NaCl: its 3 walkers share hills within a round"):
        few.run(launcher=limited(few, 2))


def test_in_the_queue_each_launch_is_a_job(tmp_path: Path, whole: FakeCampaign) -> None:
    """Also after a kill while both are in the queue."""
    found = made(tmp_path / "campaign")
    place = PlaceSettings(time_min=60, walkers=3)
    site = SiteSettings(site="test", max_jobs=4, default=PlaceSettings(time_min=60), segment=place)
    slurm = FakeSlurm(slots=4, play=found.programs)

    def run(watcher: Watcher) -> list[str]:
        folder = found.folder / "slurm"
        return found.run(
            launcher=JobsLauncher(site, slurm, folder, found.folder, clock=slurm), watcher=watcher
        )

    with pytest.raises(KeyboardInterrupt):
        run(Stops(after=1))
    run(Watcher())
    counts = Counter(slurm.started)
    assert sorted(name for name in counts if "segment" in name) == [
        f"segment of round {n}, launch {k} of 2" for n in (1, 2) for k in (1, 2)
    ]
    assert max(counts.values()) == 1
    same(found, whole)
