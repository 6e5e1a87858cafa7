"""Tasks: what the loop does, one journal record each. Resume is: do what the journal lacks."""

import json
import math
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..engines import Engines
from ..errors import (
    EngineFailed,
    GateFailed,
    Killed,
    NotConverged,
    PhasewalkError,
    StoreError,
    TooPoor,
)
from ..files import set_aside
from ..jobs import ENDED, Event, Finished, Job, Launcher, done_before, finished
from ..moment import NOTHING, Seen
from ..store import (
    CRASH,
    EARLIER,
    FAILED,
    KIND,
    REFUSED,
    SEGMENT,
    TIME_LIMIT,
    TRAIN,
    UNCONVERGED,
    WHERE,
    Record,
    Store,
    now,
)
from ..structures import Guard
from ..where import Where, to_json
from . import guards
from .inputs import Campaign
from .under_way import UnderWay

Outputs = Mapping[str, Any]
WHOSE = "task.json"
"""File in a job's directory that names its task."""
LEARNED = (SEGMENT, TRAIN)
"""Stages whose results are used in the next round."""


class Observer(Protocol):
    """Receives the progress of a campaign; implemented by the terminal output and by tests."""

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """A stage starts; its progress counts up to `total`, in `unit`."""
        ...

    def advance(self, done: float, detail: str, seen: Seen = NOTHING) -> None:
        """The stage has reached `done`."""
        ...

    def see(self, event: Event, *, beside: bool = False) -> None:
        """An event of a job; `beside`: of one that the stage does not wait for."""
        ...

    def say(self, line: str) -> None:
        """A line to print permanently."""
        ...


@dataclass(frozen=True)
class Task:
    """A task, which is done once in a campaign.

    Attributes:
        name: unique in the campaign.
        stage: import, atom, bootstrap, segment, label, train, deploy or evaluate.
        round: 0 for the bootstrap.
        inputs: hash of its input data (frames, labels, weights, hills; not settings).
        place: its directory, relative to the campaign.
        job: returns the job for a directory.
        read: returns the outputs for the journal; raises PhasewalkError if the job failed.
        may_fail: a failure is recorded (`{"failed": reason}`) and does not end the campaign.
        again: try again if the journal has a failure.
        adopt: returns the outputs of a finished, but unrecorded run; None if there is none.
        is_part: it is one job of a task, which has no record of its own; see `parts`.
    """

    name: str
    stage: str
    round: int
    inputs: str
    place: str
    job: Callable[[Path], Job]
    read: Callable[[Finished], Outputs]
    may_fail: bool = False
    again: bool = False
    adopt: Callable[[Path], Outputs | None] = lambda directory: None
    is_part: bool = False


@dataclass(frozen=True)
class Work:
    """A running campaign: the objects that all tasks use."""

    campaign: Campaign
    store: Store
    launcher: Launcher
    engines: Engines
    observer: Observer
    under_way: UnderWay = field(default_factory=UnderWay)

    @property
    def cores(self) -> float:
        """Number of cores for all jobs together; infinite if each has as many as it asks for."""
        return math.inf if self.launcher.cores is None else self.launcher.cores

    @cached_property
    def guards(self) -> Mapping[str, Guard]:
        """The bonds of each system that its walkers must keep."""
        return guards.of(self.campaign)

    def do(
        self, tasks: Sequence[Task], watch: Callable[[Event], None] = lambda event: None
    ) -> list[Outputs]:
        """Do the tasks, side by side as cores allow; each is journalled the moment it is done.

        Args:
            tasks: what to do; those that the journal holds are not done again.
            watch: sees every event, to show progress.

        Returns:
            The outputs in the order of the tasks.
        """
        outputs = self.do_most(tasks, watch, lambda left: False)
        return [outputs[task.name] for task in tasks]

    def do_most(
        self,
        tasks: Sequence[Task],
        watch: Callable[[Event], None],
        enough: Callable[[Collection[Path]], bool],
    ) -> dict[str, Outputs]:
        """Do the tasks like `do`, but do not wait for all of them.

        Args:
            tasks: what to do.
            watch: sees every event.
            enough: is given the directories of the jobs that have not ended; if it is true, these
                go on beside what comes next, and `do` finds them running, or ended.

        Returns:
            The outputs of the tasks that are done, by name.
        """
        outputs, waiting, begun = self._begin(tasks)
        jobs = {directory: _job(task, directory) for directory, task in waiting.items()}
        started = list(jobs.values())
        jobs |= {directory: self.under_way.job(directory) for directory in begun}
        left = {**waiting, **begun}
        events = self.under_way.run(self.launcher, started, begun)
        try:
            for event in events:
                self.store.beat()
                beside = event.job.directory not in left  # it runs ahead of its turn, or is late
                self.observer.see(event, beside=beside)
                if beside:
                    continue
                watch(event)
                if isinstance(event, Finished):
                    task = left.pop(event.directory)
                    made = self._read(task, event)
                    outputs[task.name] = self.record(task, made, event.seconds, event)
                if left and enough(left):
                    break
        except BaseException:
            # All jobs must have ended before the lock is released.
            self.under_way.close()
            raise
        events.close()
        for directory, task in left.items():
            self.under_way.leave(task.name, jobs[directory])
        return outputs

    def _begin(
        self, tasks: Sequence[Task]
    ) -> tuple[dict[str, Outputs], dict[Path, Task], dict[Path, Task]]:
        """Outputs of the tasks that are done, those to start, and those that were started ahead."""
        outputs: dict[str, Outputs] = {}
        waiting: dict[Path, Task] = {}
        begun: dict[Path, Task] = {}
        for task in tasks:
            self.check_unused(task)
            running = self.under_way.place(task.name)
            if running is not None:
                begun[running] = task
                continue
            record = self.store.done(task.name, task.inputs)
            if record is not None and self.is_done(task):
                outputs[task.name] = record.outputs
                continue
            place = self.store.root / task.place
            adopted = task.adopt(place)
            if adopted is not None:
                ran = _ran(task, place)
                seconds = 0.0 if ran is None else ran.seconds
                outputs[task.name] = self.record(task, adopted, seconds, ran)
                continue
            left = self._left(task)
            if left is not None:
                outputs[task.name] = left
                continue
            if place.exists() and self.under_way.resume(
                self.launcher, task.name, _job(task, place)
            ):
                begun[place] = task
                continue
            waiting[self.store.workplace(task.place)] = task
        return outputs, waiting, begun

    def ahead(self, task: Task, *, anew: bool = False) -> None:
        """Start the job of a task beside those that run; `do` finds it running, or ended.

        Args:
            task: to start.
            anew: also if an earlier run has left something in its directory, which else is for
                `do` to look at.
        """
        left = (self.store.root / task.place).exists()
        if (left and not anew) or self.under_way.place(task.name):
            return
        job = _job(task, self.store.workplace(task.place))
        self.under_way.ahead(self.launcher, task.name, job)

    def _left(self, task: Task) -> Outputs | None:
        """Outputs of a run of exactly this job that has ended, but was killed before its record.

        Returns None if there is no such run, or if its results are not believed: it is done again.
        """
        place = self.store.root / task.place
        if not (place / ENDED).is_file():
            return None
        ran = done_before(_job(task, place))
        if ran is None:
            return None
        try:
            outputs = task.read(ran)
        except StoreError:
            raise
        except (PhasewalkError, OSError):
            return None
        return self.record(task, outputs, ran.seconds, ran)

    def is_done(self, task: Task) -> bool:
        """Whether the journal holds a task, made from the same, so that it is not done again."""
        record = self.store.done(task.name, task.inputs)
        return record is not None and not (task.again and FAILED in record.outputs)

    def check_unused(self, task: Task) -> None:
        """Raise StoreError if a task would be repeated whose result later rounds have used."""
        before = self.store.find(task.name)
        if before is None or before.inputs == task.inputs or task.stage not in LEARNED:
            return
        last = max(r.round for r in self.store.records() if r.stage in LEARNED)
        if last > task.round:
            raise StoreError(
                f"{self.store.root}: the input of {task.name} has changed (its files, "
                f"initial_data or candidates), but round {last} depends on its result; undo the "
                "change, or go back first: phasewalk rewind "
                f"{shlex.quote(str(self.store.root))} --round {max(0, task.round - 1)}"
            )

    def _read(self, task: Task, finished: Finished) -> Outputs:
        try:
            return task.read(finished)
        except StoreError:
            raise  # no failure of the task: it stays undone
        except PhasewalkError as error:
            kept = set_aside(finished.directory, FAILED)
            reason = str(error).replace(str(finished.directory), str(kept))
            if task.may_fail:
                return {FAILED: reason, KIND: _kind(error, finished)}
            kind = type(error) if isinstance(error, GateFailed | Killed | TooPoor) else EngineFailed
            raise kind(reason) from error

    def record(
        self, task: Task, outputs: Outputs, seconds: float, ran: Finished | None = None
    ) -> Outputs:
        """Record a finished task, including the costs of its earlier failed runs.

        Args:
            task: the task.
            outputs: its results, or why it failed.
            seconds: wall time.
            ran: the end of its job; None if no program was started.
        """
        if task.is_part:
            return outputs
        before = self.store.find(task.name)
        if before is not None and FAILED in before.outputs:
            spent: dict[str, Any] = {
                "seconds": before.seconds,
                "cores": before.cores,
                "time": before.time,
            }
            spent |= {WHERE: before.where} if before.where else {}
            why = {key: before.outputs[key] for key in (FAILED, KIND) if key in before.outputs}
            earlier = [*before.outputs.get(EARLIER, []), {**spent, **why}]
            outputs = {**outputs, EARLIER: earlier}
        self.note(
            task.name,
            task.stage,
            task.round,
            outputs,
            inputs=task.inputs,
            seconds=seconds,
            cores=0 if ran is None else ran.cores,
            where=None if ran is None else ran.where,
        )
        return outputs

    def note(
        self,
        name: str,
        stage: str,
        round_: int,
        outputs: Outputs,
        *,
        inputs: str = "",
        seconds: float = 0.0,
        cores: int = 0,
        where: Where | None = None,
    ) -> None:
        """Append a record to the journal."""
        took, placed = round(seconds, 3), None if where is None else to_json(where)
        self.store.append(
            Record(name, stage, round_, inputs, outputs, took, round(now(), 3), cores, placed)
        )


def in_background(task: Task) -> Task:
    """The same task, with a job for whose cores nothing waits."""
    return replace(task, job=lambda directory: replace(task.job(directory), background=True))


def _job(task: Task, directory: Path) -> Job:
    """The job of a task, with a file that names the task."""
    job = task.job(directory)
    return replace(job, inputs={**job.inputs, WHOSE: _whose(task)})


def _whose(task: Task) -> bytes:
    return json.dumps({"task": task.name, "inputs": task.inputs}).encode()


def _ran(task: Task, place: Path) -> Finished | None:
    """The end of a task's job in its directory; None if none did end there."""
    whose = place / WHOSE
    mine = whose.is_file() and whose.read_bytes() == _whose(task)
    return finished(task.job(place)) if mine and (place / ENDED).is_file() else None


def _kind(error: PhasewalkError, finished: Finished) -> str:
    if finished.returncode is None:
        return TIME_LIMIT
    if isinstance(error, NotConverged):
        return UNCONVERGED
    return CRASH if isinstance(error, EngineFailed) else REFUSED


@dataclass
class Counter:
    """Counts finished jobs for an observer."""

    observer: Observer
    done: int = 0

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, Finished):
            self.done += 1
            self.observer.advance(self.done, "")
