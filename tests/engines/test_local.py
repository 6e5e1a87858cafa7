"""Processes: order, cores, limits, and that nothing of ours outlives us."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from phasewalk import jobs
from phasewalk.engines.local import LocalLauncher, LocalSession
from phasewalk.engines.waiting import PATIENCE
from phasewalk.errors import EngineFailed
from phasewalk.jobs import Event, Finished, Job, Running, Started, finished, run, submit

SLEEPY = "import time; time.sleep(60)"
GRANDCHILD = f"""
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEPY!r}])
pathlib.Path("pids.part").write_text(f"{{child.pid}}")
pathlib.Path("pids.part").rename("pids")
child.wait()
"""


def script(folder: Path, text: str, name: str = "job", **options: object) -> Job:
    return Job(name, (sys.executable, "-c", text), folder / name, **options)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def soon(condition: Callable[[], bool], within_s: float = 2.0) -> bool:
    limit = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def names(events: Iterator[Event], kind: type) -> list[str]:
    return [event.job.name for event in events if isinstance(event, kind)]


def test_a_program_gets_its_files_environment_and_folder(tmp_path: Path) -> None:
    text = "import os, sys; print(open('in.txt').read(), os.environ['PW_X'], os.getcwd(), sys.argv)"
    odd = 'it\'s "odd"; $(touch pwned) *'
    job = Job(
        "odd job",
        (sys.executable, "-c", text, odd, ""),
        tmp_path / odd / "work here",
        inputs={"in.txt": b"hello", "deep/er.txt": b"x"},
        env={"PW_X": "a 'b'"},
    )
    finished = run(LocalLauncher(1), job).require_success()
    printed = (finished.directory / Finished.STDOUT).read_text().strip()
    assert printed == f"hello a 'b' {job.directory} {['-c', odd, '']}"
    assert (job.directory / "deep/er.txt").read_text() == "x"
    assert not list(tmp_path.rglob("pwned"))


def test_the_rest_of_the_environment_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW_OUTER", "1")
    run(LocalLauncher(1), script(tmp_path, "import os; os.environ['PW_OUTER']")).require_success()


def test_never_more_than_cores_are_busy(tmp_path: Path) -> None:
    text = "import time; time.sleep(0.15)"
    jobs = [script(tmp_path, text, f"{i}", threads=cores) for i, cores in enumerate([1, 1, 2, 1])]
    busy, most, started = 0, 0, []
    for event in submit(LocalLauncher(2), jobs):
        if isinstance(event, Started):
            busy += event.job.cores
            started.append(event.job.name)
        elif isinstance(event, Finished):
            busy -= event.job.cores
        most = max(most, busy)
    assert started == ["2", "0", "1", "3"]
    assert (most, busy) == (2, 0)


def order(session: LocalSession) -> list[str]:
    return names(session.events(), Started)


def test_the_largest_that_fits_starts_first(tmp_path: Path) -> None:
    session = LocalSession(2)
    for name, cores in (("1a", 1), ("2", 2), ("1b", 1)):
        session.add(script(tmp_path, "", name, threads=cores))
    assert order(session) == ["2", "1a", "1b"]


@pytest.mark.parametrize("late", [1, 2])
def test_no_job_waits_for_ever(tmp_path: Path, late: int) -> None:
    """Neither a small one behind large ones, nor a large one beside small ones."""
    session, started, added = LocalSession(2), list[str](), 0
    session.add(script(tmp_path, "", "first", threads=1))
    events = session.events()
    with closing(session):
        next(events)
        session.add(script(tmp_path, "", "patient", threads=3 - late))
        for event in events:
            if isinstance(event, Started):
                started.append(event.job.name)
            while added < 30 and len(session._waiting) < 3:
                session.add(script(tmp_path, "", f"later {added}", threads=late))
                added += 1
            if "patient" in started:
                break
    assert started.index("patient") <= PATIENCE


WAITS = "import pathlib, time\nwhile not pathlib.Path('../other/here').exists(): time.sleep(0.01)"
SAYS = "import pathlib; pathlib.Path('here').touch()"


def test_cores_that_a_running_job_gives_up_are_used(tmp_path: Path) -> None:
    """It ends only if the other one runs beside it."""
    session = LocalSession(2)
    with closing(session):
        session.add(script(tmp_path, WAITS, "waits", threads=2, timeout_s=5.0))
        session.add(script(tmp_path, SAYS, "other"))
        events = session.events()
        assert isinstance(next(events), Started)
        session.narrow(tmp_path / "waits", 1)
        assert sorted(names(events, Finished)) == ["other", "waits"]
    assert jobs.finished(script(tmp_path, "", "waits")).returncode == 0  # type: ignore[union-attr]


def test_nothing_waits_for_the_cores_of_a_job_that_gives_up_all(tmp_path: Path) -> None:
    """Not even a job that is larger than the machine, which runs alone."""
    session = LocalSession(1)
    with closing(session):
        session.add(script(tmp_path, WAITS, "waits", timeout_s=5.0))
        session.add(script(tmp_path, SAYS, "other", threads=3))
        events = session.events()
        assert isinstance(next(events), Started)
        session.narrow(tmp_path / "waits", 0)
        assert [e.returncode for e in events if isinstance(e, Finished)] == [0, 0]


@pytest.mark.parametrize("first", ["waits", "other"])
def test_nothing_waits_for_the_cores_of_a_job_in_the_background(tmp_path: Path, first: str) -> None:
    texts = {"waits": WAITS, "other": SAYS}
    added = [first, *(name for name in texts if name != first)]
    session = LocalSession(1)
    with closing(session):
        for name in added:
            background = name == "waits"
            session.add(
                script(tmp_path, texts[name], name, threads=3, background=background, timeout_s=5.0)
            )
        ended = [event for event in session.events() if isinstance(event, Finished)]
    assert [event.returncode for event in ended] == [0, 0]


def test_ranks_are_started_by_the_launcher_of_the_program_s_mpi(tmp_path: Path) -> None:
    said = "import sys; print(sys.argv[1:])"
    mpi = (sys.executable, "-c", said)
    job = Job("mpi", ("lmp", "-in", "x"), tmp_path / "a", mpiexec=mpi, nodes=2, ranks=3, threads=4)
    assert (job.cores, job.command) == (24, (*mpi, "-n", "6", "lmp", "-in", "x"))
    finished = run(LocalLauncher(1), job).require_success()
    assert finished.last_lines() == "['-n', '6', 'lmp', '-in', 'x']"


def test_a_link_leads_out_of_a_campaign_by_its_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    links = {"python": Path(sys.executable), "in": tmp_path / "in"}
    run(LocalLauncher(1), script(tmp_path, "", links=links)).require_success()
    assert (tmp_path / "job/in").readlink() == Path("../in")
    assert (tmp_path / "job/python").readlink() == Path(sys.executable)


def test_a_supervisor_that_is_killed_leaves_the_end_to_the_launcher(tmp_path: Path) -> None:
    job = script(tmp_path, "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    ended = run(LocalLauncher(1), job)
    assert ended.returncode == -signal.SIGKILL
    assert finished(job) == ended


def test_a_job_larger_than_the_machine_runs_alone(tmp_path: Path) -> None:
    jobs = [script(tmp_path, "", f"{i}", threads=cores) for i, cores in enumerate([1, 9, 1])]
    seen = [(type(event).__name__, event.job.name) for event in submit(LocalLauncher(2), jobs)]
    assert seen[0] == ("Started", "1")
    assert [entry for entry in seen if entry[0] != "Running"][1] == ("Finished", "1")
    assert sorted(name for kind, name in seen if kind == "Finished") == ["0", "1", "2"]


def test_signs_of_life(tmp_path: Path) -> None:
    events = list(submit(LocalLauncher(1), [script(tmp_path, "import time; time.sleep(0.8)")]))
    assert isinstance(events[0], Started)
    assert any(isinstance(event, Running) for event in events)
    assert isinstance(events[-1], Finished)
    assert events[-1].seconds > 0.8


def test_a_failing_program(tmp_path: Path) -> None:
    text = "import sys; print('out'); print('no convergence', file=sys.stderr); sys.exit(3)"
    finished = run(LocalLauncher(1), script(tmp_path, text))
    with pytest.raises(EngineFailed) as caught:
        finished.require_success()
    message = str(caught.value)
    assert message == f"job ended with code 3: no convergence (all files are in {tmp_path / 'job'})"


def test_a_program_that_dies_of_a_signal(tmp_path: Path) -> None:
    text = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    finished = run(LocalLauncher(1), script(tmp_path, text))
    assert finished.returncode == 128 + signal.SIGSEGV


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    job = Job("job", ("/no/such program",), tmp_path / "x")
    finished = run(LocalLauncher(1), job)
    with pytest.raises(EngineFailed, match="cannot start /no/such program: No such file"):
        finished.require_success()


def test_a_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    finished = run(LocalLauncher(1), script(tmp_path, GRANDCHILD, timeout_s=0.7))
    assert finished.returncode is None
    assert finished.seconds < 5
    with pytest.raises(EngineFailed, match=r"was stopped at its time limit of 0\.7 s"):
        finished.require_success()
    pid = int((tmp_path / "job/pids").read_text())
    assert soon(lambda: not alive(pid))


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    text = GRANDCHILD.replace("child.wait()", "")
    run(LocalLauncher(1), script(tmp_path, text)).require_success()
    pid = int((tmp_path / "job/pids").read_text())
    assert soon(lambda: not alive(pid))


def test_closing_the_events_ends_everything(tmp_path: Path) -> None:
    jobs = [script(tmp_path, GRANDCHILD, name) for name in ("a", "b", "never started")]
    events = submit(LocalLauncher(2), jobs)
    assert names(iter([next(events), next(events)]), Started) == ["a", "b"]
    files = [tmp_path / name / "pids" for name in "ab"]
    assert soon(lambda: all(file.is_file() for file in files), 5.0)
    events.close()
    pids = [int(file.read_text()) for file in files]
    assert soon(lambda: not any(map(alive, pids)))
    assert not (tmp_path / "never started").exists()


DRIVER = """
import sys
from pathlib import Path
from phasewalk.jobs import Job, submit
from phasewalk.engines.local import LocalLauncher
job = Job("job", (sys.executable, "-c", sys.argv[2]), Path(sys.argv[1]))
for event in submit(LocalLauncher(1), [job]):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_engines_die_with_the_driver(tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", DRIVER, str(tmp_path), GRANDCHILD]
    with subprocess.Popen(argv) as driver:
        assert soon((tmp_path / "pids").is_file, 10.0)
        pid = int((tmp_path / "pids").read_text())
        assert alive(pid)
        os.kill(driver.pid, number)
        assert soon(lambda: not alive(pid), 2.0)
    assert not (tmp_path / "finished.json").exists()


def test_only_our_own_processes_are_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPY]) as bystander:
        run(LocalLauncher(1), script(tmp_path, SLEEPY, timeout_s=0.2))
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("code", [0, 3])
def test_scratch_files_go_with_their_program(tmp_path: Path, code: int) -> None:
    text = f"import tempfile, sys; print(tempfile.mkdtemp()); sys.exit({code})"
    finished = run(LocalLauncher(1), Job("scratch", (sys.executable, "-c", text), tmp_path / "a"))
    made = Path((finished.directory / Finished.STDOUT).read_text().strip())
    assert made.is_relative_to(tmp_path / "a")
    assert not (tmp_path / "a/tmp").exists()


def test_a_full_disk_is_named_where_a_program_could_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = Finished(Job("label", ("x",), tmp_path), 1, 1.0)
    assert finished.last_lines() == "(no output)"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    assert finished.last_lines() == "(no output: the disk is full)"
