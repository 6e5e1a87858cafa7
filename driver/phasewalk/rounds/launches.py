"""The launches of a segment: one of all walkers, or several if there are too many for one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .. import walkers
from ..campaign import Outputs, Task, Work, config, parts
from ..jobs import Event, Finished, Job, Running
from ..moment import WalkerNow
from ..store import gather
from ..walkers import SegmentPlan, SegmentResult, Watch, division, outcomes

Read = Callable[[SegmentResult, Path], Outputs]
"""Returns the outputs of a segment from its result and the directory with all its files."""
OWN = (Finished.STDOUT, Finished.STDERR, walkers.SEGMENT, "srun.txt")
"""Files of each launch that do not belong to a walker, besides those in JSON."""


@dataclass(frozen=True)
class Walk:
    """A segment with its launches.

    Attributes:
        task: of the segment.
        plan: of all walkers, without the files of hills.
        begun: the same with these files, which are written when the segment starts.
        launches: plans of the launches, without the files of hills.
        read: reads the results.
    """

    task: Task
    plan: SegmentPlan
    begun: Callable[[], SegmentPlan]
    launches: tuple[SegmentPlan, ...]
    read: Read

    @classmethod
    def of(
        cls, work: Work, task: Task, plan: SegmentPlan, begun: Callable[[], SegmentPlan], read: Read
    ) -> "Walk":
        """Divide a segment into as many launches as are needed; one that is recorded into none.

        Raises:
            InputError: walkers that share hills within the round do not fit into one launch.
        """
        most = (
            None
            if work.is_done(task)
            else config.most_walkers(work.campaign.settings, work.launcher)
        )
        found = division.parts(plan, most, parts.division(work, task))
        return cls(task, plan, begun, found, read)

    def outputs(self, work: Work, watch: Callable[[Event], None]) -> Outputs:
        """Run what has not ended, and return the outputs; see `parts.do`."""
        if len(self.launches) > 1:
            return parts.do(work, self.task, self._parts(work), partial(self._all, work), watch)
        (outputs,) = work.do([self.task], watch)
        parts.clear(work, self.task)
        return outputs

    def directories(self, work: Work) -> list[Path]:
        """Directory of each launch."""
        if len(self.launches) == 1:
            return [work.store.root / self.task.place]
        count = len(self.launches)
        return [work.store.root / parts.place_of(self.task, n + 1) for n in range(count)]

    def _parts(self, work: Work) -> list[parts.Part]:
        count = len(self.launches)
        found = []
        for number, plan in enumerate(self.launches, start=1):
            task = replace(
                self.task,
                name=f"{self.task.name} launch {number} of {count}",
                place=parts.place_of(self.task, number),
                job=partial(self._job, work, number),
                read=partial(self._checked, plan),
            )
            found.append(parts.Part(task, [walker.id for walker in plan.walkers]))
        return found

    def _job(self, work: Work, number: int, directory: Path) -> Job:
        job = walkers.job(self._full(number), engines=work.engines, directory=directory)
        return replace(job, name=f"{job.name}, launch {number} of {len(self.launches)}")

    def _full(self, number: int) -> SegmentPlan:
        """The plan of a launch with the files of hills."""
        return replace(self.launches[number - 1], histories=self.begun().histories)

    def _checked(self, plan: SegmentPlan, finished: Finished) -> Outputs:
        outcomes.check(finished, plan)
        return {}

    def _all(self, work: Work, ends: Sequence[Finished]) -> Outputs:
        """Gather the files of all launches in the directory of the segment, and read them."""
        pairs = [(end, self._full(number)) for number, end in enumerate(ends, start=1)]
        result = outcomes.read_launches(pairs)
        files: dict[str, Path] = {}
        first = 0
        for number, (end, plan) in enumerate(pairs, start=1):
            for name, path in division.files_of(plan, first, end.directory).items():
                own = name in OWN or name.endswith(".json")
                files.setdefault(f"launch-{number}/{name}" if own else name, path)
            first += len(plan.walkers)
        return self.read(result, gather(work.store, self.task.place, files))


@dataclass
class Look:
    """Looks at the walkers of all launches of a segment while they run.

    Attributes:
        walk: the segment.
        directories: of its launches.
        rows: what was last seen of the walkers of each launch.
        left_s: remaining time; None if it is not known, as that of several launches.
    """

    walk: Walk
    directories: Sequence[Path]
    rows: list[tuple[WalkerNow, ...]] = field(init=False)
    left_s: float | None = None
    _watches: list[Watch] = field(init=False)

    def __post_init__(self) -> None:
        self._watches = [Watch(plan) for plan in self.walk.launches]
        places = zip(self._watches, self.directories, strict=True)
        several = len(self._watches) > 1
        self.rows = [watch.look(place, 0.0) if several else () for watch, place in places]

    def see(self, event: Event) -> int | None:
        """Look at the walkers of a running launch; its number, or None if it is not time for it."""
        if not isinstance(event, Running) or event.job.directory not in self.directories:
            return None
        number = self.directories.index(event.job.directory)
        watch = self._watches[number]
        if not watch.is_due(event.seconds):
            return None
        rows = self.rows[number] = watch.look(event.job.directory, event.seconds)
        left = watch.seconds_left(rows, event.seconds)
        self.left_s = left if len(self.rows) == 1 else None
        return number
