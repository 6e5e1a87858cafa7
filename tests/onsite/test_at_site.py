"""What a campaign does on a site: by events, and by its files after its run has ended."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from phasewalk.jobs import ENDED, Finished, Job, Kind, Queued, Running, Started
from phasewalk.moment import JobNow, Now, SiteNow, WorkNow, to_text
from phasewalk.onsite import at_site, site_view
from phasewalk.onsite.at_site import AtSite
from phasewalk.store.records import Record
from phasewalk.where import MARK, Pool, Where, to_json

T = 1e9
ROOT = Path("/camp")


def job(number: int, kind: Kind = "label", cores: int = 2) -> Job:
    return Job(f"{kind}-{number}", ("x",), ROOT / f"rounds/000/{kind}/{number}", kind, ranks=cores)


def queue(kind: str = "label", started: float | None = None, **changes: object) -> Where:
    nodes = "" if started is None else "n1"
    where = Where(kind, "cpu", "7", nodes, 2, 0, T, started)
    return replace(where, **changes)  # type: ignore[arg-type]


def works(site: SiteNow | None) -> dict[str, WorkNow]:
    assert site is not None
    return {one.kind: one for one in site.work}


def test_without_a_site_there_is_nothing() -> None:
    seen = AtSite(root=ROOT)
    seen.see(Queued(job(0), 1.0), T)
    seen.see(Started(job(0)), T)
    assert seen.now(T) is None
    assert not seen


def test_jobs_by_kind_of_work() -> None:
    done = Record("label a", "label", 0, "", {}, 3600.0, T, 2, to_json(queue(started=T + 60)))
    seen = AtSite(lambda count: [done][count:], ROOT)
    seen.see(Queued(job(0), 0.0, "", queue()), T)
    seen.see(Queued(job(0), 1850.0, "Priority", queue()), T + 1850)
    seen.see(Queued(job(1), 1800.0, "", queue(submitted=T + 50)), T + 1850)
    seen.see(Queued(job(2), 30.0, "", queue()), T + 30)
    seen.see(Running(job(2), 1800.0, queue(started=T + 60)), T + 1860)
    seen.see(Running(job(3, "train"), 1800.0, queue("train", T + 60, gpus=1)), T + 1860)
    seen.see(Started(job(4), queue(started=T)), T)
    seen.see(Finished(job(4), 0, 5.0, where=queue(started=T)), T + 5)
    found = works(seen.now(T + 1860))
    assert list(found) == ["label", "train"]
    assert found["label"] == WorkNow(
        kind="label",
        queued=2,
        running=1,
        done=1,
        failed=0,
        waits_s=1860.0,
        why="Priority",
        nodes=("n1",),
        queue_mean_s=60.0,
        queue_longest_s=60.0,
        core_hours=2.0 + 2 * 0.5,
        gpu_hours=0.0,
    )
    assert (found["train"].running, found["train"].gpu_hours) == (1, 0.5)
    assert (found["train"].queue_mean_s, found["train"].waits_s) == (None, None)


def test_a_job_that_slurm_puts_back_waits_again() -> None:
    seen = AtSite(root=ROOT)
    seen.see(Running(job(0), 5.0, queue(started=T)), T + 5)
    seen.see(Queued(job(0), 0.0, "BeginTime", queue(submitted=T + 9)), T + 10)
    found = works(seen.now(T + 19))["label"]
    assert (found.queued, found.running, found.waits_s) == (1, 0, 10.0)


def test_a_cancelled_job_is_forgotten_since_it_has_no_more_events() -> None:
    seen = AtSite(root=ROOT)
    seen.see(Queued(job(0), 0.0, "", queue()), T)
    assert seen.now(T + at_site.LATE_S - 1) is not None
    assert seen.now(T + at_site.LATE_S + 1) is None


def test_the_idle_share_of_an_allocation_that_runs() -> None:
    pool = Pool("5", 2, 8, 2, began=T, ends_at=T + 4000)
    step = Where("label", "cpu", "5", "n1", 4, 0, None, T + 500, pool)
    done = Record("label a", "label", 0, "", {}, 500.0, T + 1000, 4, to_json(step))
    seen = AtSite(lambda count: [done][count:], ROOT)
    now = replace(step, kind="train", nodes="n2", cores=8, gpus=1, started=T + 1000)
    seen.see(Started(job(1, "train"), now), T + 1000)
    seen.see(Running(job(1, "train"), 990.0, now), T + 1990)
    found = seen.now(T + 2000)
    assert found is not None
    assert found.idle_share == pytest.approx(1 - (4 * 500 + 8 * 1000) / 16000)
    assert found.gpu_idle_share == 0.75
    assert site_view.ends(found, T + 2000) == [
        "allocation 5: 2 node(s), 8 cores, 2 GPUs; 38 % of the cores' time idle, 75 % of the "
        f"GPUs'; ends {site_view.moment(T + 4000, T + 2000)}"
    ]
    assert site_view.moment(T + 4000, T + 2000).endswith("(in 33 min 20 s)")


def test_after_a_kill_the_files_say_what_has_become_of_each_job(tmp_path: Path) -> None:
    names = ("waits", "runs", "ended", "cancelled", "was seen running")
    listed = [
        JobNow(name, name == "was seen running", f"jobs/{name}", T, "Priority", queue())
        for name in names
    ]
    step = replace(listed[0], name="step", place="jobs/step", where=Where("label", pool=Pool("5")))
    for one in (*listed, step):
        (tmp_path / one.place).mkdir(parents=True)
        (tmp_path / one.place / MARK).write_text("{}")
    (tmp_path / "jobs/runs" / Finished.STDOUT).touch()
    (tmp_path / "jobs/ended" / ENDED).touch()
    (tmp_path / "jobs/cancelled" / MARK).unlink()
    site = SiteNow(T, jobs=(*listed, step))
    now = Now(1, 2, "label", 0.0, 9.0, "labels", "", T, T, None, 0.0, "", site=site)
    (tmp_path / "now.json").write_text(to_text(now))
    state = at_site.collect(tmp_path, [], None, T + 7200)
    assert state is not None
    assert json.loads(json.dumps(state)) == json.loads(json.dumps(state))
    (label,) = state["work"]
    assert (label["queued"], label["running"], label["why"]) == (1, 2, "Priority")
    assert sorted(one["name"] for one in state["jobs"]) == ["runs", "waits", "was seen running"]
    assert state["at"] == T

    console = Console(file=io.StringIO(), width=120)
    site_view.show({"site": state, "running": False, "directory": "my run"}, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "phasewalk does not run, but 3 job(s) that it left in the queue" in text
    assert "phasewalk cancel 'my run'" in text


def test_what_is_shown() -> None:
    label = WorkNow("label", 3, 2, 10, 1, 740.0, "Priority", tuple("abcdef"), 65.0, 300.0, 12.345)
    train = WorkNow("train", 0, 1, 1, nodes=("g1",), core_hours=1.0, gpu_hours=0.5)
    site = SiteNow(T, (label, train), ends=T + 3600)
    console = Console(file=io.StringIO(), width=120)
    console.print(site_view.render(site, T))
    assert isinstance(console.file, io.StringIO)
    head, *rows, end = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert head == (
        "work queued running done failed waits now queue, mean longest nodes core-h GPU-h"
    )
    assert rows == [
        "label 3 2 10 1 12 min 20 s (Priority) 1 min 05 s 5 min 00 s a b c d and 2 more 12.3",
        "train 0 1 1 g1 1 0.5",
    ]
    assert end.startswith("expected end of the campaign: ")
    assert end.endswith("(in 1 h 00 min), if its rounds take as long as the last ones")
    assert site_view.lines(site, T)[0] == (
        "  label: 3 queued, 2 running, 10 done, 1 failed; waits now 12 min 20 s (Priority); "
        "queue, mean 1 min 05 s; longest 5 min 00 s; nodes a b c d and 2 more; core-h 12.3"
    )
    lost = site_view.lines(SiteNow(T, (replace(train, lost=4),)), T)
    assert lost == [
        "  train: 0 queued, 1 running, 1 done, 4 × lost and started again; nodes g1; core-h 1; "
        "GPU-h 0.5"
    ]
    assert site_view.brief(site) == "running: 2 label, 1 train; queued: 3 label"
    assert site_view.brief(None) == site_view.brief(SiteNow(T)) == ""
