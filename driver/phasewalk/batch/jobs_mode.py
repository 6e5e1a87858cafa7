"""Jobs mode: each job, or some short labels together, is a batch job of Slurm.

The jobs do not depend on this process: if it ends, they go on, and `resume` takes them over. What
has become of a job is read from its directory; Slurm is asked only about batch jobs that have left
no result there.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import jobs
from ..cluster import NotNow
from ..jobs import Event, Finished, Job, Queued, Running, Started
from ..where import over
from . import batches, ended
from .asking import Queue
from .batches import Batch, Mark
from .ended import Verdict
from .launcher import JobsLauncher
from .packing import Line, Wait, plan
from .scheduler import How
from .scripts import needs

SIGN_S = 10.0
"""Longest time without an event while jobs wait or run."""
NEW_SIGN_S = 2.5
"""The same after jobs were submitted: who shows or notes events does so every two seconds."""
LATE_S = 75.0
"""Time after the end of a batch job in which its files may still appear on this machine."""


@dataclass
class JobsSession:
    """Jobs in the queue of a cluster; see `jobs.Session`."""

    launcher: JobsLauncher
    _line: Line = field(default_factory=Line)
    _batches: dict[str, Batch] = field(default_factory=dict)
    _due: deque[Event] = field(default_factory=deque)
    _queue: Queue = field(init=False)
    _new: bool = False
    """Jobs were submitted since the last pause."""

    def __post_init__(self) -> None:
        own = self.launcher
        self._queue = Queue(own.scheduler, own.clock, own.site.poll_s)

    def add(self, job: Job) -> None:
        """Add a job."""
        self._line.add(Wait(job))

    def resume(self, job: Job) -> bool:
        """Take over a job that an earlier process submitted, if its end is not known."""
        mark = batches.mark_of(job.directory)
        if mark is None:
            return False
        same = jobs.same_inputs(job, job.directory)
        found = jobs.finished(job)
        if found is not None:
            return same and found.returncode != 0 and self._take_over(job, mark)
        if not same:
            self._drop(mark)
            return False
        return self._take_over(job, mark)

    def events(self) -> Generator[Event]:
        """Submit jobs, and ask about them, until there are none left."""
        while True:
            while self._due:
                yield self._due.popleft()
            if not self._line and not self._batches:
                return
            self._submit()
            if self._pause():
                self._poll()

    def narrow(self, directory: Path, cores: int) -> None:
        """Each job has its own cores; nothing waits for them."""

    def stop(self, directory: Path) -> None:
        """Cancel the job in a directory."""
        self._due = deque(event for event in self._due if event.job.directory != directory)
        self._line.remove(directory)
        for batch in list(self._batches.values()):
            if directory in batch.members:
                batches.forget(directory)  # a batch job with others leaves it alone
                batch.good = False  # its script may still be needed
                self._remove(batch, directory)
                if batch.number and not batch.members:
                    self._queue.cancel(batch.number)

    def close(self) -> None:
        """Submit nothing more; jobs in the queue go on, or are cancelled."""
        self._line.clear()
        self._due.clear()
        if not self.launcher.leaves:
            for batch in self._batches.values():
                for directory in batch.members:
                    batches.forget(directory)
            self._queue.cancel(*(one.number for one in self._batches.values() if one.number))
        self._batches.clear()

    # Submitting.

    def _submit(self) -> None:
        """Put jobs into the queue, as many as may be there."""
        site = self.launcher.site
        while self._line and all(one.number is not None for one in self._batches.values()):
            free = site.max_jobs - len(self._batches)
            if free <= 0:
                return
            self._put(self._write(self._line.next(site, self.launcher.times, free=free)))

    def _write(self, waits: list[Wait]) -> Batch:
        """Write the files of a batch job."""
        site, kind = self.launcher.site, batches.kind_of(waits[0].job)
        name, shared = self.launcher.name(kind), plan(waits, site)
        batch = Batch(name, shared.need, None, self.launcher.clock.now(), len(waits) == 1)
        for wait in waits:
            mark = Mark(name, wait.tries, wait.losses)
            batches.place_files(wait.job, mark, staged=wait.staged)
            batch.join(wait.job, site.place_of(wait.job), mark)
        members = [wait.job for wait in waits]
        batches.write_batch(self._folder(batch), members, site.place_of(members[0]), shared)
        self._batches[name] = batch
        return batch

    def _put(self, batch: Batch) -> None:
        """Put a batch job into the queue; if there is no answer, or no room, it is done later."""
        folder = self._folder(batch)
        try:
            number = self.launcher.scheduler.submit(folder / batches.SCRIPT)
        except NotNow as error:
            self._queue.silent = str(error)
            return
        self._number(batch, number)

    def _number(self, batch: Batch, number: str) -> None:
        batches.write_number(self._folder(batch), number)
        batch.number, batch.since = number, self.launcher.clock.now()
        self._new = True
        for job in batch.members.values():
            self._due.append(Queued(job, 0.0, "", batch.where(job)))

    # Asking.

    def _pause(self) -> bool:
        """Wait for the next time to ask; False if a sign of life came first."""
        left, most = self._queue.left_s, NEW_SIGN_S if self._new else SIGN_S
        self._new = False
        self.launcher.clock.sleep(min(left, most))
        if left > most:
            for batch in list(self._batches.values())[:1]:
                self._signs(batch)
        return left <= most

    def _poll(self) -> None:
        """Ask about all batch jobs at once, and look at what they have written."""
        self._queue.ask()
        for batch in list(self._batches.values()):
            if batch.number is not None or self._find(batch):
                self._look(batch)
            else:
                self._signs(batch)

    def _find(self, batch: Batch) -> bool:
        """Find a batch job without a number in the queue, or put it there; False if neither."""
        if self._queue.states is None:
            return False
        number = self._queue.named(batch.name)
        if number is None:
            self._put(batch)
            return False
        self._number(batch, number)
        return True

    def _look(self, batch: Batch) -> None:
        """Events of the jobs of a batch job."""
        states = self._queue.states
        if states is not None:
            batch.see(self._queue.state(batch.number or "", batch.name))
        state = batch.state
        if state is None or not state.waits:
            self._harvest(batch)
        elif batch.started:
            batch.started.clear()  # Slurm has put it back into the queue
        if not batch.members:
            return
        if states is not None and (state is None or state.ended):
            self._end(batch)
        else:
            batch.over = None
            self._signs(batch)

    def _harvest(self, batch: Batch) -> None:
        """Find the jobs of a batch job that have started or ended."""
        now = self.launcher.clock.now()
        for directory, job in list(batch.members.items()):
            if directory not in batch.started:
                if not batches.has_started(job):
                    if batch.adopted:
                        continue
                    break  # they start in this order
                before = batch.state.elapsed_s if batch.state and batch.alone else 0.0
                batch.started[directory] = now - before
                self._due.append(Started(job, batch.where(job)))
            found = jobs.finished(job) if (directory / jobs.ENDED).exists() else None
            if found is not None and not self._unexplained(batch, found):
                self._finish(batch, self._explained(batch, found))

    def _unexplained(self, batch: Batch, found: Finished) -> bool:
        """Whether a failure may still be explained by the end of its batch job."""
        running = batch.state is not None and not batch.state.ended
        return batch.alone and bool(found.returncode) and not found.why and running

    def _explained(self, batch: Batch, found: Finished) -> Finished:
        """The end of a job, with the reason of a failure from outside."""
        if not found.returncode or found.why:
            return found
        printed = batches.printed(self._folder(batch), found.job)
        kind = batches.kind_of(found.job)
        why = ended.of_failure(found.returncode, printed, batch.need, kind)
        if not why:
            return found
        return self._record(replace(found, why=why))

    def _signs(self, batch: Batch) -> None:
        """That the jobs of a batch job wait or run."""
        now, state = self.launcher.clock.now(), batch.state
        for directory, job in batch.members.items():
            begun, where = batch.started.get(directory), batch.where(job)
            if begun is not None:
                self._due.append(Running(job, now - begun, where))
            else:
                why = self._queue.silent or (state.reason if state and state.waits else "")
                self._due.append(Queued(job, now - batch.since, why, where))

    # Ends.

    def _end(self, batch: Batch) -> None:
        """What becomes of the jobs of a batch job that has ended without a result for them."""
        try:
            how = self._queue.ended(batch.number or "", batch.state)
        except NotNow:
            return
        if how is None and batch.over is None:
            batch.over = self.launcher.clock.now()  # asked once more
            return
        if how is not None and (how.state == "COMPLETED" or self._may_live(batch, how)):
            batch.over = batch.over or self.launcher.clock.now()
            if self.launcher.clock.now() - batch.over < LATE_S:
                return
        for directory, job in list(batch.members.items()):
            self._judge(batch, directory, job, how)

    def _may_live(self, batch: Batch, how: How) -> bool:
        """Whether processes on a lost node may still write where the next job is to write.

        They end when their directory belongs to no batch job.
        """
        lasting = [place for place, job in batch.members.items() if job.stop_file]
        for directory in lasting:
            batches.forget(directory)
        return bool(lasting) and how.state in ended.LOST

    def _judge(self, batch: Batch, directory: Path, job: Job, how: How | None) -> None:
        """Submit a job again, or end it."""
        mark = batch.marks[directory]
        wait = Wait(job, mark.tries, mark.losses)
        hand = how is not None and how.state == "CANCELLED"
        away = hand and batch.adopted  # when no driver was there to see it: it is wanted again
        if away and not job.stop_file:
            batches.give_up(job)
            self._again(batch, wait)
            return
        if not batch.alone and not batches.has_started(job) and how is not None and not hand:
            self._again(batch, replace(wait, staged=True, alone=how.state != "COMPLETED"))
            return
        found = jobs.finished(job)
        if found is not None:  # it came late
            self._finish(batch, self._explained(batch, found))
            return
        printed = batches.printed(self._folder(batch), job)
        judged = ended.verdict(how, printed, batch.need, batches.kind_of(job))
        if job.stop_file:
            away = away or judged.again or judged.returncode is None
            self._lost(batch, job, replace(judged, again=away), how)
            return
        if judged.again and (more := self._once_more(wait, judged)) is not None:
            batches.give_up(job)
            self._again(batch, more)
            return
        most = self.launcher.site.max_losses
        why = ended.too_often(judged, most) if judged.again else judged.why
        self._lost(batch, job, Verdict(False, why, judged.returncode), how)

    def _once_more(self, wait: Wait, judged: Verdict) -> Wait | None:
        """A job that is submitted again, alone; None if that was done too often."""
        most = self.launcher.site.max_losses
        if judged.lost:
            if most is not None and wait.losses >= most:
                return None
            return replace(wait, losses=wait.losses + 1, alone=True)
        return replace(wait, tries=wait.tries + 1, alone=True) if wait.tries < ended.TRIES else None

    def _lost(self, batch: Batch, job: Job, judged: Verdict, how: How | None) -> None:
        nodes = how.nodes if how else ""
        seconds = how.seconds if how else 0.0
        where = batch.where(job, how)
        if job.directory not in batch.started:
            self._due.append(Started(job, where))
        end = Finished(job, judged.returncode, seconds, nodes or "unknown", judged.why, where)
        self._finish(batch, replace(self._record(end), again=judged.again))

    def _record(self, end: Finished) -> Finished:
        code, seconds = end.returncode, end.seconds
        jobs.record_end(end.directory, code, seconds, end.host, why=end.why, where=end.where)
        return jobs.finished(end.job) or end

    def _again(self, batch: Batch, wait: Wait) -> None:
        batch.good = False
        self._remove(batch, wait.job.directory)
        self._line.add(wait, first=True)

    def _finish(self, batch: Batch, finished: Finished) -> None:
        if finished.returncode == 0:
            self.launcher.times.add(finished.job, finished.seconds)
        where = over(batch.where(finished.job), finished.where)
        self._due.append(replace(finished, where=where))
        batch.good = batch.good and finished.returncode == 0
        if finished.job.stop_file:  # its directory is that of the next job, too
            batches.forget(finished.directory)
        self._remove(batch, finished.directory)

    def _remove(self, batch: Batch, directory: Path) -> None:
        """Forget a job, and its batch job if that has no other; its files if all went well."""
        del batch.members[directory]
        if not batch.members:
            del self._batches[batch.name]
            if batch.good:
                batches.delete(self._folder(batch))

    # Jobs of an earlier process.

    def _take_over(self, job: Job, mark: Mark) -> bool:
        batch = self._batches.get(mark.batch)
        if batch is None:
            folder = self.launcher.folder / mark.batch
            number = batches.number_of(folder) or self._queue.named(mark.batch)
            if number is None and jobs.finished(job) is None:
                return False
            need = needs(job, self.launcher.site.place_of(job))
            alone = len(batches.directories(folder)) == 1
            now = self.launcher.clock.now()
            batch = Batch(mark.batch, need, number or "", now, alone, adopted=True)
            self._batches[mark.batch] = batch
            if number is not None and batches.number_of(folder) is None:
                batches.write_number(folder, number)
        batch.join(job, self.launcher.site.place_of(job), mark)
        return True

    def _drop(self, mark: Mark) -> None:
        """Cancel the batch job of an earlier process whose only job is not wanted any more."""
        folder = self.launcher.folder / mark.batch
        if len(batches.directories(folder)) == 1:
            number = batches.number_of(folder) or self._queue.named(mark.batch)
            self._queue.cancel(*([number] if number else []))

    def _folder(self, batch: Batch) -> Path:
        return self.launcher.folder / batch.name
