"""Batch jobs as files: what is written before one is submitted, and what is read by whoever comes.

Each batch job has a folder: `batch.sh`, its script; `batch.json`, what `batch_child` runs;
`batch.out`, what Slurm and the script print; `submitted.json`, its number. The directory of each of
its jobs has `slurm.json`, which names it. All but the number are written before it is submitted;
the number of a batch job whose driver was killed in between is found by its name.
"""

import json
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .. import jobs
from ..cluster import KIND_OF, Need, PlaceSettings
from ..engines import workplace
from ..errors import ParseError
from ..files import read, set_aside, write_file
from ..jobs import Finished, Job
from ..submitted import NUMBER
from ..where import MARK, Where, to_json
from . import scripts
from .scheduler import How, Scheduler, State

SCRIPT, JOBS = "batch.sh", "batch.json"
CHILD = Path(__file__).with_name("batch_child.py")
LOOK_S = 60.0
"""Time between two looks of a batch job at whether what it runs is still wanted."""
STOPPED_S = 2.0
"""Time after a failure in which a SIGTERM shows that Slurm caused it."""
LOST = "lost"
"""Part of the name of a directory whose job Slurm has lost."""
MOST_LOST = 3
"""Number of such directories that are kept of a job."""
_TAIL = 2**14


@dataclass(frozen=True)
class Mark:
    """What `slurm.json` says.

    Attributes:
        batch: name of the batch job.
        tries: number of times that the job has been submitted, with this one, without those after
            a loss.
        losses: number of times that Slurm has lost its node or preempted it.
    """

    batch: str
    tries: int = 1
    losses: int = 0


@dataclass(frozen=True)
class _Number:
    id: str


@dataclass(frozen=True)
class Plan:
    """How jobs share a batch job.

    Attributes:
        need: what the batch job occupies.
        at_a_time: number of jobs that run side by side.
        pack_min: minutes after which no further job begins.
    """

    need: Need
    at_a_time: int = 1
    pack_min: float = 0.0


@dataclass
class Batch:
    """A batch job.

    Attributes:
        name: of the batch job.
        need: what it occupies.
        number: in the queue; None if it is not known whether it is there.
        since: when it was submitted.
        members: directory → job, of those whose end is not known.
        marks: directory → how often its job was submitted.
        placed: directory → what is known of its place without the queue.
        started: directory → when its program was first seen running.
        alone: it had one job from the start.
        state: as last seen.
        begun: its last start that was seen, seconds since 1970.
        over: when it was first seen to have ended.
        adopted: it was submitted by an earlier process.
        good: none of its jobs has failed or was submitted again.
    """

    name: str
    need: Need
    number: str | None
    since: float
    alone: bool
    members: dict[Path, Job] = field(default_factory=dict)
    marks: dict[Path, Mark] = field(default_factory=dict)
    placed: dict[Path, Where] = field(default_factory=dict)
    started: dict[Path, float] = field(default_factory=dict)
    state: State | None = None
    begun: float | None = None
    over: float | None = None
    adopted: bool = False
    good: bool = True

    def join(self, job: Job, place: PlaceSettings, mark: Mark) -> None:
        """Take in a job of this place."""
        self.members[job.directory] = job
        self.marks[job.directory] = mark
        self.placed[job.directory] = replace(where_of(job, place), losses=mark.losses or None)

    def see(self, state: State | None) -> None:
        """Take in its state; a later start shows that Slurm has put it back into the queue."""
        self.state = state
        if state is None or state.started is None:
            return
        if self.begun is not None and state.started > self.begun:
            for directory in self.members:
                known = self.placed[directory]
                self.placed[directory] = replace(known, losses=(known.losses or 0) + 1)
        self.begun = state.started

    def where(self, job: Job, how: How | None = None) -> Where:
        """Where one of its jobs waits or runs.

        Args:
            job: the job.
            how: its end, if the queue has said it.
        """
        said, known = how or self.state, self.placed[job.directory]
        number = self.number or ""
        if said is None:
            return replace(known, number=number)
        return replace(
            known,
            partition=said.partition or known.partition,
            number=number,
            nodes=said.nodes,
            submitted=said.submitted,
            started=said.started,
        )


def new_name(kind: str) -> str:
    """A name that no other batch job has, with the kind of work."""
    return f"phasewalk-{kind}-{secrets.token_hex(5)}"


def where_of(job: Job, place: PlaceSettings) -> Where:
    """What is known of a job before it is submitted; its own share of a batch job."""
    need = scripts.needs(job, place)
    cores, gpus = need.cores, need.gpus * (need.nodes or 1)
    return Where(kind_of(job), place.partition or "", cores=cores, gpus=gpus)


def kind_of(job: Job) -> str:
    """Name of the site file's settings that a job uses."""
    return KIND_OF[job.kind]


def place_files(job: Job, mark: Mark, *, staged: bool) -> None:
    """Write what a job reads, and which batch job it belongs to.

    Args:
        job: the job.
        mark: the batch job.
        staged: its files are there, since it has been submitted before, but was not started.
    """
    if not staged:
        workplace.write(job)  # the node makes its folder for temporary files
    write_file(job.directory / MARK, json.dumps(asdict(mark)).encode())


def write_batch(folder: Path, members: Sequence[Job], place: PlaceSettings, plan: Plan) -> Path:
    """Write the files of a batch job and return its script.

    Args:
        folder: of the batch job; its name is that of the batch job.
        members: what it runs, in this order.
        place: where.
        plan: what it occupies.
    """
    several = plan.at_a_time > 1
    content = {
        "name": folder.name,
        "at_a_time": plan.at_a_time,
        "last_start_s": plan.pack_min * 60 if len(members) > 1 else 1e9,
        "look_s": LOOK_S,
        "stopped_s": STOPPED_S,
        "environ": dict(workplace.TEXT),
        "mark": MARK,
        "ended": jobs.ENDED,
        "stdout": Finished.STDOUT,
        "stderr": Finished.STDERR,
        "number": NUMBER,
        "scratch": workplace.SCRATCH,
        "over": workplace.OVER,
        "jobs": [_entry(job, place, step=several) for job in members],
    }
    folder = folder.absolute()
    write_file(folder / JOBS, json.dumps(content, indent=1).encode())
    write_file(folder / SCRIPT, script(folder, members[0], place, plan.need).encode())
    return folder / SCRIPT


def script(folder: Path, job: Job, place: PlaceSettings, need: Need) -> str:
    """The text of the script of a batch job.

    Args:
        folder: of the batch job; its name is that of the batch job.
        job: the first of its jobs.
        place: where it runs.
        need: what it occupies.
    """
    argv = (sys.executable, "-I", "-S", str(CHILD), JOBS)
    options = scripts.whole_cores(place)
    if job.stop_file:  # only its driver knows how it goes on
        early_s = workplace.early_s(60.0 * need.minutes)
        options = (*options, "--no-requeue", f"--signal=B:USR1@{early_s:.0f}")
    return scripts.batch_script(
        argv, place, name=folder.name, folder=folder, need=need, options=options
    )


def _entry(job: Job, place: PlaceSettings, *, step: bool) -> Mapping[str, object]:
    return {
        "name": job.name,
        "directory": str(job.directory.absolute()),
        "argv": list(scripts.words(job, place, step=step)),
        "env": scripts.variables(job, place),
        "timeout_s": job.timeout_s,
        "stop_file": job.stop_file,
        "where": to_json(where_of(job, place)),
        "keep": [*job.inputs, *job.links],
        "grows": {name: job.inputs[name].decode() for name in sorted(job.grows)},
        "copies": {name: str(source.absolute()) for name, source in job.copies.items()},
    }


def mark_of(directory: Path) -> Mark | None:
    """Which batch job a directory belongs to; None if to none."""
    try:
        return read(directory / MARK, Mark)
    except ParseError:
        return None


def number_of(folder: Path) -> str | None:
    """Number of a batch job, if it was written."""
    try:
        return read(folder / NUMBER, _Number).id
    except ParseError:
        return None


def write_number(folder: Path, number: str) -> None:
    """Write the number of a batch job that has been submitted."""
    write_file(folder / NUMBER, json.dumps({"id": number}).encode())


def directories(folder: Path) -> list[Path]:
    """Directories of the jobs of a batch job; none if they cannot be read."""
    try:
        found = json.loads((folder / JOBS).read_bytes())["jobs"]
        return [Path(one["directory"]) for one in found]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def has_started(job: Job) -> bool:
    """Whether the program of a job has been started in its directory."""
    return (job.directory / Finished.STDOUT).exists()


def forget(directory: Path) -> None:
    """A batch job that runs, or will run, leaves this directory alone."""
    (directory / MARK).unlink(missing_ok=True)


def give_up(job: Job) -> None:
    """Keep what a lost job has left, under another name; of many losses the first ones."""
    forget(job.directory)
    if job.directory.with_name(f"{job.directory.name}.{LOST}-{MOST_LOST}").exists():
        shutil.rmtree(job.directory)
    else:
        set_aside(job.directory, LOST)


def delete(folder: Path) -> None:
    """Delete the files of a batch job."""
    shutil.rmtree(folder, ignore_errors=True)


def printed(folder: Path, job: Job) -> str:
    """The last lines of a batch job's own output and of its program's errors."""
    paths = (job.directory / Finished.STDERR, folder / scripts.OUTPUT)
    return "\n".join(_tail(path) for path in paths)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def cancel_all(folder: Path, scheduler: Scheduler, *, within: Path) -> list[str]:
    """Cancel the batch jobs of a campaign; the next run submits their jobs again.

    Args:
        folder: of the files of batch jobs, also of other campaigns.
        scheduler: the queue.
        within: the campaign directory.

    Returns:
        The numbers of those that were in the queue.

    Raises:
        NotNow: the queue does not answer.
    """
    found = in_queue(folder, scheduler, within=within)
    for state in found.values():
        for place in directories(folder / state.name):
            forget(place)
    scheduler.cancel(list(found))
    return list(found)


def in_queue(folder: Path, scheduler: Scheduler, *, within: Path) -> dict[str, State]:
    """The batch jobs of a directory that wait or run, by number; see `cancel_all`."""
    root, found = within.resolve(), {}
    for number, state in scheduler.states().items():
        places = [] if state.ended else directories(folder / state.name)
        if places and all(place.resolve().is_relative_to(root) for place in places):
            found[number] = state
    return found
