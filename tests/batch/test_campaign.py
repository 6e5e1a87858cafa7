"""A whole campaign in jobs mode, over a played Slurm: the same results, whatever happens."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_slurm import EPOCH, PARTITION, FakeSlurm
from helpers.fakes import Watcher
from phasewalk import moment
from phasewalk.batch import JobsLauncher
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.jobs import Event
from phasewalk.moment import Now, SiteNow
from phasewalk.onsite import AtSite
from phasewalk.report import page
from phasewalk.status import history, summary
from phasewalk.store import directory

SITE = SiteSettings(site="test", max_jobs=4, default=PlaceSettings(time_min=60), pack_min=10)


@dataclass
class Trouble(Watcher):
    """An observer at whose events something happens."""

    slurm: FakeSlurm = field(default_factory=FakeSlurm)
    rng: random.Random = field(default_factory=random.Random)
    left: int = 0

    def see(self, event: Event, *, beside: bool = False) -> None:
        super().see(event, beside=beside)
        running = self.slurm.running()
        if not self.left or not running or self.rng.random() > 0.2:
            return
        self.left -= 1
        one, what = self.rng.choice(running), self.rng.randrange(5)
        if what == 0:
            self.slurm.lose(one)
        elif what == 1:
            self.slurm.end(one, "NODE_FAIL")
        elif what == 2:
            self.slurm.silent_until = self.slurm.time + 100
        elif what == 3:
            self.slurm.lost_answers += 1
        else:
            raise KeyboardInterrupt


def made(folder: Path) -> FakeCampaign:
    return fake_campaign.make(folder, rounds=2, walkers=3, bootstrap=8)


def results(campaign: FakeCampaign) -> dict[str, Any]:
    """Task → what it came to; and the labels."""
    with closing(directory.open_campaign(campaign.root, campaign.campaign.identity())) as opened:
        records = opened.records()
    shown = {
        record.task: (record.inputs, _timeless(record.outputs))
        for record in records
        if record.task != "name in the cache"  # its own for each campaign
    }
    labels = sorted((campaign.root / "labels").glob("**/*"))
    return {**shown, "labels": sum(path.stat().st_size for path in labels if path.is_file())}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if "seconds" not in k and k != "machine"}
    return value


def launcher(campaign: FakeCampaign, slurm: FakeSlurm) -> JobsLauncher:
    slurm.play = campaign.programs
    slurm.takes = lambda job: 300.0 if job.name.startswith("segment") else 40.0
    return JobsLauncher(SITE, slurm, campaign.root / "slurm", campaign.folder, clock=slurm)


def test_it_is_the_same_campaign(tmp_path: Path) -> None:
    here, queue = made(tmp_path / "here"), made(tmp_path / "queue")
    done = here.run()
    slurm = FakeSlurm(slots=4)
    assert sorted(queue.run(launcher=launcher(queue, slurm))) == sorted(done)
    assert results(queue) == results(here)
    assert not any((queue.root / "slurm").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_it_ends_with_the_same_labels_whatever_happens(tmp_path: Path, seed: int) -> None:
    """Ctrl-C, lost nodes, lost answers, a silent queue: nothing that ended well is done again."""
    here, queue = made(tmp_path / "here"), made(tmp_path / "queue")
    done = here.run()
    slurm, rng = FakeSlurm(slots=4), random.Random(seed)
    trouble = Trouble(slurm=slurm, rng=rng, left=10)
    count: Counter[str] = Counter()
    while True:
        runs = launcher(queue, slurm)  # a new process knows nothing of the one before
        with suppress(KeyboardInterrupt):
            queue.run(launcher=runs, watcher=trouble)
            break
        count.update(queue.programs.done)
    count.update(queue.programs.done)
    assert trouble.left < 5
    assert count == Counter(done)
    assert results(queue) == results(here)


@dataclass
class Shown(Trouble):
    """An observer that shows the campaign to users, and that is stopped once."""

    site: AtSite = field(default_factory=AtSite)
    sites: list[SiteNow] = field(default_factory=list)
    stops: Callable[[SiteNow], bool] = lambda site: False

    def see(self, event: Event, *, beside: bool = False) -> None:
        at = EPOCH + self.slurm.time
        self.site.see(event, at)
        found = self.site.now(at)
        if found is not None:
            self.sites.append(found)
            if self.stops(found):
                raise KeyboardInterrupt


def counts(site: SiteNow) -> dict[str, tuple[int, int]]:
    return {one.kind: (one.queued, one.running) for one in site.work}


def kept(campaign: FakeCampaign, site: SiteNow) -> None:
    """What a run writes, which has ended since."""
    now = Now(0, 2, "label", 0.0, 8.0, "labels", "", 1e9, 1e9, None, 0.0, "", site=site)
    (campaign.root / moment.FILE).write_text(moment.to_text(now))


def test_what_users_see_before_and_after_it_is_stopped(tmp_path: Path) -> None:
    """Jobs in the queue go on: files say what they do, and the journal what all have cost."""
    queue, slurm = made(tmp_path / "queue"), FakeSlurm(slots=2)
    runs = launcher(queue, slurm)
    shown = Shown(slurm=slurm, site=AtSite(root=queue.root))
    shown.stops = lambda site: counts(site).get("label") == (2, 2)
    with pytest.raises(KeyboardInterrupt):
        queue.run(launcher=runs, watcher=shown)
    assert len(slurm.running()) == 2  # nothing was cancelled
    kept(queue, shown.sites[-1])
    state = summary.collect(queue.root)["site"]
    assert [(one["kind"], one["queued"], one["running"]) for one in state["work"]] == [
        ("label", 2, 2)
    ]
    assert state["work"][0]["nodes"] == ["n1"]
    numbers = {one["where"]["number"] for one in state["jobs"]}
    assert numbers == {one.number for one in slurm.jobs.values() if not one.ended}
    slurm.sleep(50.0)  # nobody looks; two labels end, and two others begin
    (label,) = summary.collect(queue.root)["site"]["work"]
    assert (label["queued"], label["running"]) == (0, 2)

    queue.run(launcher=launcher(queue, slurm), watcher=Shown(slurm=slurm, site=shown.site))
    state = summary.collect(queue.root)["site"]
    label = state["work"][0]
    assert (label["queued"], label["running"], label["failed"]) == (0, 0, 0)
    assert label["done"] == sum(name.startswith(("label", "atom")) for name in slurm.started)
    assert label["queue_longest_s"] > 0
    (cpu,) = state["partitions"]
    assert cpu["partition"] == PARTITION
    assert cpu["core_hours"] == pytest.approx(
        sum(summary.collect(queue.root)["cost"]["core_hours"].values()), abs=1e-4
    )
    assert "Cost by partition" in page.page(history.read(queue.root))


def test_a_queue_is_asked_once_a_poll_whatever_is_shown(tmp_path: Path) -> None:
    queue, slurm = made(tmp_path / "queue"), FakeSlurm(slots=4)
    queue.run(launcher=launcher(queue, slurm), watcher=Shown(slurm=slurm))
    assert min(b - a for a, b in pairwise(slurm.asked)) >= SITE.poll_s
