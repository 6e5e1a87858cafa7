"""A task whose work is several jobs, with one record in the journal.

What a job has finished is known by its directory, as that of any task that was killed before its
record: whoever comes back takes it from there.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import EngineFailed, Killed, ParseError, PhasewalkError
from ..files import read
from ..jobs import Event, Finished
from ..store import FAILED, drop
from .tasks import Outputs, Task, Work

DIVISION = ".division"
"""End of the name of the file that says how a task is divided, beside its directory."""
Division = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """One of the jobs of a task.

    Attributes:
        task: of the job; `read` raises PhasewalkError if it failed, and returns nothing of use.
        names: what it works on.
    """

    task: Task
    names: Sequence[str]


def place_of(task: Task, number: int) -> str:
    """Directory of a job of a task, numbered from 1, relative to the campaign."""
    return f"{task.place}.part-{number}"


def division(work: Work, task: Task) -> Division:
    """How a task was divided when it was begun; empty if it was not."""
    try:
        return read(work.store.root / f"{task.place}{DIVISION}", list[list[str]])
    except ParseError:
        return []


def do(
    work: Work,
    task: Task,
    parts: Sequence[Part],
    made: Callable[[Sequence[Finished]], Outputs],
    watch: Callable[[Event], None],
) -> Outputs:
    """Do a task by several jobs, those that have not ended, and record it.

    Args:
        work: the campaign.
        task: its own `job` and `read` are not used.
        parts: its jobs.
        made: returns the outputs of the task from the ends of all jobs.
        watch: sees every event.

    Raises:
        Killed: a job was ended from outside; the others have ended, and are not repeated.
        EngineFailed: a job failed.
    """
    names = json.dumps([list(part.names) for part in parts])
    work.store.write(f"{task.place}{DIVISION}", names.encode())
    ended: dict[str, Finished] = {}
    failures: list[PhasewalkError] = []

    def kept(part: Task) -> Task:
        def look(finished: Finished) -> Outputs:
            try:
                part.read(finished)
            except PhasewalkError as error:
                failures.append(error)
                raise
            ended[part.name] = finished
            return {}

        return replace(part, read=look, may_fail=True, is_part=True)

    outputs = work.do([kept(part.task) for part in parts], watch)
    reasons = [found[FAILED] for found in outputs if FAILED in found]
    if reasons:
        kind = Killed if any(isinstance(one, Killed) for one in failures) else EngineFailed
        raise kind(reasons[0])
    ends = [ended[part.task.name] for part in parts]
    found = work.record(task, made(ends), _seconds(ends), together(ends))
    clear(work, task)
    return found


def clear(work: Work, task: Task) -> None:
    """Delete the directories of the jobs of a task that is recorded, and how it was divided."""
    for number, _ in enumerate(division(work, task), start=1):
        drop(work.store, place_of(task, number))
    drop(work.store, f"{task.place}{DIVISION}")


def _seconds(ends: Sequence[Finished]) -> float:
    """Wall time of jobs that ran side by side, or one after another without what was between."""
    total = sum(one.seconds for one in ends)
    began = [one.where.started for one in ends if one.where and one.where.started is not None]
    if len(began) < len(ends):
        return total
    last = max(start + one.seconds for start, one in zip(began, ends, strict=True))
    return min(total, last - min(began))


def together(ends: Sequence[Finished]) -> Finished:
    """One end for several jobs, with the mean number of their cores and GPUs, for their cost."""
    seconds = _seconds(ends) or 1.0
    cores = round(sum(one.cores * one.seconds for one in ends) / seconds)
    one = ends[0]
    job = replace(one.job, nodes=1, ranks=max(1, cores), threads=1)
    if one.where is None:
        return replace(one, job=job)
    gpus = round(sum(end.where.gpus * end.seconds for end in ends if end.where) / seconds)
    nodes = ",".join(dict.fromkeys(end.where.nodes for end in ends if end.where))
    return replace(one, job=job, where=replace(one.where, cores=cores, gpus=gpus, nodes=nodes))
