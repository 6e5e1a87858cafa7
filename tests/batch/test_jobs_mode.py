"""Jobs mode over a played Slurm: what may happen to jobs, and to the driver."""

import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.fake_slurm import FakeSlurm, Played
from phasewalk import jobs
from phasewalk.batch import JobsLauncher, Refused, cancel_all
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.errors import EngineFailed
from phasewalk.files import set_aside
from phasewalk.jobs import Event, Finished, Job, Kind, Queued, Running, Session, Started

PLACE = PlaceSettings(time_min=10)
SETTINGS = SiteSettings(site="test", max_jobs=3, default=PLACE, pack_min=0)


@dataclass
class Site:
    """A site with a played Slurm, and what has become of its jobs."""

    folder: Path
    slurm: FakeSlurm = field(default_factory=FakeSlurm)
    settings: SiteSettings = SETTINGS
    played: Counter[str] = field(default_factory=Counter)
    seen: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slurm.play = self.play

    def play(self, job: Job) -> int:
        self.played[job.name] += 1
        (job.directory / "out").write_bytes((job.directory / "in").read_bytes())
        return 0

    @property
    def launcher(self) -> JobsLauncher:
        return JobsLauncher(self.settings, self.slurm, self.folder / "slurm", clock=self.slurm)

    def job(self, name: str, kind: Kind = "label") -> Job:
        place = self.folder / "work" / name
        return Job(name, ("prog", name), place, kind, inputs={"in": name.encode()})

    def run(
        self,
        names: list[str],
        during: Callable[[Event], None] = lambda event: None,
        session: Session | None = None,
    ) -> dict[str, Finished]:
        """Run jobs; those of an earlier process are taken over, as a campaign does."""
        found: dict[str, Finished] = {}
        with closing(session or self.launcher.session()) as session:
            for name in names:
                job = self.job(name)
                if (done := jobs.done_before(job)) is not None:
                    found[name] = done
                    continue
                if not (job.directory.exists() and session.resume(job)):
                    set_aside(job.directory, "interrupted")
                    session.add(job)
            for event in session.events():
                self.seen.append(event)
                if isinstance(event, Finished):
                    assert event.job.name not in found
                    found[event.job.name] = event
                during(event)
        return found

    def killed(self, names: list[str], when: Callable[[Event], bool]) -> None:
        """Run jobs with a driver that is killed: nothing is closed."""
        session = self.launcher.session()
        for name in names:
            session.add(self.job(name))
        next(event for event in session.events() if when(event))

    def started(self, names: list[str]) -> dict[str, int]:
        count = Counter(self.slurm.started)
        return {name: count[name] for name in names}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def once(action: Callable[[Played], None], site: Site) -> Callable[[Event], None]:
    """Something that happens to the first batch job when its job has been seen to run."""
    done: list[bool] = []

    def during(event: Event) -> None:
        if isinstance(event, Running | Started) and site.slurm.running() and not done:
            done.append(True)
            action(site.slurm.running()[0])

    return during


def test_all_go_well(site: Site) -> None:
    names = [f"label-{i}" for i in range(7)]
    found = site.run(names)
    assert {name: end.returncode for name, end in found.items()} == dict.fromkeys(names, 0)
    assert site.started(names) == dict.fromkeys(names, 1)
    assert list((site.folder / "slurm").iterdir()) == []  # nothing is left of what went well
    assert sorted(path.name for path in site.job("label-0").directory.iterdir()) == [
        *("finished.json", "in", "out", "slurm.json", "stderr.txt", "stdout.txt"),
    ]


def test_the_queue_holds_no_more_than_allowed_and_is_asked_seldom(site: Site) -> None:
    site.slurm.takes = lambda job: 100.0
    most: list[int] = []

    def during(event: Event) -> None:
        most.append(sum(not one.ended for one in site.slurm.jobs.values()))

    site.run([f"label-{i}" for i in range(9)], during)
    assert max(most) == 3
    asked = site.slurm.asked
    assert min(b - a for a, b in pairwise(asked)) >= 15
    assert len(asked) < 60


def test_there_is_a_sign_of_life_while_everything_waits(site: Site) -> None:
    site.settings = site.settings.model_copy(update={"poll_s": 300.0})
    site.slurm.slots = 0
    times: list[float] = []

    def during(event: Event) -> None:
        assert isinstance(event, Queued)
        times.append(site.slurm.time)
        if site.slurm.time > 1000:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        site.run(["label-1"], during)
    assert max(b - a for a, b in pairwise(times)) <= 15


def test_why_a_job_waits_is_said(site: Site) -> None:
    site.slurm.slots = 1
    site.slurm.takes = lambda job: 40.0
    site.run(["label-1", "label-2"])
    waits = [one for one in site.seen if isinstance(one, Queued) and one.job.name == "label-2"]
    assert {one.why for one in waits if one.seconds} == {"Priority"}


def test_a_driver_that_was_killed_takes_over(site: Site) -> None:
    names = ["label-1", "label-2", "label-3", "label-4"]
    site.slurm.takes = lambda job: 60.0
    site.killed(names, lambda event: isinstance(event, Started))
    site.slurm.sleep(200.0)  # the jobs go on
    assert site.played.total() == 3
    found = site.run(names)
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)


def test_no_job_is_started_twice_by_two_drivers(site: Site) -> None:
    names = ["label-1", "label-2", "label-3"]
    site.slurm.takes = lambda job: 60.0
    site.killed(names, lambda event: isinstance(event, Started))
    found = site.run(names)
    assert {name: end.returncode for name, end in found.items()} == dict.fromkeys(names, 0)
    assert site.started(names) == dict.fromkeys(names, 1)
    assert site.slurm.accepted == 3


@pytest.mark.parametrize("waits", [0.0, 5.0])
def test_a_driver_killed_before_it_wrote_the_number(site: Site, waits: float) -> None:
    session = site.launcher.session()
    session.add(site.job("label-1"))
    site.slurm.takes = lambda job: 60.0
    generator = session.events()
    submit = site.slurm.submit

    def die(script: Path) -> str:
        with suppress(Exception):
            submit(script)
        raise KeyboardInterrupt

    site.slurm.submit = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        next(generator)
    site.slurm.submit = submit  # type: ignore[method-assign]
    assert list((site.folder / "slurm").glob("*/submitted.json")) == []
    site.slurm.sleep(waits)
    found = site.run(["label-1"])
    assert found["label-1"].returncode == 0
    assert (site.slurm.accepted, site.started(["label-1"])) == (1, {"label-1": 1})


def test_a_driver_killed_before_it_submitted(site: Site) -> None:
    site.slurm.silent_until = 1.0
    session = site.launcher.session()
    session.add(site.job("label-1"))
    session.events().close()
    with suppress(StopIteration):
        next(session.events())
    site.slurm.time = 2.0
    assert not site.launcher.session().resume(site.job("label-1"))
    assert site.run(["label-1"])["label-1"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 1}


def test_an_answer_that_was_lost(site: Site) -> None:
    """The batch job is in the queue, but sbatch did not say so: it is found by its name."""
    site.slurm.lost_answers = 1
    site.slurm.takes = lambda job: 20.0
    names = ["label-1", "label-2"]
    assert {end.returncode for end in site.run(names).values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)
    assert site.slurm.accepted == 2


@pytest.mark.parametrize(
    ("state", "code", "why"),
    [
        ("CANCELLED", 143, "cancelled by hand (scancel)"),
        (
            "TIMEOUT",
            None,
            "stopped at the time limit of its batch job, 10 min; raise time_min of label in the "
            "site file",
        ),
        (
            "OUT_OF_MEMORY",
            137,
            "killed for memory (limit: that of the partition); raise memory_GB of label in the "
            "site file",
        ),
        ("FAILED", 128, "ended with its batch script, which failed with code 0 (n1)"),
    ],
)
def test_an_end_that_is_not_tried_again(site: Site, state: str, code: int, why: str) -> None:
    site.slurm.takes = lambda job: 50.0
    found = site.run(["label-1", "label-2"], once(lambda one: site.slurm.end(one, state), site))
    ends = found["label-1"]
    assert (ends.returncode, ends.why) == (code, why)
    with pytest.raises(EngineFailed, match=r"label-1 was .*; *|label-1 was"):
        ends.require_success()
    assert jobs.finished(ends.job) == ends
    assert found["label-2"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 1}


def test_over_the_time_limit_of_the_batch_job(site: Site) -> None:
    site.slurm.takes = lambda job: 700.0
    end = site.run(["label-1"])["label-1"]
    assert end.returncode is None
    assert "raise time_min of label" in end.why


def test_its_own_time_limit_is_the_programs(site: Site) -> None:
    session = site.launcher.session()
    site.slurm.takes = lambda job: 700.0
    session.add(replace(site.job("label-1"), timeout_s=20.0))
    ends = [event for event in session.events() if isinstance(event, Finished)]
    assert [(end.returncode, end.why) for end in ends] == [(None, "")]


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
def test_what_slurm_loses_is_started_again(site: Site, state: str) -> None:
    site.slurm.takes = lambda job: 50.0
    names = ["label-1", "label-2"]
    found = site.run(names, once(lambda one: site.slurm.end(one, state), site))
    assert {name: end.returncode for name, end in found.items()} == dict.fromkeys(names, 0)
    assert site.started(names) == {"label-1": 2, "label-2": 1}
    assert site.played == dict.fromkeys(names, 1)
    assert site.job("label-1").directory.with_name("label-1.lost-1").is_dir()


def test_what_slurm_loses_again_and_again_is_not_at_fault(site: Site) -> None:
    """It is started again as often as the site file says; users see how often that was."""
    site.slurm.fate = lambda job: (
        "PREEMPTED" if site.slurm.started.count("label-1") < 9 and job.name == "label-1" else None
    )
    found = site.run(["label-1", "label-2"])
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(["label-1", "label-2"]) == {"label-1": 9, "label-2": 1}
    assert [found[f"label-{n}"].where.losses for n in (1, 2) if found[f"label-{n}"].where] == [
        8,
        None,
    ]
    assert len(list((site.folder / "work").glob("label-1.lost-*"))) == 3
    waits = [e.where.losses for e in site.seen if isinstance(e, Queued) and e.where]
    assert {n for n in waits if n} == set(range(1, 9))


@pytest.mark.parametrize("most", [0, 4])
def test_what_slurm_loses_too_often_is_given_up(site: Site, most: int) -> None:
    site.settings = SETTINGS.model_copy(update={"max_losses": most})
    site.slurm.fate = lambda job: "NODE_FAIL" if job.name == "label-1" else None
    found = site.run(["label-1", "label-2"])
    assert found["label-1"].returncode == 137
    assert found["label-1"].why == (
        f"started {most + 1} times; the last time it was lost with its node (n1); raise max_losses "
        "in the site file, or use nodes on which jobs are not preempted"
    )
    assert site.started(["label-1", "label-2"]) == {"label-1": most + 1, "label-2": 1}


def test_a_job_that_has_appended_to_its_input_is_taken_over(site: Site) -> None:
    """As METAD does to its file of hills; another change is not the same job."""
    names = {"hills": frozenset({"in"}), "other": frozenset[str]()}
    site.slurm.takes = lambda job: 500.0
    for name, grows in names.items():
        job, first = replace(site.job(name), grows=grows), site.launcher.session()
        first.add(job)
        next(event for event in first.events() if isinstance(event, Started))
        (job.directory / "in").write_bytes(b"%s and more" % name.encode())
        assert site.launcher.session().resume(job) == bool(grows)
        states = [one.state for one in site.slurm.jobs.values() if one.name in batch_of(job)]
        assert states == (["RUNNING"] if grows else ["CANCELLED"])


def batch_of(job: Job) -> str:
    return (job.directory / "slurm.json").read_text()


def test_losses_are_counted_across_drivers(site: Site) -> None:
    site.settings = SETTINGS.model_copy(update={"max_losses": 4})
    site.slurm.fate = lambda job: "NODE_FAIL"
    site.slurm.takes = lambda job: 30.0
    site.killed(["label-1"], lambda event: site.slurm.started == ["label-1"] * 2)
    assert site.run(["label-1"])["label-1"].why.startswith("started 5 times")
    assert site.started(["label-1"]) == {"label-1": 5}


def test_an_end_that_nobody_can_explain_is_tried_three_times(site: Site) -> None:
    """Perhaps it is the program's own fault; losses in between do not count."""
    site.slurm.takes = lambda job: 500.0
    ends = iter([site.slurm.vanish, lambda one: site.slurm.end(one, "PREEMPTED")] * 9)

    def during(event: Event) -> None:
        if isinstance(event, Started) and site.slurm.running():
            next(ends)(site.slurm.running()[0])

    why = site.run(["label-1"], during)["label-1"].why
    assert why.startswith("tried 3 times; the last time it was lost: it is no longer in Slurm's")
    assert site.started(["label-1"]) == {"label-1": 5}


def test_slurm_may_start_a_batch_job_again_itself(site: Site) -> None:
    site.slurm.takes = lambda job: 50.0
    found = site.run(["label-1"], once(site.slurm.lose, site))
    assert found["label-1"].returncode == 0
    assert (site.started(["label-1"]), site.slurm.accepted) == ({"label-1": 2}, 1)
    where = found["label-1"].where
    assert where is not None
    assert where.losses == 1


def test_without_requeue_it_is_submitted_again(site: Site) -> None:
    place = PlaceSettings(options=["--no-requeue"])
    site.settings = site.settings.model_copy(update={"default": place})
    site.slurm.takes = lambda job: 50.0
    found = site.run(["label-1"], once(site.slurm.lose, site))
    assert found["label-1"].returncode == 0
    assert (site.started(["label-1"]), site.slurm.accepted) == ({"label-1": 2}, 2)


def test_a_batch_job_that_vanished(site: Site) -> None:
    site.slurm.takes = lambda job: 50.0
    found = site.run(["label-1"], once(site.slurm.vanish, site))
    assert found["label-1"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 2}


def test_a_controller_that_lost_its_files_gives_the_number_again(site: Site) -> None:
    site.slurm.takes = lambda job: 50.0

    def forget(one: Played) -> None:
        site.slurm.vanish(one)
        other = replace(one, name="another", state="RUNNING", limit_s=1e9, going=[])
        site.slurm.jobs[one.number] = other

    found = site.run(["label-1"], once(forget, site))
    assert found["label-1"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 2}
    assert site.slurm.jobs["1"].state == "RUNNING"


def test_a_queue_that_is_silent_for_a_while(site: Site) -> None:
    """As slurmctld that is restarted: jobs go on, and nothing is taken for lost."""
    site.slurm.takes = lambda job: 100.0
    names = [f"label-{i}" for i in range(5)]
    silence = once(lambda one: setattr(site.slurm, "silent_until", site.slurm.time + 500), site)
    found = site.run(names, silence)
    assert {name: end.returncode for name, end in found.items()} == dict.fromkeys(names, 0)
    assert site.started(names) == dict.fromkeys(names, 1)


def test_results_are_taken_while_the_queue_is_silent(site: Site) -> None:
    site.slurm.takes = lambda job: 40.0
    silence = once(lambda one: setattr(site.slurm, "silent_until", 1e9), site)
    assert site.run(["label-1"], silence)["label-1"].returncode == 0


def test_a_silent_queue_says_so(site: Site) -> None:
    site.slurm.silent_until = 60.0
    site.run(["label-1"])
    whys = {event.why for event in site.seen if isinstance(event, Queued)}
    assert "slurm_load_jobs error: Unable to contact slurm controller" in whys


def test_who_comes_to_a_silent_queue_waits(site: Site) -> None:
    site.slurm.lost_answers = 1
    site.slurm.takes = lambda job: 500.0
    session = site.launcher.session()
    session.add(site.job("label-1"))
    session.events().send(None)
    mark = json.loads((site.job("label-1").directory / "slurm.json").read_text())
    number = site.folder / "slurm" / mark["batch"] / "submitted.json"
    assert not number.exists()
    site.slurm.silent_until = site.slurm.time + 100.0
    assert site.launcher.session().resume(site.job("label-1"))
    number.unlink()
    site.slurm.silent_until = 1e9
    with pytest.raises(EngineFailed, match=r"the queue does not answer .* nothing is lost"):
        site.launcher.session().resume(site.job("label-1"))


def test_a_full_queue_is_waited_for(site: Site) -> None:
    site.slurm.most = 1
    site.slurm.takes = lambda job: 20.0
    names = [f"label-{i}" for i in range(4)]
    found = site.run(names)
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)
    whys = {event.why for event in site.seen if isinstance(event, Queued)}
    assert "sbatch: AssocMaxSubmitJobLimit" in whys


def test_a_job_that_will_never_be_accepted_ends_the_run(site: Site) -> None:
    place = PlaceSettings(partition="nowhere")
    site.settings = site.settings.model_copy(update={"label": place})
    with pytest.raises(Refused, match="Invalid partition name"):
        site.run(["label-1"])
    site.settings = site.settings.model_copy(update={"label": PlaceSettings()})
    assert site.run(["label-1"])["label-1"].returncode == 0


def test_a_batch_job_without_a_result_is_not_believed_at_once(site: Site) -> None:
    site.slurm.takes = lambda job: 30.0
    at: list[float] = []

    def during(event: Event) -> None:
        if isinstance(event, Started) and not at:
            at.append(site.slurm.time)
            site.slurm.end(site.slurm.running()[0], "COMPLETED")

    assert site.run(["label-1"], during)["label-1"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 2}
    assert site.slurm.jobs["2"].begun - at[0] >= 60


def test_other_inputs_are_another_job(site: Site) -> None:
    site.slurm.takes = lambda job: 100.0
    site.killed(["label-1"], lambda event: isinstance(event, Started))
    other = replace(site.job("label-1"), inputs={"in": b"other"})
    assert not site.launcher.session().resume(other)
    assert site.slurm.jobs["1"].state == "CANCELLED"


def test_a_directory_of_no_batch_job_is_not_taken_over(site: Site) -> None:
    job = site.job("label-1")
    job.directory.mkdir(parents=True)
    (job.directory / "in").write_bytes(b"label-1")
    assert not site.launcher.session().resume(job)


def test_a_failure_that_nobody_saw_is_not_repeated(site: Site) -> None:
    site.slurm.play = lambda job: 3
    site.slurm.takes = lambda job: 30.0
    site.killed(["label-1"], lambda event: isinstance(event, Started))
    site.slurm.sleep(1000)  # Slurm has forgotten it
    found = site.run(["label-1"])
    assert (found["label-1"].returncode, found["label-1"].why) == (3, "")
    assert site.started(["label-1"]) == {"label-1": 1}


def test_what_was_cancelled_without_a_driver_is_wanted_again(site: Site) -> None:
    site.slurm.takes = lambda job: 100.0
    site.killed(["label-1"], lambda event: isinstance(event, Started))
    site.slurm.cancel(["1"])
    assert site.run(["label-1"])["label-1"].returncode == 0
    assert site.started(["label-1"]) == {"label-1": 2}


def test_all_are_cancelled_and_started_again_by_the_next_run(site: Site) -> None:
    names = ["label-1", "label-2", "label-3"]
    site.slurm.takes = lambda job: 100.0
    site.killed(names, lambda event: isinstance(event, Started))
    folder, work = site.folder / "slurm", site.folder / "work"
    assert cancel_all(folder, site.slurm, within=site.folder / "another campaign") == []
    assert sorted(cancel_all(folder, site.slurm, within=work)) == ["1", "2", "3"]
    assert {one.state for one in site.slurm.jobs.values()} == {"CANCELLED"}
    assert cancel_all(folder, site.slurm, within=work) == []
    assert cancel_all(site.folder / "none", site.slurm, within=work) == []
    assert {end.returncode for end in site.run(names).values()} == {0}


def test_a_session_leaves_its_jobs_or_cancels_them(site: Site) -> None:
    site.slurm.takes = lambda job: 100.0
    for leaves, state in ((True, "RUNNING"), (False, "CANCELLED")):
        session = replace(site.launcher, leaves=leaves).session()
        session.add(site.job(f"label-{leaves}"))
        next(event for event in session.events() if isinstance(event, Started))
        session.close()
        assert list(session.events()) == []
        assert list(site.slurm.jobs.values())[-1].state == state


def packed(site: Site, count: int, seconds: float) -> list[str]:
    site.settings = site.settings.model_copy(update={"pack_min": 30.0})
    site.slurm.takes = lambda job: seconds
    return [f"label-{i}" for i in range(count)]


def test_short_labels_share_batch_jobs(site: Site) -> None:
    names = packed(site, 200, 60.0)
    found = site.run(names)
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)
    assert site.slurm.accepted < 20
    assert max(site.slurm.sizes) == 30
    assert list((site.folder / "slurm").iterdir()) == []


def test_short_labels_run_side_by_side_on_whole_nodes(site: Site) -> None:
    names = packed(site, 200, 60.0)
    site.settings = site.settings.model_copy(update={"pack_cores": 9})
    found = site.run(names)
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)
    wide = [one for one in site.slurm.jobs.values() if one.batch["at_a_time"] > 1]
    assert {one.batch["at_a_time"] for one in wide} == {9}
    assert {"--ntasks=9" in one.text for one in wide} == {True}
    assert all(job["argv"][0] == "srun" for one in wide for job in one.batch["jobs"])


def test_labels_are_not_packed_while_there_is_room(site: Site) -> None:
    site.settings = site.settings.model_copy(update={"max_jobs": 50})
    site.slurm.slots = 50
    names = packed(site, 50, 60.0)
    site.run(names)
    assert site.slurm.accepted == 50


def test_long_labels_and_other_work_stay_alone(site: Site) -> None:
    packed(site, 0, 1200.0)
    session = site.launcher.session()
    for i in range(8):
        session.add(site.job(f"train-{i}", "train"))
        session.add(site.job(f"label-{i}"))
    assert sum(isinstance(event, Finished) for event in session.events()) == 16
    assert site.slurm.accepted == 16


def test_a_pack_that_takes_longer_than_thought_is_continued(site: Site) -> None:
    names = packed(site, 60, 60.0)
    longer = dict.fromkeys(names[10:], 500.0)
    site.slurm.takes = lambda job: longer.get(job.name, 60.0)
    found = site.run(names)
    assert {end.returncode for end in found.values()} == {0}
    assert site.started(names) == dict.fromkeys(names, 1)


@pytest.mark.parametrize("state", ["TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"])
def test_of_a_pack_only_the_one_that_ran_is_judged(site: Site, state: str) -> None:
    names = packed(site, 40, 60.0)
    site.slurm.fate = lambda job: state if job.name == "label-20" else None
    found = site.run(names)
    bad = {name for name, end in found.items() if end.returncode != 0}
    assert bad == {"label-20"}
    assert set(site.started(names).values()) <= {1, 1 + (SETTINGS.max_losses or 0)}


def test_a_pack_cancelled_by_hand_is_not_started_again(site: Site) -> None:
    names = packed(site, 30, 60.0)

    hit: list[Played] = []

    def during(event: Event) -> None:
        packs = [one for one in site.slurm.running() if len(one.batch["jobs"]) > 1]
        if packs and not hit:
            hit.append(packs[0])
            site.slurm.end(packs[0], "CANCELLED")

    found = site.run(names, during)
    assert len(found) == 30
    assert max(site.started(names).values()) == 1
    cancelled = [end for end in found.values() if end.returncode == 143]
    assert cancelled
    assert {end.why for end in cancelled} == {"cancelled by hand (scancel)"}


def test_one_of_a_pack_is_stopped(site: Site) -> None:
    names = packed(site, 30, 60.0)
    session = site.launcher.session()

    def during(event: Event) -> None:
        if isinstance(event, Started) and event.job.name == "label-3":
            session.stop(site.job("label-25").directory)

    found = site.run(names, during, session)
    assert sorted(found) == sorted(set(names) - {"label-25"})
    assert "label-25" not in site.slurm.started


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_every_label_is_made_once(site: Site, seed: int) -> None:
    """Drivers are killed, nodes lost, queues silent: nothing is lost, nothing is done twice."""
    rng = random.Random(seed)
    names = packed(site, 60, 60.0)
    site.slurm.takes = lambda job: rng.uniform(5, 200)
    site.slurm.most = rng.choice([None, 2])
    left = list(range(12))

    def happen(event: Event) -> None:
        running = site.slurm.running()
        if not left or not running or rng.random() > 0.05:
            return
        left.pop()
        one = rng.choice(running)
        what = rng.randrange(6)
        if what == 0:
            site.slurm.lose(one)
        elif what == 1:
            site.slurm.end(one, rng.choice(["NODE_FAIL", "PREEMPTED"]))
        elif what == 2:
            site.slurm.silent_until = site.slurm.time + rng.uniform(1, 300)
        elif what == 3:
            site.slurm.lost_answers += 1
        elif what == 4:
            site.slurm.vanish(one)
        else:
            raise InterruptedError  # the driver is killed

    found: dict[str, Finished] = {}
    while not found:
        with suppress(InterruptedError):
            found = site.run(names, happen)
    good = {name for name, end in found.items() if end.returncode == 0}
    assert site.played == dict.fromkeys(good, 1)
    assert all("tried 3 times" in found[name].why for name in set(names) - good)
    assert len(good) >= 58
