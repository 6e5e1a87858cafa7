"""A Slurm that starts nothing: a queue on a clock of its own, which plays what a batch job runs.

It reads the same script and the same `batch.json` as Slurm and `batch_child`, and obeys the same
contract (tests/contract/test_launcher.py).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import Any

from phasewalk.batch import NotNow, QueueFull, Refused
from phasewalk.batch.scheduler import How, State
from phasewalk.jobs import Finished, Job, record_end
from phasewalk.where import Where, from_json

PARTITION, EPOCH = "cpu", 1e9
"""Of all its batch jobs; seconds since 1970 at which its clock starts."""
STOPS_S = 20.0
"""Time in which a program stops that is asked to."""


@dataclass
class Going:
    """A job of a batch job that runs."""

    job: Job
    since: float
    until: float


@dataclass
class Played:
    """A batch job of the fake."""

    number: str
    name: str
    batch: Mapping[str, Any]
    limit_s: float
    requeue: bool
    text: str = ""
    state: str = "PENDING"
    reason: str = "Priority"
    begun: float = 0.0
    over: float | None = None
    left: list[Job] = field(default_factory=list)
    going: list[Going] = field(default_factory=list)
    submitted: float = 0.0
    starts: int = 0
    early_s: float | None = None
    """Time before the limit at which what it runs is asked to stop by itself, once."""

    @property
    def times(self) -> tuple[str, float, float | None]:
        """Partition, and when it was submitted and started, seconds since 1970."""
        started = EPOCH + self.begun if self.starts and self.state != "PENDING" else None
        return PARTITION, EPOCH + self.submitted, started

    @property
    def ended(self) -> bool:
        return self.over is not None

    @property
    def next(self) -> float:
        """When something happens in it, if nothing happens to it."""
        early_s = 0.0 if self.early_s is None else self.early_s
        return min([self.begun + self.limit_s - early_s, *(one.until for one in self.going)])


@dataclass
class FakeSlurm:
    """A scheduler and its clock.

    Attributes:
        play: does a program's work in its directory; its exit code, None for a time-out.
        takes: seconds of a job.
        fate: state in which a job's batch job ends instead of the job; None: it goes well.
        slots: number of batch jobs that run at a time.
        most: number of batch jobs that are accepted; None for any number.
        age_s: after which a batch job that has ended is forgotten.
        silent_until: time until which no command answers.
        lost_answers: number of submissions that are accepted without an answer.
        started: names of the jobs that were started, in this order.
        asked: times at which the queue was asked.
        sizes: numbers of jobs of the batch jobs.
    """

    play: Callable[[Job], int | None] = lambda job: 0
    takes: Callable[[Job], float] = lambda job: 0.3
    fate: Callable[[Job], str | None] = lambda job: None
    slots: int = 2
    most: int | None = None
    age_s: float = 300.0
    silent_until: float = 0.0
    lost_answers: int = 0
    time: float = 0.0
    jobs: dict[str, Played] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    accepted: int = 0

    # The clock.

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        """Play until then."""
        until = self.time + seconds
        while True:
            self._start()
            one = min(self.running(), key=lambda one: one.next, default=None)
            if one is None or one.next > until:
                break
            self.time = max(self.time, one.next)
            self._happen(one)
        self.time = until
        old = [n for n, one in self.jobs.items() if one.over and until - one.over > self.age_s]
        for number in old:
            del self.jobs[number]

    # The scheduler.

    def check(self) -> None:
        """This machine belongs to a cluster."""

    def submit(self, script: Path) -> str:
        self._answer()
        text = script.read_text()
        if "--partition=nowhere" in text:
            raise Refused("sbatch refuses it: Invalid partition name specified")
        if self.most is not None and sum(not j.ended for j in self.jobs.values()) >= self.most:
            raise QueueFull("sbatch: AssocMaxSubmitJobLimit")
        self.accepted += 1
        path = script.parent / "batch.json"  # the job of phasewalk itself has none
        batch = json.loads(path.read_text()) if path.exists() else {"jobs": [], "last_start_s": 0}
        name, limit = (re.search(rf"--{key}=(\S+)", text) for key in ("job-name", "time"))
        assert name is not None
        assert limit is not None
        requeue = "--no-requeue" not in text
        one = Played(str(self.accepted), name[1], batch, 60 * float(limit[1]), requeue, text)
        one.submitted = self.time
        early = re.search(r"--signal=B:USR1@(\d+)", text)
        one.early_s = float(early[1]) if early else None
        self.jobs[one.number] = one
        self.sizes.append(len(batch["jobs"]))
        if self.lost_answers:
            self.lost_answers -= 1
            raise NotNow("sbatch: Socket timed out on send/recv operation")
        return one.number

    def refusal(self, script: Path) -> str:
        text = script.read_text()
        return "Invalid partition name specified" if "--partition=nowhere" in text else ""

    def states(self) -> Mapping[str, State]:
        self._answer()
        self.asked.append(self.time)
        return {
            one.number: State(
                one.number,
                one.name,
                one.state,
                one.reason,
                self.time - one.begun if one.state == "RUNNING" else 0.0,
                "n1" if one.starts else "",
                *one.times,
            )
            for one in self.jobs.values()
        }

    def ended(self, number: str) -> How | None:
        self._answer()
        one = self.jobs.get(number)
        if one is None:
            return None
        if one.over is None:
            raise NotNow(f"job {number} has not ended")
        return How(one.state, "None", 0, 0, one.over - one.begun, "n1", *one.times)

    def cancel(self, numbers: Collection[str]) -> None:
        self._answer()
        for number in numbers:
            if number in self.jobs and not self.jobs[number].ended:
                self.end(self.jobs[number], "CANCELLED")

    # What may happen.

    def end(self, one: Played, state: str) -> None:
        """A batch job ends, and with it what it runs."""
        one.state, one.over = state, self.time
        one.going.clear()

    def requeue(self, one: Played) -> None:
        """Slurm puts a batch job back into the queue."""
        one.state, one.reason = "PENDING", "BeginTime"
        one.going.clear()
        one.submitted = self.time  # as Slurm does

    def lose(self, one: Played) -> None:
        """The node of a batch job is lost."""
        if one.requeue:
            self.requeue(one)
        else:
            self.end(one, "NODE_FAIL")

    def vanish(self, one: Played) -> None:
        """Slurm knows nothing of a batch job any more."""
        del self.jobs[one.number]

    def running(self) -> list[Played]:
        """Those that run."""
        return [one for one in self.jobs.values() if one.state == "RUNNING"]

    def _answer(self) -> None:
        if self.time < self.silent_until:
            raise NotNow("slurm_load_jobs error: Unable to contact slurm controller")

    def fits(self, one: Played) -> bool:
        """Whether there is room for one more that runs."""
        return len(self.running()) < self.slots

    def _start(self) -> None:
        for one in self.jobs.values():
            if one.state == "PENDING" and self.fits(one):
                one.state, one.reason, one.begun = "RUNNING", "None", self.time
                one.starts += 1
                one.left = [_job(entry) for entry in one.batch["jobs"]]
                self._next(one)

    def _next(self, one: Played) -> None:
        """Begin the next jobs of a batch job, as `batch_child` does."""
        while one.left and len(one.going) < one.batch.get("at_a_time", 1):
            job = one.left.pop(0)
            late = self.time - one.begun > one.batch["last_start_s"]
            again = bool(job.stop_file) and (job.directory / Finished.STDOUT).exists()
            if not late and not again and _is_due(job, one):
                for name in (Finished.STDOUT, Finished.STDERR):
                    (job.directory / name).write_bytes(b"")
                self.started.append(job.name)
                until = self.time + min(self.takes(job), job.timeout_s or 1e9)
                one.going.append(Going(job, self.time, until))
        if not one.going:
            self.end(one, "COMPLETED")

    def _happen(self, one: Played) -> None:
        if self.time >= one.begun + one.limit_s:
            return self.end(one, "TIMEOUT")
        if one.early_s is not None and self.time >= one.begun + one.limit_s - one.early_s:
            one.early_s = None
            for going in one.going:
                (going.job.directory / going.job.stop_file).write_text(one.batch["over"])
                going.until = self.time + STOPS_S
            return None
        ended = min(one.going, key=lambda going: going.until)
        job = ended.job
        one.going.remove(ended)
        fate = self.fate(job)
        if fate is not None:
            return self.end(one, fate)
        if _is_due(job, one):
            code = self.play(job) if self.takes(job) <= (job.timeout_s or 1e9) else None
            seconds, where = self.time - ended.since, _where(job, one)
            record_end(job.directory, code, seconds, "n1", where=where)
        return self._next(one)


def _job(entry: Mapping[str, Any]) -> Job:
    argv = tuple(entry["argv"])
    if argv[0] == "srun":
        argv = tuple(dropwhile(lambda word: word.startswith("--"), argv[1:]))
    return Job(
        entry["name"],
        argv,
        Path(entry["directory"]),
        timeout_s=entry["timeout_s"],
        stop_file=entry["stop_file"],
    )


def _where(job: Job, one: Played) -> Where:
    """What `batch_child` writes."""
    entry = next(e for e in one.batch["jobs"] if e["directory"] == str(job.directory))
    partition, submitted, started = one.times
    known = {"number": one.number, "partition": partition, "nodes": "n1"}
    return from_json({**entry["where"], **known, "submitted": submitted, "started": started})


def _is_due(job: Job, one: Played) -> bool:
    mark = job.directory / "slurm.json"
    if not mark.exists() or (job.directory / "finished.json").exists():
        return False
    return bool(json.loads(mark.read_text())["batch"] == one.name)
