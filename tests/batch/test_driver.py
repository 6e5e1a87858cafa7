"""The job of phasewalk itself: its script, who may submit it, and when it is submitted again."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from helpers.fake_slurm import FakeSlurm
from phasewalk import submitted
from phasewalk.batch import batches, driver, driver_job
from phasewalk.batch.driver import Driver
from phasewalk.batch.driver_job import Next, Plan, after
from phasewalk.cluster import SiteSettings
from phasewalk.errors import InputError
from phasewalk.settings_files import parse
from phasewalk.store import JOURNAL, LOCK, locking

STEPS = """\
site: lab
mode: steps
default: {account: me, partition: cpu, memory_GB: 4, time_min: 30, prefix: [in, image]}
segment: {partition: gpu, gpus: 2}
compile: {gpus: 1}
evaluate: {gpus: 1}
driver: {partition: gpu, nodes: 3, time_min: 600}
"""


def made(root: Path, text: str = "site: lab") -> Driver:
    return Driver(root, parse(text, "lab", SiteSettings), ("python", "run", "it's"), LOCK, JOURNAL)


def options(script: str) -> list[str]:
    return [shlex.split(x)[1] for x in script.splitlines() if x.startswith("#SBATCH ")]


def test_in_steps_mode_it_is_the_whole_allocation(tmp_path: Path) -> None:
    given = options(made(tmp_path / "c.run", STEPS).script())
    wanted = ["--partition=gpu", "--account=me", "--nodes=3", "--exclusive", "--mem=0"]
    wanted += ["--gres=gpu:2", "--time=600", "--signal=B:TERM@60", "--requeue"]
    assert set(wanted) <= set(given)
    assert not [word for word in given if word == "--mem=4000M"]  # that of each job


def test_in_jobs_mode_it_is_one_core_without_what_is_meant_for_its_jobs(tmp_path: Path) -> None:
    """A container has no sbatch, and a GPU or a whole node would be idle."""
    text = (
        "site: lab\ndefault: {gpus: 4, nodes: 2, memory_GB: 4, time_min: 600, prefix: [in, image],"
        " options: [--exclusive, --reservation=x]}"
    )
    script = made(tmp_path / "it's %here" / "c.run", text).script()
    given = options(script)
    assert {"--nodes=1", "--ntasks=1", "--mem=4000M", "--signal=B:TERM@300"} <= set(given)
    assert "--reservation=x" in given
    assert not [word for word in given if word.startswith(("--exclusive", "--gres"))]
    command = shlex.split(script.splitlines()[-1])
    assert command[2:5] == ["-P", "-m", "phasewalk.batch"]
    assert command[5:] == [
        str(submitted.folder_of(tmp_path / "it's %here" / "c.run")), "python", "run", "it's",
    ]  # fmt: skip
    assert made(tmp_path / "c.run", text + "\ndriver: {prefix: [mine]}").script().count("mine") == 1


def test_it_is_asked_to_stop_earlier_than_a_short_time_limit(tmp_path: Path) -> None:
    short = options(made(tmp_path / "c.run", "site: lab\ndriver: {time_min: 2}").script())
    assert "--signal=B:TERM@30" in short


def test_a_line_break_in_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line break"):
        made(tmp_path / "a\nb" / "c.run").script()


def test_a_job_that_lasts_longer_than_the_allocation_is_refused_at_once(tmp_path: Path) -> None:
    own = made(tmp_path / "c.run", STEPS + "label: {time_min: 601}")
    with pytest.raises(InputError, match=r"label needs up to 601 min .* lasts 600 min"):
        own.submit(FakeSlurm())


def test_a_second_one_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    slurm, own = FakeSlurm(), made(tmp_path / "c.run")
    assert own.submit(slurm) == "1"
    with pytest.raises(InputError, match=r"already \(job 1, PENDING\)") as caught:
        own.submit(slurm)
    assert "\n" not in str(caught.value)
    assert made(tmp_path / "d.run").submit(slurm) == "2"  # another campaign in the same folder
    slurm.end(slurm.jobs["1"], "COMPLETED")
    assert own.submit(slurm) == "3"


def test_cancel_ends_what_is_of_this_campaign(tmp_path: Path) -> None:
    slurm, root = FakeSlurm(slots=0), tmp_path / "c.run"
    for name in ("c.run", "d.run"):
        made(tmp_path / name).submit(slurm)
        folder = tmp_path / "phasewalk-slurm" / f"phasewalk-{name}"
        job = {"directory": str(tmp_path / name / "label")}
        batches.write_file(
            folder / "batch.json", json.dumps({"jobs": [job], "last_start_s": 0}).encode()
        )
        (folder / "batch.sh").write_text(f"#SBATCH --job-name={folder.name}\n#SBATCH --time=1\n")
        slurm.submit(folder / "batch.sh")
    done = driver.cancel(root, slurm, slurm)
    assert (done.driver, done.jobs) == (["1"], ["2"])
    left = [number for number, one in slurm.jobs.items() if one.state != "CANCELLED"]
    assert left == ["3", "4"]
    again = driver.cancel(root, slurm, slurm)
    assert (again.driver, again.jobs) == ([], [])


@pytest.mark.parametrize(
    ("code", "how", "again", "says"),
    [
        (0, {}, False, "the campaign has ended"),
        (0, {"asked": True}, False, "the campaign has ended"),
        (75, {}, True, "submitted again"),
        (130, {"asked": True}, True, "submitted again"),
        (-9, {"asked": True}, True, "submitted again"),  # it did not stop in time
        (130, {"asked": True, "state": ""}, True, "submitted again"),  # squeue does not answer
        (130, {}, False, "exit code 130"),  # somebody has stopped phasewalk alone
        (-9, {}, False, "killed by signal 9"),
        (2, {}, False, "exit code 2"),
        (1, {"asked": True}, False, "exit code 1"),
        (75, {"cancelled": True}, False, "phasewalk cancel"),
        (130, {"asked": True, "cancelled": True}, False, "phasewalk cancel"),
        (130, {"asked": True, "state": "COMPLETING"}, False, "Slurm has ended this job"),  # scancel
        (130, {"asked": True, "state": "PENDING"}, False, "starts this job again itself"),
        (75, {"idle": 1}, True, "submitted again"),
        (75, {"idle": 2}, False, "no work; it is not submitted again. Raise time_min of driver"),
    ],
)
def test_when_it_is_submitted_again(code: int, how: dict[str, Any], again: bool, says: str) -> None:
    given: dict[str, Any] = {"asked": False, "state": "RUNNING", "cancelled": False, "idle": 0}
    found = after(code, **{**given, **how})
    assert isinstance(found, Next)
    assert found.again is again
    assert says in found.says


def run(tmp_path: Path, slurm: FakeSlurm, command: str, *, steps: bool = False) -> int:
    """What one job does; `command` is a script of the shell instead of `phasewalk run`."""
    own, root = made(tmp_path / "c.run"), tmp_path / "c.run"
    root.mkdir(exist_ok=True)
    if not slurm.jobs:
        own.submit(slurm)
    number = max(slurm.jobs, key=int)
    slurm.jobs[number].state = "RUNNING"
    folder = submitted.folder_of(root)
    plan = Plan(submitted.name_of(root), str(root / LOCK), str(root / JOURNAL), steps, 1.0)
    one = driver_job.Driver(folder, plan, ("sh", "-c", command), number, slurm, print)
    code = one.main()
    slurm.end(slurm.jobs[number], "COMPLETED" if code == 0 else "FAILED")
    return code


def test_the_next_job_is_submitted_once_also_if_an_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver_job, "RETRY_S", 0.0)
    slurm = FakeSlurm()
    made(tmp_path / "c.run").submit(slurm)
    slurm.lost_answers = 1
    assert run(tmp_path, slurm, "exit 75") == 0
    assert [one.state for one in slurm.jobs.values()] == ["COMPLETED", "PENDING"]
    assert "the next job is 2" in capsys.readouterr().out
    assert run(tmp_path, slurm, "exit 0") == 0
    assert len(slurm.jobs) == 2


def test_an_error_ends_it_with_its_exit_code(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    assert run(tmp_path, slurm, "exit 2") == 2
    assert run(tmp_path, slurm, "kill -9 $$") == 137
    assert len(slurm.jobs) == 1


def test_what_has_become_of_it_is_in_its_files(tmp_path: Path) -> None:
    """Which `phasewalk status` reads: queued, started, queued again, ended and why."""
    slurm, root = FakeSlurm(), tmp_path / "c.run"
    assert submitted.read(root) is None
    made(root).submit(slurm)
    found = submitted.read(root)
    assert found
    assert (found.number, found.state) == ("1", "queued")
    at = found.since + 3 * 3600
    assert "(3 h 00 min), unless it was cancelled there" in submitted.line(found, "c.run", at)
    folder = submitted.folder_of(root)
    seen = f"cp {shlex.quote(str(folder / submitted.STATE))} {shlex.quote(str(tmp_path))}"
    run(tmp_path, slurm, f"{seen}; exit 75")
    began = json.loads((tmp_path / submitted.STATE).read_text())
    assert (began["number"], began["ended"]) == ("1", "")
    found = submitted.read(root)
    assert found
    assert (found.number, found.state) == ("2", "queued")
    (folder / submitted.STATE).write_text(json.dumps({**began, "number": "2"}))
    found = submitted.read(root)
    assert found
    assert (found.state, found.since) == ("started", began["started"])
    assert "but does not run the campaign: it is just starting" in submitted.line(found, "c.run")
    run(tmp_path, slurm, "exit 2")
    found = submitted.read(root)
    assert found
    assert submitted.line(found, "c.run") == (
        "phasewalk itself, job 2, has ended: phasewalk ended with exit code 2; it is not submitted "
        "again. What it said is in batch.out"
    )


def test_a_cancelled_one_submits_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm()
    made(tmp_path / "c.run").submit(slurm)
    mark = submitted.folder_of(tmp_path / "c.run") / submitted.CANCELLED
    assert run(tmp_path, slurm, f"touch {shlex.quote(str(mark))}; exit 75") == 75
    assert len(slurm.jobs) == 1
    made(tmp_path / "c.run").submit(slurm)  # submitted again by hand, it goes on
    assert not mark.exists()


def test_steps_that_never_finish_anything_are_not_submitted_for_ever(tmp_path: Path) -> None:
    slurm, journal = FakeSlurm(), tmp_path / "c.run" / "journal.jsonl"
    work = f"echo done >> {shlex.quote(str(journal))}; exit 75"
    codes = [run(tmp_path, slurm, text, steps=True) for text in ("exit 75", work, "exit 75")]
    assert codes == [0, 0, 0]
    assert run(tmp_path, slurm, "exit 75", steps=True) == 75
    assert len(slurm.jobs) == 4


def test_it_waits_for_the_lock_of_a_node_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_job, "STALE_S", 1.5)
    root = tmp_path / "c.run"
    root.mkdir()
    (root / "lock").write_text("{}")
    started = tmp_path / "started"
    waited = driver_job.time.monotonic()
    assert run(tmp_path, FakeSlurm(), f"touch {shlex.quote(str(started))}") == 0
    assert started.exists()
    assert driver_job.time.monotonic() - waited > 1.5


def test_it_waits_longer_than_a_lock_counts() -> None:
    assert driver_job.STALE_S > locking.STALE_S


def test_path_does_not_grow_from_job_to_job() -> None:
    first = {"PATH": "/modules:/mine:/bin", "PHASEWALK_PATH": "/mine:/bin"}
    assert driver_job.again_environment(first)["PATH"] == "/mine:/bin"
    assert driver_job.again_environment({"PATH": "/bin"}) == {"PATH": "/bin"}
