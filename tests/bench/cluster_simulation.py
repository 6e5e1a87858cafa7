"""A campaign in the queue of a simulated cluster: what is used, what is lost, what it costs.

`python tests/bench/cluster_simulation.py` learns with 100 walkers for 20 rounds, `--walkers 1000
--rounds 100` with as many as that. The campaign, the launcher of `mode: jobs` and all files are
real; engines are fakes (`helpers/fake_engines`), and so is Slurm (`helpers/fake_slurm`, which obeys
the contract of launchers as the real one does), whose clock goes from event to event: nothing
sleeps. Labels fail, some take ten times as long, nodes are lost, batch jobs are preempted, the
queue does not answer for a while, and phasewalk itself is killed and started again.

Of the CPU time of this process the driver's is what fakes and queue did not take. Operations on
metadata are those that Python reports (`sys.addaudithook`: opening, renaming, making, linking and
deleting files and folders, listing folders); `stat` is not among them.
"""

import argparse
import hashlib
import math
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from helpers import fake_campaign
from helpers.fake_engines import FakeEngines
from helpers.fake_slurm import FakeSlurm, Played
from helpers.fakes import Watcher
from phasewalk.batch import JobsLauncher
from phasewalk.batch.scheduler import How, State
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.errors import EngineFailed
from phasewalk.jobs import Event, Finished, Job

MINUTES = {"segment": 60.0, "train": 30.0, "compile": 10.0, "evaluate": 1.0, "label": 10.0}
"""Mean time of a job of each kind; all others take a minute."""
HOUR = 3600.0
SPREAD = 0.5
"""Of the logarithm of the time of a label."""
LATE = 10.0
"""A straggler takes so many times as long."""
LAUNCHER = "slurm"
MORE = """
resources: {{walkers_per_core: {walkers}}}
reference: {{timeout_s: 86400, late_factor: {late_factor}}}
"""


@dataclass(frozen=True)
class Given:
    """What is simulated.

    Attributes:
        walkers, rounds: of the campaign.
        cores, gpus: of the cluster, for this user.
        max_jobs, pack_cores: of the site file.
        node_cores: cores of a CPU node, which a batch job has to itself; 0: only what it asks for.
        failures: share of labels whose program fails.
        stragglers: share of labels that take `LATE` times as long.
        loss_h, preemption_h, silence_h, kill_h: mean time between two lost nodes, two preempted
            batch jobs, two silences of the queue, two kills of phasewalk; 0: there are none.
        late_factor: of the campaign file.
        seed: of what happens.
    """

    walkers: int = 100
    rounds: int = 20
    cores: int = 128
    gpus: int = 8
    max_jobs: int = 50
    pack_cores: int = 16
    node_cores: int = 0
    failures: float = 0.01
    stragglers: float = 0.02
    loss_h: float = 8.0
    preemption_h: float = 8.0
    silence_h: float = 24.0
    kill_h: float = 24.0
    late_factor: float = 5.0
    seed: int = 1


class Operations:
    """Counts operations on metadata below a folder.

    Attributes:
        seen: (who, what it belongs to, operation) → number; who is "driver" or "job".
        who: whose operations they are now.
    """

    NAMES: Mapping[str, str] = {
        "open": "open",
        "os.rename": "rename",
        "os.mkdir": "mkdir",
        "os.remove": "unlink",
        "os.rmdir": "rmdir",
        "os.symlink": "link",
        "os.link": "link",
        "os.listdir": "list",
        "os.scandir": "list",
    }

    def __init__(self, folder: Path) -> None:
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.who = "driver"
        self._start = f"{folder}/"
        self._on = True
        sys.addaudithook(self._hook)

    def stop(self) -> None:
        """Count no more; a hook stays for ever."""
        self._on = False

    def per(self, what: str, count: int) -> str:
        """A cell: operations for one of so many."""
        numbers = dict.fromkeys(("driver", "job"), 0)
        kinds: Counter[str] = Counter()
        for (who, of, operation), number in self.seen.items():
            if of == what:
                numbers[who] += number
                kinds[operation] += number
        shown = ", ".join(f"{name} {number / count:.1f}" for name, number in kinds.most_common(4))
        both = sum(numbers.values()) / count
        return f"{both:.1f} (driver {numbers['driver'] / count:.1f}; {shown})"

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on or event not in self.NAMES:
            return
        path = args[0]
        if isinstance(path, bytes):
            path = path.decode(errors="replace")
        text = str(path)
        if text.startswith(self._start):
            self.seen[self.who, belongs(text[len(self._start) :]), self.NAMES[event]] += 1
        elif event in ("os.remove", "os.rmdir") and not text.startswith("/"):
            self.seen[self.who, "batch", self.NAMES[event]] += 1  # of `shutil.rmtree`


def belongs(path: str) -> str:
    """What a file below the folder of a campaign belongs to: a label, a walker's round …."""
    parts = path.split("/")
    if parts[0] == LAUNCHER:
        return "batch"
    if parts[0] == "cache":
        return "label" if "labels" in parts else "other"
    if parts[1:2] == ["labels"]:
        return "label"
    if parts[1:2] == ["bias"]:
        return "walker"
    if parts[1:2] == ["rounds"] and len(parts) > 3:
        return {"label": "label", "segment": "walker"}.get(parts[3].partition(".")[0], "other")
    return "other"


@dataclass
class Cluster(FakeSlurm):
    """A Slurm whose nodes have cores and GPUs, and on which something happens now and then.

    Attributes:
        given: what is simulated.
        operations: counts those of jobs.
        cpu: CPU seconds that it took, with what it played.
        charged, useful: core-hours and GPU-hours of batch jobs, and of jobs that ended.
        happened: what has happened, and how often.
        queued: largest number of batch jobs that waited or ran.
        kinds: kind of work of each batch job.
    """

    given: Given = field(default_factory=Given)
    operations: Operations | None = None
    cpu: float = 0.0
    charged: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    useful: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    happened: Counter[str] = field(default_factory=Counter)
    queued: int = 0
    kinds: list[str] = field(default_factory=list)
    _asked: dict[str, Counter[str]] = field(default_factory=dict)
    _needs: dict[str, Counter[str]] = field(default_factory=dict)
    """What batch jobs ask for, and what they get."""
    _taken: Counter[str] = field(default_factory=Counter)
    _due: dict[str, float] = field(default_factory=dict)
    _rng: random.Random = field(default_factory=random.Random)
    _depth: int = 0

    def __post_init__(self) -> None:
        self._rng.seed(self.given.seed)
        self._every = {
            "a node is lost": self.given.loss_h,
            "a batch job is preempted": self.given.preemption_h,
            "the queue is silent": self.given.silence_h,
        }
        self._due = {what: self._next_of(hours) for what, hours in self._every.items()}

    def sleep(self, seconds: float) -> None:
        """Play until then, with what happens meanwhile."""
        with self._own():
            until = self.time + seconds
            while (at := min(self._due.values())) <= until:
                super().sleep(max(0.0, at - self.time))
                self._trouble(min(self._due, key=self._due.__getitem__))
            super().sleep(until - self.time)

    def submit(self, script: Path) -> str:
        """See `Scheduler.submit`."""
        with self._own():
            number = super().submit(script)
            asked = self._asked[number] = _asked(self.jobs[number].text)
            whole = max(1, self.given.node_cores)
            self._needs[number] = Counter(
                {n: math.ceil(c / whole) * whole if n == "cores" else c for n, c in asked.items()}
            )
            self.kinds.append(self.jobs[number].name.split("-")[1])
            self.queued = max(self.queued, sum(not one.ended for one in self.jobs.values()))
            return number

    def states(self) -> Mapping[str, State]:
        """See `Scheduler.states`."""
        with self._own():
            return super().states()

    def ended(self, number: str) -> How | None:
        """See `Scheduler.ended`."""
        with self._own():
            return super().ended(number)

    def cancel(self, numbers: Collection[str]) -> None:
        """See `Scheduler.cancel`."""
        with self._own():
            super().cancel(numbers)

    def fits(self, one: Played) -> bool:
        """Whether there are cores and GPUs for it; they are taken."""
        need = self._needs[one.number]
        limits = {"cores": self.given.cores, "GPUs": self.given.gpus}
        if any(need[name] + self._taken[name] > limits[name] for name in need):
            return False
        self._taken.update(need)
        return True

    def end(self, one: Played, state: str) -> None:
        """See `FakeSlurm.end`."""
        self._release(one)
        super().end(one, state)

    def requeue(self, one: Played) -> None:
        """See `FakeSlurm.requeue`."""
        self._release(one)
        super().requeue(one)

    def _release(self, one: Played) -> None:
        if one.state == "RUNNING":
            need = self._needs[one.number]
            self._taken.subtract(need)
            for name, number in need.items():
                self.charged[name] += number * (self.time - one.begun) / HOUR

    def _happen(self, one: Played) -> None:
        ended = min(one.going, key=lambda going: going.until)
        share = 1.0 / one.batch.get("at_a_time", 1)
        super()._happen(one)
        if one.state not in ("TIMEOUT", "NODE_FAIL"):
            for name, number in self._asked[one.number].items():
                hours = (self.time - ended.since) / HOUR
                self.useful[name] += share * number * hours

    def _trouble(self, what: str) -> None:
        self._due[what] = self.time + self._next_of(self._every[what])
        running = self.running()
        if what == "the queue is silent":
            self.silent_until = self.time + 300.0
        elif not running:
            return
        elif what == "a node is lost":
            self.lose(self._rng.choice(running))
        elif self._rng.random() < 0.5:
            self.requeue(self._rng.choice(running))
        else:
            self.end(self._rng.choice(running), "PREEMPTED")
        self.happened[what] += 1

    def _next_of(self, hours: float) -> float:
        return self._rng.expovariate(1.0 / (hours * HOUR)) if hours else math.inf

    @contextmanager
    def _own(self) -> Iterator[None]:
        """What is done in here is not the driver's."""
        self._depth += 1
        began = time.process_time()
        if self.operations:
            self.operations.who = "job"
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.cpu += time.process_time() - began
                if self.operations:
                    self.operations.who = "driver"


def _asked(script: str) -> Counter[str]:
    """Cores of a batch job without GPUs; GPUs of one that has some."""
    numbers = dict(re.findall(r"--(ntasks|cpus-per-task|nodes|gres)=(?:gpu:)?(\d+)", script))
    if "gres" in numbers:
        return Counter({"GPUs": int(numbers["nodes"]) * int(numbers["gres"])})
    return Counter({"cores": int(numbers["ntasks"]) * int(numbers["cpus-per-task"])})


@dataclass
class Programs:
    """Fake engines, of which some labels fail; counts the labels that were paid.

    Attributes:
        given: what is simulated.
        paid: request of a label → how often it was computed with success.
        failed: number of labels whose program failed.
        engines: the fakes.
    """

    given: Given
    paid: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    engines: FakeEngines = field(default_factory=lambda: FakeEngines(remembers=False))

    def __call__(self, job: Job) -> int:
        """Do the work of a job."""
        if not job.name.startswith("label "):
            return self.engines(job)
        if self._draw(job, "fails").random() < self.given.failures:
            (job.directory / Finished.STDERR).write_text("the node's disk is full\n")
            self.failed += 1
            return 1
        code = self.engines(job)
        self.engines.done.clear()
        if code == 0:
            request = (job.directory / "request.json").read_bytes()
            self.paid[hashlib.sha256(request).hexdigest()] += 1
        return code

    def takes(self, job: Job) -> float:
        """Seconds of a job, the same at each try."""
        kind = job.name.split()[0]
        seconds = 60.0 * MINUTES.get(kind, 1.0)
        if kind != "label":
            return seconds
        draw = self._draw(job, "takes")
        seconds *= draw.lognormvariate(-(SPREAD**2) / 2, SPREAD)
        return seconds * (LATE if draw.random() < self.given.stragglers else 1.0)

    def _draw(self, job: Job, what: str) -> random.Random:
        return random.Random(f"{self.given.seed} {what} {job.name}")


@dataclass
class Killer(Watcher):
    """An observer at whose events phasewalk is killed now and then; it remembers nothing.

    Attributes:
        clock: time of the cluster.
        hours: mean time between two kills; 0: there are none.
        kills: number of kills so far.
    """

    clock: Callable[[], float] = lambda: 0.0
    hours: float = 0.0
    kills: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    _next: float | None = None

    def see(self, event: Event, *, beside: bool = False) -> None:
        """See the event; KeyboardInterrupt if its time has come.

        Every second time when a job has ended, and this is not in the journal yet.
        """
        if not self.hours:
            return
        late = self._next is not None and self.clock() > self._next
        if late and (self.kills % 2 or isinstance(event, Finished)):
            self._next = None
            self.kills += 1
            raise KeyboardInterrupt
        if self._next is None:
            self._next = self.clock() + self.rng.expovariate(1.0 / (self.hours * HOUR))

    def advance(self, *told: Any, **more: Any) -> None:
        """Remember nothing."""

    def begin(self, round: int, stage: str, *told: Any) -> None:
        """Remember nothing."""


def site(given: Given) -> SiteSettings:
    """CPU nodes for labels, GPUs for all else."""
    gpu = {"partition": "gpu", "gpus": 1, "time_min": 120.0}
    return SiteSettings(
        site="simulated",
        max_jobs=given.max_jobs,
        pack_cores=given.pack_cores,
        default=PlaceSettings(partition="cpu", memory_GB=2, time_min=300),
        segment=PlaceSettings(**{**gpu, "gpus": given.gpus}),
        train=PlaceSettings(**gpu),
        compile=PlaceSettings(**gpu),
        evaluate=PlaceSettings(**gpu),
    )


def simulate(folder: Path, given: Given) -> dict[str, Any]:
    """Run the campaign to its end; what was measured."""
    programs = Programs(given)
    campaign = fake_campaign.make(
        folder,
        rounds=given.rounds,
        walkers=given.walkers,
        bootstrap=given.walkers,
        more=MORE.format(walkers=given.walkers, late_factor=given.late_factor),
    )
    cluster = Cluster(play=programs, takes=programs.takes, given=given)
    killer = Killer(clock=cluster.now, hours=given.kill_h)
    operations = cluster.operations = Operations(folder)
    began = time.process_time(), time.monotonic()
    try:
        while True:
            launcher = JobsLauncher(site(given), cluster, folder / LAUNCHER, folder, clock=cluster)
            try:
                campaign.run(launcher=launcher, watcher=killer)
                break
            except KeyboardInterrupt:
                cluster.happened["phasewalk is killed"] += 1
            except EngineFailed:  # a segment that was lost three times: the same command again
                cluster.happened["phasewalk gives up"] += 1
    finally:
        operations.stop()
    return {
        "given": given,
        "hours": cluster.time / HOUR,
        "cpu": time.process_time() - began[0] - cluster.cpu,
        "wall": time.monotonic() - began[1],
        "cluster": cluster,
        "programs": programs,
        "operations": operations,
        "files": files(folder),
        "labels": len(list((campaign.root / "labels").glob("*.json"))),
        "memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def files(folder: Path) -> Counter[str]:
    """What files and links belong to → their number."""
    found: Counter[str] = Counter()
    for place, _, names in os.walk(folder):
        for name in names:
            found[belongs(os.path.relpath(f"{place}/{name}", folder))] += 1
    return found


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The table."""
    given, cluster, programs = found["given"], found["cluster"], found["programs"]
    paid, hours = programs.paid, found["hours"]
    labels, walks = max(1, len(paid)), given.walkers * given.rounds
    used = [
        f"{cluster.useful[name] / hours:.1%} of {hours:.0f} {name.removesuffix('s')}-hours"
        for name, hours in cluster.charged.items()
    ]
    happened = [f"{number} × {what}" for what, number in sorted(cluster.happened.items())]
    share = found["cpu"] / (hours * HOUR + found["cpu"])
    operations, kept = found["operations"], found["files"]
    return [
        ("walkers × rounds", f"{given.walkers} × {given.rounds}"),
        ("virtual wall time", f"{hours:.1f} h"),
        ("what happened", ", ".join(happened)),
        ("labels paid", f"{len(paid)}, and {programs.failed} that failed"),
        ("labels paid twice", f"{twice(found)}"),
        ("labels lost", f"{lost(found)}"),
        ("used of what was charged", "; ".join(used)),
        ("driver, CPU", f"{found['cpu']:.1f} s: {share:.3%} of the wall time"),
        ("driver, memory", f"{found['memory_GB']:.2f} GB (with the fakes)"),
        ("batch jobs", f"{len(cluster.sizes)}, at most {cluster.queued} in the queue at a time"),
        ("labels in a batch job", f"{labels / max(1, cluster.kinds.count('label')):.1f}"),
        ("calls of squeue", f"{len(cluster.asked) / hours:.0f} per hour"),
        ("files per label", f"{kept['label'] / labels:.1f}"),
        ("files per walker and round", f"{kept['walker'] / walks:.1f}"),
        ("files in all", f"{sum(kept.values())}"),
        ("operations per label", operations.per("label", labels)),
        ("operations per walker and round", operations.per("walker", walks)),
        ("operations per batch job", operations.per("batch", len(cluster.sizes))),
        ("simulated in", f"{found['wall']:.0f} s"),
    ]


def twice(found: dict[str, Any]) -> int:
    """Number of labels that were computed again."""
    return sum(number - 1 for number in found["programs"].paid.values())


def lost(found: dict[str, Any]) -> int:
    """Number of labels that were computed, and are not in the campaign."""
    return len(found["programs"].paid) - found["labels"]


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="cluster_simulation.py")
    for name, value in vars(Given()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help=f"({value})")
    parser.add_argument("--keep", type=Path, help="new folder to work in, which is kept")
    given = vars(parser.parse_args())
    keep = given.pop("keep")
    with tempfile.TemporaryDirectory(prefix="phasewalk-simulation-") as temporary:
        found = simulate(keep or Path(temporary) / "campaign", Given(**given))
    for what, value in rows(found):
        print(f"| {what:<32} | {value} |")
    sys.exit(1 if twice(found) or lost(found) else 0)


if __name__ == "__main__":
    main()
