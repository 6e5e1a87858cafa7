"""On a site the directories of finished labels are packed after each round; nothing is lost."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fakes import FakeLauncher
from phasewalk.jobs import Finished, Job
from phasewalk.rounds import rewinding
from phasewalk.status import history, summary, verifying
from phasewalk.store import directory, gathering

WALKERS = 3


class Programs:
    """The fakes, of which one label of round 1 fails; counts labels."""

    def __init__(self, campaign: FakeCampaign) -> None:
        self.campaign, self.failed, self.labels = campaign, "", 0

    def __call__(self, job: Job) -> int:
        self.labels += job.kind == "label"
        if job.kind == "label" and "rounds/001" in str(job.directory) and not self.failed:
            self.failed = job.directory.name
            (job.directory / Finished.STDERR).write_text("no convergence\n")
            return 1
        return self.campaign.programs(job)


def made(folder: Path) -> FakeCampaign:
    return fake_campaign.make(folder, rounds=2, walkers=WALKERS, bootstrap=4)


def run(campaign: FakeCampaign, programs: Any = None, *, here: bool = False) -> None:
    campaign.run(launcher=FakeLauncher(programs or campaign.programs, here=here))


def labels(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "labels").glob("*.json")}


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name.partition("/")[0] for name in opened.namelist()}


def test_finished_labels_are_packed_and_failed_ones_stay(tmp_path: Path) -> None:
    campaign = made(tmp_path / "campaign")
    programs = Programs(campaign)
    run(campaign, programs)
    root = campaign.root
    state = summary.collect(root)
    assert (
        sum(len(names(path)) for path in root.glob("rounds/*/labels.zip"))
        == (state["labels"]["done"])
    )
    assert [path.name for path in root.glob("rounds/*/label/*")] == [f"{programs.failed}.failed-1"]
    (failure,) = state["rounds"][1]["failed_labels"]
    (kept,) = root.glob("rounds/001/label/*")
    assert str(kept) in failure
    assert (kept / Finished.STDERR).read_text() == "no convergence\n"
    assert verifying.verify(root).passed
    assert not history.read(root).problems
    with zipfile.ZipFile(root / "rounds/000/labels.zip") as opened:
        key = sorted(names(root / "rounds/000/labels.zip"))[0]
        assert json.loads(opened.read(f"{key}/request.json"))["frame"]
        assert f"{key}/{Finished.STDOUT}" in opened.namelist()


def test_nothing_is_done_again_also_after_a_rewind(tmp_path: Path) -> None:
    campaign = made(tmp_path / "campaign")
    programs = Programs(campaign)
    programs.failed = "none"
    run(campaign, programs)
    before, paid = labels(campaign.root), programs.labels
    run(campaign, programs)
    rewinding.rewind(campaign.root, 0)
    assert not list(campaign.root.glob("rounds/001*"))
    run(campaign, programs)
    assert (labels(campaign.root), programs.labels) == (before, paid)
    assert verifying.verify(campaign.root).passed


def test_without_a_site_all_directories_stay(tmp_path: Path) -> None:
    near, far = made(tmp_path / "near"), made(tmp_path / "far")
    run(near, here=True)
    run(far)
    assert not list(near.root.glob("rounds/*/labels.zip"))
    assert len(list(near.root.glob("rounds/*/label/*"))) == len(labels(near.root))
    assert labels(near.root) == labels(far.root)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_while_packing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Before the archive is complete, or when half of the directories are deleted."""
    places = [tmp_path / f"run/rounds/001/label/{n}" for n in "abc"]
    store = directory.open_campaign(tmp_path / "run", {"name": "x"})
    for place in places:
        (place / "sub").mkdir(parents=True)
        (place / "sub/out").write_text(place.name * 1000)
        (place / "link").symlink_to("sub/out")
    calls: list[Path] = []

    def dies(path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(path)

    real = shutil.rmtree
    with monkeypatch.context() as patched:
        if when == "after":
            patched.setattr(gathering.shutil, "rmtree", dies)
        else:
            patched.setattr(gathering.os, "fsync", lambda number: 1 / 0)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)):
            gathering.pack(store, "rounds/001/labels.zip", places)
    assert (tmp_path / "run/rounds/001/labels.zip").exists() == (when == "after")
    gathering.pack(store, "rounds/001/labels.zip", [one for one in places if one.is_dir()])
    store.close()
    with zipfile.ZipFile(tmp_path / "run/rounds/001/labels.zip") as opened:
        assert sorted(opened.namelist()) == [f"{n}/sub/out" for n in "abc"]
        assert opened.read("c/sub/out") == b"c" * 1000
    assert [path.name for path in (tmp_path / "run/rounds/001").iterdir()] == ["labels.zip"]
